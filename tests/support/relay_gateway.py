"""The gateway of `--engine openai:URL` at a true port, in a thread of this process, before a stand-in server."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from cineloop.video.encode import encode
from cineloop.web.port import listening, server_of
from v2t.serve import engines, served
from v2t.serve.app import create_app
from v2t.serve.media import Media
from v2t.serve.settings import ServeConfig

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"


@dataclass(frozen=True)
class RunningGateway:
    """A gateway that runs: its address, its application's gateway."""

    url: str
    gateway: Any

    def client(self, **headers: str) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=headers, timeout=60.0)


@contextmanager
def relaying(address: str, **settings: Any) -> Iterator[RunningGateway]:
    """The gateway before the server at `address`, with these settings."""
    config = ServeConfig(engine=address, **settings)
    made: dict[str, Any] = {}
    begun = threading.Event()

    async def serve(port: Any) -> None:
        what = served.read(config)
        async with AsyncExitStack() as stack:
            media = await stack.enter_async_context(Media(config, what))
            engine = engines.create(config, what)
            stack.push_async_callback(engine.stop)
            app = create_app(config, what, engine, media)
            stack.callback(app.state.films.close)
            await engine.start()
            await engine.ready()
            server = server_of(app, in_flight=config.limits.in_flight, drain_s=config.limits.drain_s)
            made.update(server=server, gateway=app.state.gateway)
            task = asyncio.create_task(server.serve(sockets=[port]))
            while not server.started and not task.done():
                await asyncio.sleep(0.01)
            begun.set()
            await task

    with listening(ServeConfig(engine=address, port=0)) as port:
        thread = threading.Thread(target=lambda: asyncio.run(serve(port)), daemon=True)
        thread.start()
        try:
            assert begun.wait(60), "the gateway did not start"
            yield RunningGateway(f"http://127.0.0.1:{port.getsockname()[1]}", made["gateway"])
        finally:
            if "server" in made:
                made["server"].should_exit = True
            thread.join(60)
            assert not thread.is_alive(), "the gateway did not end"


def film(path: Path, seconds: int, fps: float = 1.0, size: tuple[int, int] = (48, 64)) -> Path:
    """A clip of which each frame is as bright as its number says."""
    num = round(seconds * fps)
    pixels = np.zeros((num, *size, 3), np.uint8)
    pixels[:, :, :, 0] = (np.arange(num) % 256)[:, None, None]
    encode(pixels, path, fps)
    return path


def data_url(path: Path, kind: str = "video/mp4") -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def asked(*parts: dict, text: str = "What happens?", **more: Any) -> dict:
    """The body of a chat request of one message."""
    return {"messages": [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}], **more}


def video(url: str) -> dict:
    return {"type": "video_url", "video_url": {"url": url}}
