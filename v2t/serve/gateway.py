"""The gateway's state, and chat completions, whole and as a stream.

In: a `ChatRequest` and its owner. Out: OpenAI's chat completion, or `Fault`. A request waits in two queues, for a
decoder of each of its videos and for the engine; one deadline covers both. A client that disconnects cancels all of it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from starlette.datastructures import Headers
from starlette.responses import JSONResponse

from cineloop.web.bodies import MIB, Receive, read_json, unless_gone
from cineloop.web.faults import Fault
from cineloop.web.guard import REQUEST_ID, Send
from cineloop.web.limits import ApiKeys, FairQueue, MemoryLease, RateLimit, busy
from v2t.serve import chat
from v2t.serve.chat import ChatRequest
from v2t.serve.engines import ChatEngine, ServeEngine, down, engine_fault
from v2t.serve.metrics import Metrics
from v2t.serve.parts import VideoRef
from v2t.serve.served import ServedModel
from v2t.serve.settings import ServeConfig

if TYPE_CHECKING:
    from cineloop.video.frames import Frames
    from v2t.serve.media import Media

T = TypeVar("T")
_STALL_S = 60.0  # beyond what one use of a slot may last: a decoder's start, a busy machine


@dataclass(kw_only=True)
class Gateway:
    """State shared by the routes, one for the life of the server.

    Attributes:
        created: when it began, seconds since 1970.
    """

    config: ServeConfig
    served: ServedModel
    engine: ServeEngine
    media: Media
    created: int = field(default_factory=lambda: int(time.time()))
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        limits = self.config.limits
        self.keys = ApiKeys(self.config.keys())
        self.rate = RateLimit(limits.rate_per_minute)
        share = limits.in_flight_per_owner if self.keys.num_owners > 1 else None
        self.queue = FairQueue(limits.in_flight, per_owner=share, max_waiting=limits.in_flight)
        self.memory = self.media.memory
        # Engines cache prefixes of prompts: by the time to the first token, one key could detect prompts of another.
        self._isolates_caches = self.keys.num_owners > 1
        watch, decoders = self.metrics.watch, self.media.decoder_queue
        watch("v2t_in_flight", "Requests that the engine works on", lambda: self.queue.taken)
        watch("v2t_waiting", "Requests that wait for the engine", lambda: self.queue.waiting)
        watch("v2t_reading_in_flight", "Requests whose videos are fetched and decoded", lambda: self.queue.preparing)
        watch("v2t_decoders_in_flight", "Videos that decoders work on", lambda: decoders.taken)
        watch("v2t_decoders_waiting", "Videos that wait for a decoder", lambda: decoders.waiting)
        watch("v2t_uploads_bytes", "Bytes of all uploads", lambda: self.media.uploads.held_bytes)
        watch("v2t_engine_up", "Whether the engine answers", lambda: self.engine.state == "ready")

    def stalled_queues(self) -> list[str]:
        """Names of the queues in which all slots are taken and none has moved for longer than one use may last."""
        limits = self.config.limits
        queues = {
            "requests": (self.queue, limits.answer_s),
            "decoders": (self.media.decoder_queue, 2 * limits.decode_s),  # a decoder that crashes is tried once more
        }
        return [name for name, (queue, most_s) in queues.items() if queue.stalled_s > most_s + _STALL_S]

    async def frames(self, videos: Sequence[VideoRef], owner: str) -> list[Frames]:
        """The frames of each video for the model; read one after the other, so that a request uses no more decoders
        than others do. Raises Fault."""
        shown: list[Frames] = []
        left = self.config.limits.frames
        for video in videos:
            with self.count_video(video):
                try:
                    shown.append(await self.media.frames(video.url, owner=owner, param=video.param, max_frames=left))
                except BaseException:
                    # The traceback may live until the next collection: it must not hold the memory of other videos.
                    shown.clear()
                    raise
            left -= len(shown[-1])
        return shown

    @contextmanager
    def count_video(self, video: VideoRef) -> Iterator[None]:
        """Count a video that the block reads, with its seconds and outcome."""
        begun, outcome = time.monotonic(), "failed"
        try:
            yield
            outcome = "ok"
        except Fault as fault:
            outcome = "refused" if fault.status < 500 else outcome
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            self.metrics.videos.labels(video.source, outcome).inc()
            self.metrics.decode_seconds.observe(time.monotonic() - begun)

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
        begun, is_generating = time.monotonic(), False
        if self.engine.state not in ("ready", "failing"):
            raise down(f"it is {self.engine.state}")
        limit_s = self.config.limits.answer_s
        try:
            async with asyncio.timeout(limit_s):
                frames: list[Frames] = []
                if request.videos:
                    # In a place and not in a slot: slow videos keep no other request from the engine.
                    with self.queue.place(owner):
                        frames = await self.frames(request.videos, owner)
                    self.metrics.frames.inc(sum(map(len, frames)))
                async with self.queue.slot(owner, has_place=bool(frames)):
                    is_generating = True
                    shown = list(zip(request.videos, frames, strict=True))
                    request = replace(
                        request,
                        messages=tuple(
                            replace(message, videos=tuple(each for video, each in shown if video.turn == turn))
                            for turn, message in enumerate(request.messages)
                        ),
                        id=REQUEST_ID.get(),
                        cache_salt=owner if self._isolates_caches else None,
                        lease=lease,
                    )
                    report = {"cineloop": {"videos": [self.describe(each) for each in frames]}}
                    return await self._generate(request, report if frames else {}, begun, emit)
        except TimeoutError:
            if not is_generating:
                raise out_of_turn(limit_s) from None
            raise Fault(504, "ANSWER_TIMEOUT", f"the answer took longer than {limit_s:.0f} s") from None

    async def preview(self, video: VideoRef, owner: str, render: Callable[[Frames], T]) -> tuple[Frames, T]:
        """The frames of a video that no engine gets, and what `render` makes of them in a thread. Raises Fault."""
        limits = self.config.limits
        try:
            async with asyncio.timeout(limits.answer_s):
                with self.queue.place(owner):
                    (frames,) = await self.frames([video], owner)
                    return frames, await asyncio.to_thread(render, frames)
        except TimeoutError:
            raise out_of_turn(limits.answer_s) from None

    async def _generate(
        self, request: ChatRequest, report: dict[str, Any], begun: float, emit: Callable[[Any], Awaitable[None]]
    ) -> dict[str, Any]:
        """See `answer`; `report` is on the videos, `begun` the time of the request."""
        is_stream, is_first = request.stream, True
        head = {
            "id": f"chatcmpl-{request.id}",
            "object": "chat.completion.chunk" if is_stream else "chat.completion",
            "created": int(time.time()),
            "model": request.model,
        }
        engine = cast(ChatEngine, self.engine)  # one that relays has routes of its own
        async with aclosing(engine.generate(request)) as replies:
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
                if request.include_usage and usage is not None:
                    await emit({**head, "choices": [], "usage": usage})
        if not is_stream:
            raise engine_fault()
        return {}


def out_of_turn(limit_s: float) -> Fault:
    """A request's turn did not come in time."""
    return busy(f"the request's turn did not come within {limit_s:.0f} s")


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
            body = (await read_json(receive, Headers(scope=scope), limits.body_mb * MIB, lease))[0]
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
