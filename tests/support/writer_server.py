"""A stand-in for an OpenAI-compatible server of a language model: it replies from a list."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """An OpenAI-compatible server that replies from a list."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies: list[str | int] = []
        self.seen: list[dict] = []

    @property
    def address(self) -> str:
        return f"openai:http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *args) -> None:
        pass

    def send(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self.send(200, {"object": "list", "data": [{"id": "writer", "root": "org/writer"}]})

    def do_POST(self) -> None:
        server = self.server
        server.seen.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        reply = server.replies[min(len(server.seen), len(server.replies)) - 1]
        if isinstance(reply, int):
            return self.send(reply, {"error": {"message": "no"}})
        message = {"role": "assistant", "content": reply}
        self.send(200, {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})


@contextmanager
def serving() -> Iterator[Server]:
    """A server that runs until the block ends."""
    made = Server()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    try:
        yield made
    finally:
        made.shutdown()
        made.server_close()
