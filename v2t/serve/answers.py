"""Chat completions, whole and as a stream.

In: a `ChatRequest` and its owner. Out: OpenAI's chat completion, or `Fault`. The videos are decoded first, within the
same slot of the queue; a client that disconnects cancels all of it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

from cineloop.log import logger, printable
from cineloop.web.faults import Fault
from cineloop.web.guard import REQUEST_ID
from cineloop.web.limits import FairQueue, MemoryLease
from v2t.backends import Message, Output
from v2t.serve.chat import ChatRequest, VideoRef
from v2t.serve.engines import Engine, EngineRequest, down, failed
from v2t.serve.metrics import Metrics
from v2t.serve.served import Served
from v2t.serve.settings import ServeConfig

if TYPE_CHECKING:
    from cineloop.video.frames import Frames
    from v2t.serve.media import Media

Emit = Callable[[bytes], Awaitable[None]]
Replies = AsyncGenerator[str | Output, None]
Seen = dict[str, Any]


class Answers:
    """See above.

    Args:
        config, served: the settings and the model. engine: generates. media: turns URLs into frames.
        queue: of requests. metrics: where they are counted.
    """

    def __init__(
        self, config: ServeConfig, served: Served, engine: Engine, media: Media, queue: FairQueue, metrics: Metrics
    ) -> None:
        self._config, self._limits, self._served = config, config.limits, served
        self._engine, self._media, self._queue, self._metrics = engine, media, queue, metrics
        # Engines cache prefixes of prompts: by the time to the first token, one key could detect prompts of another.
        self._isolates_caches = len(config.keys()) > 1

    async def frames(self, video: VideoRef, owner: str, max_frames: int) -> Frames:
        """The frames of one video for the model. Raises Fault."""
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

    async def whole(self, chat: ChatRequest, owner: str, lease: MemoryLease) -> dict[str, Any]:
        """The chat completion. Raises Fault."""
        async with self._replies(chat, owner, lease) as (replies, head, seen):
            async for reply in replies:
                if isinstance(reply, Output):
                    self._metrics.answer_tokens.inc(reply.tokens)
                    choice = {
                        "index": 0,
                        "message": {"role": "assistant", "content": reply.text},
                        "finish_reason": reply.finish,
                    }
                    return {**head, "choices": [choice], "usage": reply.usage(), **_with_warnings(seen, reply)}
        raise failed()

    async def stream(self, chat: ChatRequest, owner: str, lease: MemoryLease, emit: Emit) -> None:
        """The chat completion as server-sent events, passed to `emit` as they are generated.

        Raises:
            Fault: before the first call of `emit` a refusal; after it, an interrupted answer.
        """
        begun = time.monotonic()
        async with self._replies(chat, owner, lease) as (replies, head, seen):
            is_first = True
            async for reply in replies:
                if is_first:
                    # Only now: an engine that refuses at once gets an ordinary refusal, with its status.
                    is_first = False
                    await emit(_data({**head, "choices": [_choice({"role": "assistant", "content": ""})], **seen}))
                if isinstance(reply, Output):
                    ended = _choice({}, reply.finish)
                    await emit(_data({**head, "choices": [ended], **_with_warnings({}, reply)}))
                    if chat.include_usage and (usage := reply.usage()) is not None:
                        await emit(_data({**head, "choices": [], "usage": usage}))
                    self._metrics.answer_tokens.inc(reply.tokens)
                elif reply:
                    if begun:
                        self._metrics.first_piece_seconds.observe(time.monotonic() - begun)
                        begun = 0.0
                    await emit(_data({**head, "choices": [_choice({"content": reply})]}))
            await emit(b"data: [DONE]\n\n")

    @asynccontextmanager
    async def _replies(
        self, chat: ChatRequest, owner: str, lease: MemoryLease
    ) -> AsyncIterator[tuple[Replies, dict[str, Any], Seen]]:
        """The engine's replies to a request, what each object of the response begins with, and the report on its
        videos. Raises Fault."""
        if self._engine.state not in ("ready", "failing"):
            raise down(f"it is {self._engine.state}")
        async with self._queue.slot(owner):
            frames: dict[VideoRef, Frames] = {}
            left = self._limits.frames
            # Sequentially: a request with many videos uses no more decoders than others.
            for video in chat.videos:
                frames[video] = await self.frames(video, owner, left)
                left -= len(frames[video])
                self._metrics.frames.inc(len(frames[video]))
            request = EngineRequest(
                id=REQUEST_ID.get(),
                chat=chat,
                conversation=tuple(
                    Message(role=each.role, text=each.text, videos=tuple(frames[video] for video in each.videos))
                    for each in chat.messages
                ),
                cache_salt=owner if self._isolates_caches else None,
                lease=lease,
            )
            if self._config.log_prompts:
                text = " | ".join(f"{each.role}: {each.text}" for each in chat.messages)
                logger.info("%s prompt: %s", request.id, printable(text, 4000))
            seen = [self.describe(frames[video]) for video in chat.videos]
            limit_s = self._limits.answer_s
            try:
                async with asyncio.timeout(limit_s), aclosing(self._engine.generate(request)) as replies:
                    kind = "chat.completion.chunk" if chat.stream else "chat.completion"
                    head = {"id": f"chatcmpl-{request.id}", "object": kind, "created": int(time.time())}
                    yield replies, {**head, "model": chat.model}, {"cineloop": {"videos": seen}} if seen else {}
            except TimeoutError:
                raise Fault(504, "ANSWER_TIMEOUT", f"the answer took longer than {limit_s:.0f} s") from None

    def describe(self, frames: Frames) -> dict[str, Any]:
        """The report on a video's frames for the response; times count from the beginning of the file."""
        return {
            "times_s": [round(float(time_s), 4) for time_s in frames.times_s],
            "duration_s": round(float(frames.duration_s), 4),
            "start_s": round(float(frames.start_s), 4),
            "visual_tokens": self._served.visual_tokens(len(frames)),
            "decoder": frames.decoder,
            "warnings": [warning.record() for warning in frames.warnings],
        }


def _with_warnings(seen: Seen, output: Output) -> dict[str, Any]:
    """The report with the engine's warnings, such as a clip outside the domain of its model."""
    if not output.warnings:
        return seen
    return {"cineloop": {**seen.get("cineloop", {}), "warnings": [warning.record() for warning in output.warnings]}}


def _choice(delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish}


def _data(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def error_event(fault: Fault) -> bytes:
    """A fault in the middle of a stream."""
    return _data(fault.body(REQUEST_ID.get()))
