"""Stand-ins for servers that take pictures and no films, each with the quirks that its source, pages and threads show.

In: requests of the gateway. Out: answers that say what came in, so that a test can see it; refusals in the words and
forms of the true server. Read 2026-11: `openai/openai.go` of Ollama, `tools/server` of llama.cpp, threads 1752, 2322
and 2339 of LM Studio's bug tracker, vLLM's issues 13513 and 17092, pi's issue 401 for a hosted service.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai_server

IMAGE = re.compile(r"data:image/(jpeg|jpg|png|webp);base64,([A-Za-z0-9+/]+=*)")
_TOO_LONG = "request ({} tokens) exceeds the available context size ({} tokens), try increasing it"


class Refused(Exception):
    """A refusal: its status and body."""

    def __init__(self, status: int, body: Any, kind: str = "application/json") -> None:
        super().__init__(status)
        self.status, self.body, self.kind = status, body, kind


class Handler(openai_server.Handler):
    """Keeps the bytes of each request and of each response; a server's own rules are in `check`."""

    server: PictureServer

    def send(self, status: int, body: object, *headers: tuple[str, str], cut: int = 0) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        with self.server.lock:
            self.server.sent.append(data)
        kinds = [value for name, value in headers if name == "Content-Type"]
        super().send(status, data, *headers, *(() if kinds else (("Content-Type", "application/json"),)), cut=cut)

    def do_GET(self) -> None:
        if not self._is_known():
            return
        self.send(200, {"object": "list", "data": list(self.server.models)})

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.raw.append(data)
            self.server.heads.append({name.lower(): value for name, value in self.headers.items()})
            self.server.paths.append(self.path)
        if not self._is_known():
            return
        request = json.loads(data)
        with self.server.lock:
            self.server.seen.append(request)
        try:
            self.server.check(request, data)
        except Refused as refused:
            self.send(refused.status, refused.body, ("Content-Type", refused.kind))
            return
        self.server.answer(self, request)

    def _is_known(self) -> bool:
        wanted = self.server.key
        if wanted and self.headers.get("Authorization") != f"Bearer {wanted}":
            self.send(401, {"error": {"message": f"Incorrect API key: {self.headers.get('Authorization')}"}})
            return False
        return True

    def stream(self, *events: object, end: bytes = b"data: [DONE]\n\n", kind: str = "text/event-stream") -> None:
        """Events, each at once; bytes go as they are."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        lines = [one if isinstance(one, bytes) else b"data: " + json.dumps(one).encode() + b"\n\n" for one in events]
        with self.server.lock:
            self.server.sent.append(b"".join([*lines, end]))
        for line in [*lines, end]:
            self.wfile.write(line)
            self.wfile.flush()


def parts_of(request: dict) -> list[dict]:
    """All content parts of a request, of either form."""
    messages = request.get("messages", request.get("input", []))
    contents = [message.get("content") for message in messages if isinstance(message, dict)]
    return [part for content in contents if isinstance(content, list) for part in content]


def pictures_of(request: dict) -> list[bytes]:
    """The pictures of a request."""
    urls = []
    for part in parts_of(request):
        if part.get("type") in ("image_url", "input_image"):
            holder = part["image_url"]
            urls.append(holder["url"] if isinstance(holder, dict) else holder)
    return [base64.b64decode(url.partition(",")[2]) for url in urls]


def times_of(request: dict) -> list[float]:
    """The times that stand as text before the pictures."""
    texts = [part.get("text", "") for part in parts_of(request)]
    return [float(match[1]) for text in texts if (match := re.fullmatch(r"([\d.]+) s:", text))]


def texts_of(request: dict) -> str:
    """All text of a request."""
    messages = request.get("messages", request.get("input", []))
    plain = [message["content"] for message in messages if isinstance(message.get("content"), str)]
    return "\n".join([*plain, *(part.get("text", "") for part in parts_of(request))])


class PictureServer(openai_server.Server):
    """A server without rules of its own; `raw` and `sent` are the bytes that came and went, `cancelled` is set when a
    client hangs up during `slow_s`."""

    handler = Handler
    models: tuple[dict, ...] = ({"id": "eye-7b", "object": "model", "owned_by": "library"}, {"id": "eye-32b"})
    key = ""
    slow_s = 0.0
    most_pictures = 10_000

    def __init__(self) -> None:
        super().__init__()
        self.raw: list[bytes] = []
        self.sent: list[bytes] = []
        self.paths: list[str] = []
        self.cancelled, self.asked = threading.Event(), threading.Event()

    @property
    def address(self) -> str:
        return f"openai:http://127.0.0.1:{self.server_port}/v1"

    @contextmanager
    def playing(self, kind: type[PictureServer], /, **more: Any) -> Iterator[None]:
        """Be another kind of server for a while, with these attributes, at the same address: a gateway takes longer to
        start than a test to run."""
        was = type(self)
        self.__class__ = kind
        vars(self).update(more)
        for kept in (self.raw, self.sent, self.seen, self.heads):
            kept.clear()
        self.asked.clear()
        self.cancelled.clear()
        try:
            yield
        finally:
            self.__class__ = was
            for name in more:
                vars(self).pop(name)

    def check(self, request: dict, data: bytes) -> None:
        """Raise Refused for what this server does not take."""

    def say(self, request: dict) -> str:
        """The answer: what came in; for the prompt of notes, an event."""
        if "Note every event" in texts_of(request):
            return "0:01-0:02 a red square moves."
        times = times_of(request)
        span = f" from {times[0]:g} to {times[-1]:g} s" if times else ""
        return f"{len(pictures_of(request))} pictures{span}."

    def answer(self, handler: Handler, request: dict) -> None:
        """A whole answer, or a stream."""
        self.asked.set()
        if self.slow_s and not self._wait(handler):
            return
        text = self.say(request)
        if "input" in request:
            output = [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}]
            handler.send(200, {"id": "resp-1", "object": "response", "output": output})
        elif request.get("stream"):
            piece = {"id": "c1", "object": "chat.completion.chunk", "model": request.get("model", "")}
            words = re.findall(r"\S+\s*", text)
            deltas = [{"role": "assistant", "content": ""}, *({"content": word} for word in words)]
            events = [{**piece, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
            last = {**piece, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
            handler.stream(*events, last)
        else:
            usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
            whole = {"id": "c1", "object": "chat.completion", "created": 1, "model": request.get("model", "")}
            handler.send(200, {**whole, "choices": [choice], "usage": usage, "system_fingerprint": "fp_x"})

    def _wait(self, handler: Handler) -> bool:
        """Wait `slow_s` seconds; false once the client has hung up."""
        handler.connection.setblocking(False)
        end = time.monotonic() + self.slow_s
        try:
            while time.monotonic() < end:
                try:
                    if handler.connection.recv(1) == b"":
                        self.cancelled.set()
                        return False
                except BlockingIOError:
                    time.sleep(0.01)
                except OSError:
                    self.cancelled.set()
                    return False
        finally:
            handler.connection.setblocking(True)
        return True


class Ollama(PictureServer):
    """Base64 alone, of four types; unknown parts are a wrong format; the context is llama.cpp's."""

    context_pictures = 10_000

    def check(self, request: dict, data: bytes) -> None:
        for part in parts_of(request) if "messages" in request else []:
            if part.get("type") not in ("text", "image_url"):
                raise self.refused("invalid message format")
            if part["type"] == "image_url":
                url = part["image_url"]["url"] if isinstance(part["image_url"], dict) else part["image_url"]
                if url.startswith(("http://", "https://")):
                    raise self.refused("image URLs are not currently supported, please use base64 encoded data instead")
                if not IMAGE.fullmatch(url):
                    raise self.refused("invalid image input")
        if (num := len(pictures_of(request))) > self.context_pictures:
            raise self.refused(_TOO_LONG.format(num * 200, self.context_pictures * 200))

    def refused(self, message: str) -> Refused:
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        return Refused(400, {"error": error})


class LlamaCpp(PictureServer):
    """Image parts alone; its error says how many tokens there are and how many fit."""

    models = ({"id": "eye.gguf", "object": "model", "owned_by": "llamacpp", "meta": {"n_ctx_train": 4096}},)
    tokens_each, context = 100, 1000

    def check(self, request: dict, data: bytes) -> None:
        for part in parts_of(request):
            if part.get("type") not in ("text", "image_url"):
                error = {"code": 400, "message": "unsupported content[].type", "type": "invalid_request_error"}
                raise Refused(400, {"error": error})
        tokens = len(pictures_of(request)) * self.tokens_each
        if tokens > self.context:
            text = _TOO_LONG.format(tokens, self.context)
            error = {"code": 400, "message": text, "type": "exceed_context_size_error"}
            raise Refused(400, {"error": {**error, "n_prompt_tokens": tokens, "n_ctx": self.context}})


class Vllm(PictureServer):
    """Refuses more pictures than `--limit-mm-per-prompt` says."""

    models = ({"id": "eye", "object": "model", "owned_by": "vllm", "root": "org/eye", "max_model_len": 32768},)
    most_pictures = 5

    def check(self, request: dict, data: bytes) -> None:
        if len(pictures_of(request)) > self.most_pictures:
            text = f"At most {self.most_pictures} image(s) may be provided in one prompt."
            raise Refused(400, {"error": {"message": text, "type": "BadRequestError", "param": None, "code": 400}})


class LmStudio(PictureServer):
    """JPEG and PNG alone, errors that are a text; too long a prompt gets status 200: an error event, or nothing."""

    models = ({"id": "eye-mlx", "object": "model", "owned_by": "organization_owner"},)
    most_pictures, is_silent = 8, False

    def check(self, request: dict, data: bytes) -> None:
        for part in parts_of(request):
            if part.get("type") == "image_url" and "data:image/webp" in json.dumps(part):
                raise Refused(400, {"error": "'url' field must be a base64 encoded image."})

    def answer(self, handler: Handler, request: dict) -> None:
        if len(pictures_of(request)) <= self.most_pictures:
            super().answer(handler, request)
        elif self.is_silent:
            piece = {"id": "c1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
            handler.stream(piece)
        else:
            text = (
                "Trying to keep the first 16000 tokens when context the overflows. However, the model is loaded with "
            )
            text += "context length of only 8000 tokens, which is not enough."
            if request.get("stream"):
                handler.stream(b"event: error\ndata: " + json.dumps({"error": {"message": text}}).encode() + b"\n\n")
            else:
                handler.send(200, {"error": text})


class Hosted(PictureServer):
    """A key is needed; a body beyond a limit gets 413."""

    key, most_bytes = "sk-upstream-0123456789abcdef", 30_000
    models = ({"id": "big-eye", "object": "model", "owned_by": "system"},)

    def check(self, request: dict, data: bytes) -> None:
        if len(data) > self.most_bytes:
            error = {"type": "request_too_large", "message": "Request exceeds the maximum size"}
            raise Refused(413, {"error": error})
