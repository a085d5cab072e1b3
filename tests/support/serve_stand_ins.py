"""Stand-ins for what is behind the gateway: vLLM's server saying what a test wants, and media that decode nothing."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
import numpy as np

from cineloop.video.frames import Frames
from cineloop.video.sample import SampleSpec
from cineloop.web.faults import Fault
from cineloop.web.limits import FairQueue, MemoryBudget
from cineloop.web.uploads import UploadStore
from v2t.backends.abilities import Abilities
from v2t.serve.engines.vllm import VllmEngine
from v2t.serve.served import ServedModel
from v2t.serve.settings import ServeConfig

CHAT = "/v1/chat/completions"
WORDS = {"messages": [{"role": "user", "content": "What?"}]}
SERVED = ServedModel(
    name="base",
    source="x",
    is_ours=True,
    spec=SampleSpec(num_frames=4),
    frame_size=(8, 8),
    segment_frames=2,
    tokens_per_segment=3,
    abilities=Abilities(window_s=8.0, styles=("short",)),
    adapters=("shop",),
    about="a stand-in",
)
KEY, OTHER = "k" * 20, "o" * 20
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


def two_keys(monkeypatch) -> tuple[dict[str, str], dict[str, str]]:
    """The headers of two clients, whose keys the environment now holds."""
    monkeypatch.setenv("V2T_SERVE_KEY", f"{KEY}, {OTHER}")
    return {"Authorization": f"Bearer {KEY}"}, {"Authorization": f"Bearer {OTHER}"}


def events(*values: object, done: bool = True) -> bytes:
    lines = [f"data: {json.dumps(value, ensure_ascii=False)}\n\n" for value in values]
    return "".join([*lines, "data: [DONE]\n\n" if done else ""]).encode()


def piece(text: str | None = None, finish: str | None = None, **more: object) -> dict:
    delta = {} if text is None else {"content": text}
    return {"id": "inner", "choices": [{"index": 0, "delta": delta, "finish_reason": finish, "secret": "x"}], **more}


class Engine(VllmEngine):
    """vLLM's process, never started, which answers by `reply(request's body) -> httpx.Response`; `asked` are the bodies
    it saw."""

    def __init__(self) -> None:
        self.state, self._packs_frames = "ready", SERVED.is_ours
        self.asked: list[dict] = []
        self.held: asyncio.Event | None = None  # answers wait for it
        self.cancelled = self.closed = 0
        self.endless = ""  # the text of which streams are made that never end by themselves
        self.reply: Callable[[dict], httpx.Response] = self.usual
        self.client = httpx.AsyncClient(transport=httpx.MockTransport(self._handle), base_url="http://engine")

    def usual(self, body: dict) -> httpx.Response:
        if not body.get("stream"):
            message = {"role": "assistant", "content": "Hello.", "reasoning": "inner"}
            choice = {"index": 0, "message": message, "finish_reason": "stop", "inner": 1}
            return httpx.Response(200, json={"id": "inner", "choices": [choice], "usage": USAGE, "inner": 1})
        if self.endless:
            return httpx.Response(200, stream=Endless(self))
        stream = events(
            piece(""), piece("Hel"), piece("lo\u2028."), piece(None, "stop"), {"choices": [], "usage": USAGE}
        )
        return httpx.Response(200, content=stream)

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        self.asked.append(body)
        try:
            if self.held is not None:
                await self.held.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self.reply(body)


class Breaking(httpx.AsyncByteStream):
    """A body that begins and then fails."""

    def __init__(self, *parts: bytes, error: Exception) -> None:
        self._parts, self._error = parts, error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part
        raise self._error


class Endless(httpx.AsyncByteStream):
    """A body that goes on until it is closed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield events(piece(self._engine.endless), done=False)
            await asyncio.sleep(0.001)

    async def aclose(self) -> None:
        self._engine.closed += 1


class Media:
    """Media with true uploads, whose frames show how long the URL is."""

    def __init__(self, config: ServeConfig | None = None) -> None:
        config = config or ServeConfig()
        self.memory = MemoryBudget(config.limits.memory_mb << 20, num_owners=max(1, len(config.keys())))
        self.uploads = UploadStore(file_bytes=1 << 20, total_bytes=8 << 20, owner_bytes=4 << 20, ttl_s=60.0)
        self.decoder_queue = FairQueue(2)
        self.asked: list[tuple[str, str]] = []
        self.held: asyncio.Event | None = None

    async def frames(self, url: str, *, owner: str, param: str, max_frames: int) -> Frames:
        self.asked.append((url, owner))
        if self.held is not None:
            await self.held.wait()
        if not url.startswith("data:"):
            raise Fault(403, "URL_FORBIDDEN", "not from there", param=param)
        pixels = np.full((4, 8, 8, 3), len(url) % 256, np.uint8)
        return Frames.from_pixels(pixels, 2.0, decoder="stand-in")


@asynccontextmanager
async def client_of(config: ServeConfig, **headers: str):
    """(client, engine, media, gateway) of the application, without a socket."""
    from v2t.serve.app import create_app

    engine, media = Engine(), Media(config=config)
    app = create_app(config, SERVED, engine, media)  # type: ignore[arg-type]
    transport = httpx.ASGITransport(app=app)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000", headers=headers) as client:
            yield client, engine, media, app.state.gateway
    finally:
        await engine.client.aclose()
        media.uploads.close()


@contextmanager
def listening(config: ServeConfig, make_media: Callable[[], Any] = Media):
    """The gateway at a true port, served by a thread: (port, engine, gateway)."""
    from cineloop.web.port import listening as socket_of
    from cineloop.web.port import server_of
    from v2t.serve.app import create_app

    made: dict[str, Any] = {}
    begun = threading.Event()

    async def serve(port) -> None:
        engine, media = Engine(), make_media()
        app = create_app(config, SERVED, engine, media)  # type: ignore[arg-type]
        server = server_of(app, in_flight=config.limits.in_flight, drain_s=config.limits.drain_s)
        made.update(engine=engine, gateway=app.state.gateway, server=server)
        task = asyncio.create_task(server.serve(sockets=[port]))
        while not server.started and not task.done():
            await asyncio.sleep(0.01)
        begun.set()
        await task
        await engine.client.aclose()
        if hasattr(media, "__aexit__"):
            await media.__aexit__(None, None, None)
        else:
            media.uploads.close()

    with socket_of(config) as port:
        thread = threading.Thread(target=lambda: asyncio.run(serve(port)), daemon=True)
        thread.start()
        try:
            assert begun.wait(60), "the gateway did not start"
            yield port.getsockname()[1], made["engine"], made["gateway"]
        finally:
            if "server" in made:
                made["server"].should_exit = True
            thread.join(60)
            assert not thread.is_alive(), "the gateway did not end"


def with_video(url="data:video/mp4;base64,AA==", **more):
    parts = [{"type": "text", "text": "What?"}, {"type": "video_url", "video_url": {"url": url}}]
    return {"messages": [{"role": "user", "content": parts}], **more}


def scene(play, config: ServeConfig | None = None, **headers: str):
    """Play `play(client, engine, media, gateway)` against a fresh gateway."""

    async def run():
        async with client_of(config or ServeConfig(), **headers) as all_of_it:
            return await asyncio.wait_for(play(*all_of_it), 60)

    return asyncio.run(run())


def code_of(reply: httpx.Response) -> tuple[int, str]:
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "code", "param", "request_id"}
    assert error["request_id"] == reply.headers["x-request-id"]
    return reply.status_code, error["code"]


def data_of(reply: httpx.Response) -> list:
    """The events of a stream; "[DONE]" as it is."""
    assert reply.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in reply.content.split(b"\n") if line]
    assert all(line.startswith(b"data: ") for line in lines)
    return [line[6:].decode() if line == b"data: [DONE]" else json.loads(line[6:]) for line in lines]
