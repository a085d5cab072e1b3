"""A stand-in for an OpenAI-compatible server: it keeps the requests and answers from a list, or as a subclass says."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """JSON in, JSON out; a subclass overrides `reply`."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *args) -> None:
        pass

    def send(self, status: int, body: object, *headers: tuple[str, str], cut: int = 0) -> None:
        """`body` as JSON, or bytes as they are, without the last `cut` bytes."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for header in (("Content-Length", str(len(data))), *headers):
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(data[: len(data) - cut])
        self.close_connection = self.close_connection or bool(cut)

    def say(self, text: str | None, **more) -> None:
        """A whole answer of one choice."""
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        self.send(200, {"choices": [choice], **more})

    def do_GET(self) -> None:
        self.send(200, {"object": "list", "data": list(self.server.models)})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            number = len(self.server.seen)
            self.server.seen.append(request)
            self.server.heads.append(dict(self.headers))
        self.reply(number, request)

    def reply(self, number: int, request: dict) -> None:
        """Answer request `number`: with the text of the list, or with a status."""
        reply = self.server.replies[min(number, len(self.server.replies) - 1)]
        if isinstance(reply, int):
            return self.send(reply, {"error": {"message": "no"}})
        self.say(reply)


class Server(ThreadingHTTPServer):
    """On a free port of this machine; `seen` are the bodies of its requests, `heads` their headers."""

    daemon_threads, request_queue_size, handler = True, 64, Handler
    models: tuple[dict, ...] = ({"id": "tiny", "root": "org/tiny"},)

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), self.handler)
        self.lock = threading.Lock()
        self.replies: list[str | int] = []
        self.seen: list[dict] = []
        self.heads: list[dict] = []

    @property
    def address(self) -> str:
        return f"openai:http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request, client_address) -> None:
        """A client that hangs up is none of this server's errors."""


@contextmanager
def serving(made: Server | None = None) -> Iterator:
    """A server that runs until the block ends."""
    made = made or Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.shutdown()
        made.server_close()
        thread.join()
