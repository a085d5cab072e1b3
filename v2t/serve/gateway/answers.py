"""Answers of the engine, whole and in pieces.

In: a checked request (`chat.Asked`) and its owner. Out: OpenAI's chat completion, or `Fault`. The videos are decoded
first, within the same place in the line; a client that leaves cancels all of it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

from cineloop.log import logger, printable
from v2t.captioners import CaptionOutput, Message
from v2t.serve.engine import Engine, EngineRequest, down, failed
from v2t.serve.faults import Fault
from v2t.serve.gateway.access import Holding, Places
from v2t.serve.gateway.chat import Asked, Video
from v2t.serve.gateway.door import REQUEST_ID
from v2t.serve.gateway.metrics import Metrics
from v2t.serve.served import Served
from v2t.serve.settings import ServeConfig

if TYPE_CHECKING:
    from cineloop.video.frames import Frames
    from v2t.serve.media import Media

Emit = Callable[[bytes], Awaitable[None]]
Replies = AsyncGenerator[str | CaptionOutput, None]


class Answers:
    """Asks the engine.

    Args:
        config, served: what is served. engine: what answers. media: what turns URLs into frames.
        places: of requests being worked on. metrics: where they are counted.
    """

    def __init__(
        self, config: ServeConfig, served: Served, engine: Engine, media: Media, places: Places, metrics: Metrics
    ) -> None:
        self._config, self._limits, self._served = config, config.limits, served
        self._engine, self._media, self._places, self._metrics = engine, media, places, metrics
        # Engines keep the beginnings of prompts: by how fast an answer comes, a key could tell what another has asked.
        self._keeps_apart = len(config.keys()) > 1

    async def frames(self, video: Video, owner: str, max_frames: int) -> Frames:
        """The frames the model would be sent of one video. Raises Fault."""
        begun, outcome = time.monotonic(), "failed"
        try:
            frames = await self._media.frames(video.url, owner=owner, param=video.param, max_frames=max_frames)
            outcome = "ok"
        except Fault as fault:
            outcome = "refused" if fault.status < 500 else "failed"
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            self._metrics.videos.labels(video.source, outcome).inc()
            self._metrics.decode_seconds.observe(time.monotonic() - begun)
        return frames

    async def whole(self, asked: Asked, owner: str, holding: Holding) -> dict[str, Any]:
        """The chat completion. Raises Fault."""
        async with self._asked(asked, owner, holding) as (replies, shown):
            async for reply in replies:
                if isinstance(reply, CaptionOutput):
                    self._metrics.answer_tokens.inc(reply.tokens)
                    choice = {
                        "index": 0,
                        "message": {"role": "assistant", "content": reply.text},
                        "finish_reason": reply.finish,
                    }
                    head = _head("chat.completion", asked.model)
                    return {**head, "choices": [choice], "usage": reply.usage(), **_with_warnings(shown, reply)}
        raise failed()

    async def stream(self, asked: Asked, owner: str, holding: Holding, emit: Emit) -> None:
        """The chat completion as server-sent events, given to `emit` as they come.

        Raises:
            Fault: before the first call of `emit` a refusal; after it, the answer broke off.
        """
        begun = time.monotonic()
        async with self._asked(asked, owner, holding) as (replies, shown):
            head = _head("chat.completion.chunk", asked.model)
            is_first = True
            async for reply in replies:
                if is_first:
                    # An engine that refuses at once has not begun: that is a plain refusal, by its status.
                    is_first = False
                    await emit(_data({**head, "choices": [_choice({"role": "assistant", "content": ""})], **shown}))
                if isinstance(reply, CaptionOutput):
                    ended = _choice({}, reply.finish)
                    await emit(_data({**head, "choices": [ended], **_with_warnings({}, reply)}))
                    if asked.include_usage and (usage := reply.usage()) is not None:
                        await emit(_data({**head, "choices": [], "usage": usage}))
                    self._metrics.answer_tokens.inc(reply.tokens)
                elif reply:
                    if begun:
                        self._metrics.first_piece_seconds.observe(time.monotonic() - begun)
                        begun = 0.0
                    await emit(_data({**head, "choices": [_choice({"content": reply})]}))
            await emit(b"data: [DONE]\n\n")

    @asynccontextmanager
    async def _asked(self, asked: Asked, owner: str, holding: Holding) -> AsyncIterator[tuple[Replies, dict[str, Any]]]:
        """The engine's replies to a request, and our word on its videos. Raises Fault."""
        self._check_engine()
        async with self._places.place(owner):
            request, shown = await self._prepared(asked, owner, holding)
            if self._config.log_prompts:
                words = " | ".join(f"{turn.role}: {turn.text}" for turn in asked.turns)
                logger.info("%s asks %s", request.id, printable(words, 4000))
            self._check_engine()
            limit_s = self._limits.answer_s
            try:
                async with asyncio.timeout(limit_s), aclosing(self._engine.generate(request)) as replies:
                    yield replies, shown
            except TimeoutError:
                raise Fault(504, "ANSWER_TIMEOUT", f"the answer took longer than {limit_s:.0f} s") from None

    def _check_engine(self) -> None:
        if self._engine.state not in ("ready", "failing"):
            raise down(f"it is {self._engine.state}")

    async def _prepared(self, asked: Asked, owner: str, holding: Holding) -> tuple[EngineRequest, dict[str, Any]]:
        """What the engine is asked, and our word on the videos."""
        seen: dict[Video, Frames] = {}
        left = self._limits.frames
        # One after another: a request with many videos takes no more decoders than others.
        for video in asked.videos:
            seen[video] = await self.frames(video, owner, left)
            left -= len(seen[video])
            self._metrics.frames.inc(len(seen[video]))
        request = EngineRequest(
            id=REQUEST_ID.get(),
            model=asked.model,
            conversation=tuple(
                Message(role=turn.role, text=turn.text, videos=tuple(seen[video] for video in turn.videos))
                for turn in asked.turns
            ),
            max_tokens=asked.max_tokens,
            sampling=asked.sampling,
            stops=asked.stops,
            stream=asked.stream,
            cache_salt=owner if self._keeps_apart else None,
            holding=holding,
        )
        word = [self.word_on(seen[video]) for video in asked.videos]
        return request, {"cineloop": {"videos": word}} if word else {}

    def word_on(self, frames: Frames) -> dict[str, Any]:
        """What a client is told of the frames that were sent; times count from the beginning of the file."""
        return {
            "times_s": [round(float(time_s), 4) for time_s in frames.times_s],
            "duration_s": round(float(frames.duration_s), 4),
            "start_s": round(float(frames.start_s), 4),
            "visual_tokens": self._served.visual_tokens(len(frames)),
            "decoder": frames.decoder,
            "warnings": list(frames.warnings),
        }


def _head(kind: str, model: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{REQUEST_ID.get()}", "object": kind, "created": int(time.time()), "model": model}


def _with_warnings(shown: dict[str, Any], output: CaptionOutput) -> dict[str, Any]:
    """Our word, with what the engine warns of: that a clip lies outside the world its model knows."""
    if not output.warnings:
        return shown
    return {"cineloop": {**shown.get("cineloop", {}), "warnings": list(output.warnings)}}


def _choice(delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish}


def _data(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def error_event(fault: Fault) -> bytes:
    """A fault in the middle of a stream."""
    return _data(fault.body(REQUEST_ID.get()))
