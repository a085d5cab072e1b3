"""Chat requests to the gateway with the local engine, in this process, and a stand-in for its model."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import httpx
import numpy as np
import torch

from cineloop.errors import ItemError
from cineloop.video.frames import Frames
from cineloop.video.packed import MEDIA_TYPE, pack
from v2t.backends import Output, VideoLM
from v2t.serve.app import create_app
from v2t.serve.engines.local import LocalEngine
from v2t.serve.media import Media
from v2t.serve.served import read
from v2t.serve.settings import ServeConfig

LONG_S = 90.0
NAME, PROMPT = "starter", "Describe the video in one sentence."
PATH = "/v1/chat/completions"
URL = "http://127.0.0.1:8000"


@contextmanager
def gateway_with(captioner) -> Iterator:
    """The gateway's application over a captioner that is loaded; `app.state.engine` is the engine."""
    config = ServeConfig(engine="local", name=NAME)
    starter = read(config)
    # The stand-ins for the model answer words alone, as models that need no video do.
    served = replace(starter, frame_size=None, abilities=replace(starter.abilities, needs_video=False))
    engine, media = LocalEngine(captioner), Media(config, served)

    async def start() -> None:
        await engine.start()
        await engine.ready()

    asyncio.run(start())
    app = create_app(config, served, engine, media)
    app.state.engine = engine
    try:
        yield app
    finally:
        if isinstance(captioner, StandIn):
            captioner.free.set()
        asyncio.run(engine.stop())
        media.uploads.close()
        assert not engine.is_alive


def square(seed: int, num: int = 16) -> Frames:
    """A square of some colour that moves over a plain ground."""
    random = np.random.default_rng(seed)
    pixels = np.empty((num, 64, 64, 3), np.uint8)
    pixels[:] = random.integers(60, 255, 3)
    colour, row = random.integers(0, 255, 3), int(random.integers(8, 40))
    for index, frame in enumerate(pixels):
        frame[row : row + 16, 2 * index % 48 : 2 * index % 48 + 16] = colour
    return Frames.from_pixels(pixels, fps=4.0)


def part(frames: Frames) -> dict:
    url = f"data:{MEDIA_TYPE};base64,{base64.b64encode(pack(frames)).decode()}"
    return {"type": "video_url", "video_url": {"url": url}}


def body(*clips: Frames, text: str = PROMPT, **more) -> dict:
    content = [*map(part, clips), {"type": "text", "text": text}]
    return {"model": NAME, "messages": [{"role": "user", "content": content}], "max_tokens": 60, **more}


def post(app, *bodies: dict) -> list[httpx.Response]:
    """The responses to requests that are made at once."""

    async def main() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=URL, timeout=None) as client:
            asks = [client.post(PATH, json=b) for b in bodies]
            return await asyncio.wait_for(asyncio.gather(*asks), LONG_S)

    return asyncio.run(main())


def events(response: httpx.Response) -> list[dict]:
    assert response.status_code == 200 and response.headers["content-type"].startswith("text/event-stream")
    *lines, last = [line for line in response.text.split("\n\n") if line]
    assert last == "data: [DONE]" and all(line.startswith("data: ") for line in lines)
    return [json.loads(line[6:]) for line in lines]


def told(chunks: list[dict]) -> str:
    return "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"])


class StandIn(VideoLM):
    """Answers with the question's text and its tokens at most; notes what came together; waits while it shall."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.free = threading.Event()
        self.free.set()
        self.begun, self.closed = threading.Event(), threading.Event()
        self.wanted = lambda: True

    def load(self) -> None:
        """Nothing: it is loaded."""

    def _note(self, conversations) -> list[str]:
        texts = [conversation[-1].text for conversation in conversations]
        self.batches.append(texts)
        self.begun.set()
        assert self.free.wait(LONG_S)
        return texts

    def count(self, text: str) -> int:
        return len(text.split())

    def answer(self, conversations, decoding):
        texts = self._note(conversations)
        for text in texts:
            if text.startswith("bad"):
                raise ItemError("it is bad", code="PROMPT_REFUSED")
            if text.startswith("worse"):
                raise ValueError("/secret/path")
            if text.startswith("lost"):
                raise RuntimeError("the device is lost")
            if text.startswith("large") or (text.startswith("half") and len(texts) > 1):
                raise torch.OutOfMemoryError("CUDA out of memory: tried to allocate 3 GiB")
        return [Output(text=f"{text} {decoding.max_new_tokens}", tokens=1, prompt_tokens=5) for text in texts]

    def stream(self, conversation, decoding):
        (text,) = self._note([conversation])
        try:
            for number in range(10**9 if text == "endless" else 3):
                if not self.wanted():
                    break
                if text == "breaks" and number == 2:
                    raise RuntimeError("/secret/path")
                yield f"{number} "
            yield Output(text="0 1 2 ", tokens=3, prompt_tokens=5)
        finally:
            self.closed.set()
