"""A gateway for tests of the chat page: serves its files under the true policy and plays the API by a script.

In: `answers`, what the next chat requests get, in order. Out: what came in, by `asked(path)`. A test can hold a stream
open with `Answer(gate=…)` and see by `left` that the page let go of it.
"""

from __future__ import annotations

import base64
import io
import json
import re
import sys
import threading
import time
import uuid
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cineloop.errors import Notice

PAGE = Path(__file__).resolve().parents[2] / "v2t" / "serve" / "page"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; font-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
DURATION_S = 4.0
LIMITS = {"upload_mb": 2, "duration_s": 600.0, "videos": 4, "max_tokens": 512}


@dataclass
class Answer:
    """One reply to a chat request: pieces of text, or a refusal, or something that goes wrong on the way."""

    pieces: tuple[str, ...] = ()
    status: int = 200
    code: str = ""
    message: str = "refused"
    retry_after: str = ""
    gate: threading.Event | None = None  # waited for after the first piece
    end: str = "done"  # "done", "drop", "error", "garbage", "length"
    warnings: tuple[Notice, ...] = ()  # of the model, told with its words; of each video, told before
    video_warnings: tuple[Notice, ...] = ()


@dataclass
class Asked:
    """One request that came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class StandIn:
    """The state of a stand-in; `url` is where it listens."""

    answers: list[Answer] = field(default_factory=list)
    key: str = ""
    engine: str = "ready"
    requests: list[Asked] = field(default_factory=list)
    files: dict[str, dict] = field(default_factory=dict)
    left: threading.Event = field(default_factory=threading.Event)
    upload_gate: threading.Event | None = None  # an upload is answered when it opens
    url: str = ""

    def asked(self, path: str, method: str = "POST") -> list[Asked]:
        """What came in for a path."""
        return [one for one in list(self.requests) if (one.method, one.path) == (method, path)]

    def chats(self) -> list[dict]:
        """Bodies of chat requests."""
        return [one.body for one in self.asked("/v1/chat/completions")]

    def wait(self, holds, timeout_s: float = 60.0) -> None:
        """Until `holds()`."""
        end = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < end, f"not within {timeout_s} s; came in: {[one.path for one in self.requests]}"
            time.sleep(0.02)


def _jpeg(share: float) -> str:
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (64, 48), (int(255 * share), 120, 90)).save(out, "JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


def window(url: str) -> tuple[float, float]:
    """The seconds a video's address asks for."""
    found = re.search(r"#t=([\d.]+),([\d.]*)$", url)
    return (float(found[1]), float(found[2] or DURATION_S)) if found else (0.0, DURATION_S)


def _seen(url: str, warnings: tuple[Notice, ...] = ()) -> dict:
    start, end = window(url)
    times = [start + (end - start) * i / 8 for i in range(8)]
    return {"times_s": times, "duration_s": end - start, "start_s": start, "visual_tokens": 32, "decoder": "stand-in",
            "warnings": [warning.record() for warning in warnings]}  # fmt: skip


def addresses(body: dict) -> list[str]:
    """Of the videos of a chat request, in order."""
    parts = [p for m in body["messages"] if isinstance(m["content"], list) for p in m["content"]]
    return [part["video_url"]["url"] for part in parts if part["type"] == "video_url"]


class _Handler(BaseHTTPRequestHandler):
    state: StandIn

    def log_message(self, *args: object) -> None:
        """Nothing is printed."""

    def _reply(self, status: int, body: Any, headers: dict[str, str] | None = None, kind: str = "") -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": kind or "application/json",
            "Content-Length": str(len(data)),
            "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "X-Request-Id": "req-stand-in",
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _refuse(self, status: int, code: str, message: str, retry_after: str = "") -> None:
        error = {"message": message, "type": "x", "code": code, "param": None, "request_id": "req-stand-in"}
        self._reply(status, {"error": error}, {"Retry-After": retry_after} if retry_after else None)

    def do_GET(self) -> None:
        """Pages, health, models, files."""
        path = self.path.split("?")[0]
        self.state.requests.append(Asked("GET", path, dict(self.headers), None))
        if path == "/" or path.startswith("/page/"):
            file = PAGE / ("index.html" if path == "/" else Path(path).name)
            if file.is_file():
                return self._reply(200, file.read_bytes(), kind=TYPES[file.suffix] + "; charset=utf-8")
            return self._refuse(404, "NOT_FOUND", "no such file")
        if path == "/health":
            return self._reply(200 if self.state.engine == "ready" else 503, {"engine": self.state.engine})
        if self._unwanted():
            return self._refuse(401, "UNAUTHORIZED", "a key is needed")
        if path == "/v1/models":
            ours = {"about": "a stand-in", "segment_frames": 8, "tokens_per_segment": 32, "limits": LIMITS}
            return self._reply(200, {"data": [{"id": name, "cineloop": ours} for name in ("stand-in", "adapted")]})
        kept = self.state.files.get(path.removeprefix("/v1/files/"))
        return self._reply(200, kept) if kept else self._refuse(404, "NOT_FOUND", "no such upload")

    def do_DELETE(self) -> None:
        """An upload is let go."""
        self.state.requests.append(Asked("DELETE", self.path, dict(self.headers), None))
        self.state.files.pop(self.path.removeprefix("/v1/files/"), None)
        self._reply(200, {"deleted": True})

    def do_POST(self) -> None:
        """Uploads, frames, chat."""
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind = self.headers.get("Content-Type", "")
        body = _parts(kind, data) if kind.startswith("multipart/") else json.loads(data)
        self.state.requests.append(Asked("POST", self.path, dict(self.headers), body))
        if self._unwanted():
            return self._refuse(401, "UNAUTHORIZED", "a key is needed")
        if self.path == "/v1/files":
            if self.state.upload_gate:
                self.state.upload_gate.wait(60)
            kept = {"id": f"file-{uuid.uuid4().hex}", "object": "file", "filename": body["filename"]}
            self.state.files[kept["id"]] = kept
            return self._reply(200, kept)
        urls = [body["url"]] if self.path == "/v1/frames" else addresses(body)
        for url in urls:
            if url.startswith("upload:") and url[7:].split("#")[0] not in self.state.files:
                return self._refuse(404, "NOT_FOUND", "no such upload")
        if self.path == "/v1/frames":
            seen = _seen(body["url"])
            frames = [{"time_s": t, "jpeg": _jpeg(t / DURATION_S)} for t in seen["times_s"]]
            return self._reply(200, {**seen, "frames": frames, "fps": 12.0})
        return self._chat(urls)

    def _unwanted(self) -> bool:
        return bool(self.state.key) and self.headers.get("Authorization") != f"Bearer {self.state.key}"

    def _chat(self, urls: list[str]) -> None:
        answer = self.state.answers.pop(0) if self.state.answers else Answer(pieces=("Yes.",))
        if answer.status != 200:
            return self._refuse(answer.status, answer.code, answer.message, answer.retry_after)
        self.send_response(200)
        for name, value in {"Content-Type": "text/event-stream", "X-Request-Id": "req-stand-in"}.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self._stream(answer, urls)
        except (BrokenPipeError, ConnectionResetError):
            self.state.left.set()
        return None

    def _stream(self, answer: Answer, urls: list[str]) -> None:
        first = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
        self._event({**first, "cineloop": {"videos": [_seen(url, answer.video_warnings) for url in urls]}})
        for i, piece in enumerate(answer.pieces):
            warned = {"warnings": [warning.record() for warning in answer.warnings]}
            beside = {"cineloop": warned} if answer.warnings and i == 0 else {}
            self._event({"choices": [{"index": 0, "delta": {"content": piece}}], **beside})
            for _ in range(6000 if answer.gate and i == 0 else 0):  # a minute at most; writes show whether anyone reads
                if answer.gate.wait(0.01):
                    break
                self.wfile.write(b": still here\n\n")
        if answer.end == "error":
            self._event({"error": {"message": "the model broke down", "code": "ENGINE", "request_id": "req-stand-in"}})
        elif answer.end == "garbage":
            self.wfile.write(b'data: {"choices": [\n\n')
        if answer.end not in ("done", "length"):
            return
        self._event(
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop" if answer.end == "done" else "length"}]}
        )
        self._event({"choices": [], "usage": {"prompt_tokens": 40, "completion_tokens": 9}})
        self.wfile.write(b"data: [DONE]\r\n\r\n")

    def _event(self, data: dict) -> None:
        text = json.dumps(data, ensure_ascii=False).encode()
        self.wfile.write(b"data: " + text + b"\n\n")
        self.wfile.flush()


def _parts(kind: str, data: bytes) -> dict:
    message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + data)
    parts = list(message.iter_parts())
    file = next(part for part in parts if part.get_param("name", header="content-disposition") == "file")
    names = [part.get_param("name", header="content-disposition") for part in parts]
    return {"filename": file.get_filename(), "num_bytes": len(file.get_payload(decode=True)), "names": names}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that has left is no news."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def serve() -> tuple[StandIn, ThreadingHTTPServer]:
    """A stand-in on a free port, and the server to shut down."""
    state = StandIn()
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
    state.url = f"http://127.0.0.1:{server.server_port}/"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return state, server


def webm(path: Path, pixels, fps: int) -> None:
    """Frames as VP8, which plain Chromium plays; pixels (T, H, W, 3)."""
    import av

    with av.open(str(path), "w") as file:
        stream = file.add_stream("libvpx", rate=fps, options={"deadline": "realtime", "cpu-used": "8", "g": "6"})
        stream.height, stream.width, stream.pix_fmt, stream.bit_rate = *pixels[0].shape[:2], "yuv420p", 900_000
        for image in pixels:
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)
