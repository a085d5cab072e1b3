"""The gateway's state, and chat completions, whole and as a stream.

In: a `ChatRequest` and its owner. Out: OpenAI's chat completion, or `Fault`. The videos are decoded first, within the
same slot of the queue; a client that disconnects cancels all of it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse

from cineloop.log import logger, printable
from cineloop.web.bodies import MIB, Receive, read_json, unless_gone
from cineloop.web.faults import Fault
from cineloop.web.guard import REQUEST_ID, Send
from cineloop.web.limits import ApiKeys, FairQueue, MemoryLease, RateLimit
from v2t.backends import Message
from v2t.serve import chat
from v2t.serve.chat import ChatRequest, VideoRef
from v2t.serve.engines import Engine, EngineRequest, down, failed
from v2t.serve.metrics import Metrics
from v2t.serve.served import Served
from v2t.serve.settings import ServeConfig

if TYPE_CHECKING:
    from cineloop.video.frames import Frames
    from v2t.serve.media import Media


@dataclass(kw_only=True)
class Gateway:
    """State shared by the routes, one for the life of the server.

    Attributes:
        created: when it began, seconds since 1970.
    """

    config: ServeConfig
    served: Served
    engine: Engine
    media: Media
    created: int = field(default_factory=lambda: int(time.time()))
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        limits = self.config.limits
        self.keys = ApiKeys(self.config.keys())
        self.rate = RateLimit(limits.rate_per_minute)
        self.queue = FairQueue(
            limits.in_flight,
            per_owner=limits.in_flight_per_owner if self.keys.num_owners > 1 else None,
            max_waiting=limits.in_flight,
            timeout_s=limits.answer_s,
        )
        self.memory = self.media.memory
        # Engines cache prefixes of prompts: by the time to the first token, one key could detect prompts of another.
        self._isolates_caches = self.keys.num_owners > 1
        watch = self.metrics.watch
        watch("v2t_in_flight", "Requests in flight", lambda: self.queue.taken)
        watch("v2t_waiting", "Requests in the queue", lambda: self.queue.waiting)
        watch("v2t_uploads_bytes", "Bytes of all uploads", lambda: self.media.uploads.held_bytes)
        watch("v2t_engine_up", "Whether the engine answers", lambda: self.engine.state == "ready")

    async def frames(self, video: VideoRef, owner: str, max_frames: int) -> Frames:
        """The frames of one video for the model. Raises Fault."""
        begun, outcome = time.monotonic(), "failed"
        try:
            frames = await self.media.frames(video.url, owner=owner, param=video.param, max_frames=max_frames)
            outcome = "ok"
        except Fault as fault:
            outcome = "refused" if fault.status < 500 else "failed"
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            self.metrics.videos.labels(video.source, outcome).inc()
            self.metrics.decode_seconds.observe(time.monotonic() - begun)
        return frames

    def describe(self, frames: Frames) -> dict[str, Any]:
        """The report on a video's frames for the response; times count from the beginning of the file."""
        segments = -(-len(frames) // (self.served.segment_frames or 1))
        return {
            "times_s": [round(float(time_s), 4) for time_s in frames.times_s],
            "duration_s": round(float(frames.duration_s), 4),
            "start_s": round(float(frames.start_s), 4),
            # Of other models only the engine knows.
            "visual_tokens": segments * self.served.tokens_per_segment if self.served.segment_frames else None,
            "decoder": frames.decoder,
            "warnings": [warning.record() for warning in frames.warnings],
        }

    async def answer(
        self, request: ChatRequest, owner: str, lease: MemoryLease, emit: Callable[[Any], Awaitable[None]]
    ) -> dict[str, Any]:
        """The chat completion; with `stream` its chunks go to `emit` as they are generated, and the result is empty.
        Raises Fault: before the first call of `emit` a refusal; after it, an interrupted answer."""
        begun = time.monotonic()
        if self.engine.state not in ("ready", "failing"):
            raise down(f"it is {self.engine.state}")
        async with self.queue.slot(owner):
            frames: dict[VideoRef, Frames] = {}
            left = self.config.limits.frames
            # Sequentially: a request with many videos uses no more decoders than others.
            for video in (video for message in request.messages for video in message.videos):
                frames[video] = await self.frames(video, owner, left)
                left -= len(frames[video])
                self.metrics.frames.inc(len(frames[video]))
            asked = EngineRequest(
                id=REQUEST_ID.get(),
                chat=request,
                conversation=tuple(
                    Message(role=each.role, text=each.text, videos=tuple(frames[video] for video in each.videos))
                    for each in request.messages
                ),
                cache_salt=owner if self._isolates_caches else None,
                lease=lease,
            )
            if self.config.log_prompts:
                text = " | ".join(f"{each.role}: {each.text}" for each in request.messages)
                logger.info("%s prompt: %s", asked.id, printable(text, 4000))
            report = {"cineloop": {"videos": [self.describe(each) for each in frames.values()]}} if frames else {}
            limit_s = self.config.limits.answer_s
            try:
                async with asyncio.timeout(limit_s):
                    return await self._generate(asked, report, begun, emit)
            except TimeoutError:
                raise Fault(504, "ANSWER_TIMEOUT", f"the answer took longer than {limit_s:.0f} s") from None

    async def _generate(
        self, asked: EngineRequest, report: dict[str, Any], begun: float, emit: Callable[[Any], Awaitable[None]]
    ) -> dict[str, Any]:
        """See `answer`; `report` is on the videos, `begun` the time of the request."""
        is_stream, is_first = asked.chat.stream, True
        head = {
            "id": f"chatcmpl-{asked.id}",
            "object": "chat.completion.chunk" if is_stream else "chat.completion",
            "created": int(time.time()),
            "model": asked.chat.model,
        }
        async with aclosing(self.engine.generate(asked)) as replies:
            async for reply in replies:
                if is_stream and is_first:
                    # Only now: an engine that refuses at once gets an ordinary refusal, with its status.
                    is_first = False
                    await emit({**head, "choices": [_choice({"role": "assistant", "content": ""})], **report})
                    report = {}
                if isinstance(reply, str):
                    if not reply or not is_stream:
                        continue
                    if begun:
                        self.metrics.first_piece_seconds.observe(time.monotonic() - begun)
                        begun = 0.0
                    await emit({**head, "choices": [_choice({"content": reply})]})
                    continue
                self.metrics.answer_tokens.inc(reply.tokens)
                if reply.warnings:  # such as a clip outside the domain of the engine's model
                    warnings = [warning.record() for warning in reply.warnings]
                    report = {"cineloop": {**report.get("cineloop", {}), "warnings": warnings}}
                usage = None
                if (prompt := reply.prompt_tokens) is not None:
                    total = prompt + reply.tokens
                    usage = {"prompt_tokens": prompt, "completion_tokens": reply.tokens, "total_tokens": total}
                if not is_stream:
                    message = {"role": "assistant", "content": reply.text}
                    choice = {"index": 0, "message": message, "finish_reason": reply.finish}
                    return {**head, "choices": [choice], "usage": usage, **report}
                await emit({**head, "choices": [_choice({}, reply.finish)], **report})
                if asked.chat.include_usage and usage is not None:
                    await emit({**head, "choices": [], "usage": usage})
        if not is_stream:
            raise failed()
        return {}


def _choice(delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish}


class Completions:
    """POST /v1/chat/completions, an ASGI application: a client that disconnects cancels the work."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        gateway, owner, is_begun = self._gateway, scope["state"]["owner"], False
        limits = gateway.config.limits

        async def emit(value: Any) -> None:
            """Send an event."""
            nonlocal is_begun
            if not is_begun:
                headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                is_begun = True
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            await send({"type": "http.response.body", "body": b"data: " + data + b"\n\n", "more_body": True})

        with gateway.memory.lease(owner) as lease:
            body = await read_json(receive, Headers(scope=scope), limits.body_mb * MIB, lease)
            parsed = chat.read(body, gateway.served, limits)
            del body
            try:
                answer = await unless_gone(receive, gateway.answer(parsed, owner, lease, emit))
                if parsed.stream:
                    await emit(b"[DONE]")
            except Fault as fault:
                if not is_begun:
                    raise
                await emit(fault.body(REQUEST_ID.get()))
            if parsed.stream:
                await send({"type": "http.response.body", "body": b""})
                return
        await JSONResponse(answer)(scope, receive, send)  # type: ignore[arg-type]
