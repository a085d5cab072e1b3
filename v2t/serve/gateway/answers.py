"""Answers of the engine, whole and in pieces.

In: a checked request (`chat.Asked`) and its owner. Out: OpenAI's chat completion, written anew from the few fields that
are known, so that nothing of the engine's inside gets out; or `Fault`. The videos are decoded first, within the same
place in the line; a client that leaves cancels all of it.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx

from cineloop.log import logger, printable
from v2t.captioners import Message
from v2t.captioners.payload import content, video_metadata
from v2t.serve.faults import Fault
from v2t.serve.gateway.access import Holding, Places
from v2t.serve.gateway.chat import Asked, Video
from v2t.serve.gateway.door import REQUEST_ID
from v2t.serve.gateway.events import EngineError, events
from v2t.serve.gateway.metrics import Metrics
from v2t.serve.served import Served
from v2t.serve.settings import ServeConfig

if TYPE_CHECKING:
    from cineloop.video.frames import Frames
    from v2t.serve.media import Media
    from v2t.serve.supervision.supervisor import Engine

Emit = Callable[[bytes], Awaitable[None]]
_PATH = "/v1/chat/completions"
_MAX_SIDE, _QUALITY = 768, 90  # of JPEGs for models that are not ours, as v2t.captioners.openai
_TOO_LONG = re.compile(r"context length|max_model_len|maximum.{0,20}length|prompt.{0,40}too long|longer than", re.I)
_RETRY_S = 5.0
_MOST_WARNINGS, _WARNING_CHARS = 16, 300


class Answers:
    """Asks the engine.

    Args:
        config, served: what is served. engine: the child that answers. media: what turns URLs into frames.
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
        async with self._sent(asked, owner, holding) as (reply, shown):
            value = await _value(reply)
            return {**self._completion(asked, value), **_with_warnings(shown, value)}

    async def stream(self, asked: Asked, owner: str, holding: Holding, emit: Emit) -> None:
        """The chat completion as server-sent events, given to `emit` as they come.

        Raises:
            Fault: before the first call of `emit` a refusal; after it, the answer broke off.
        """
        begun = time.monotonic()
        async with self._sent(asked, owner, holding) as (reply, shown):
            head = {
                "id": f"chatcmpl-{REQUEST_ID.get()}",
                "object": "chat.completion.chunk",
                "created": int(time.time()),
                "model": asked.model,
            }
            is_first, tokens = True, 0
            async for event in events(reply):
                text, finish, usage = _piece(event)
                if is_first:
                    # An engine that refuses at once has not begun: that is a plain refusal, by its status.
                    is_first = False
                    await emit(_data({**head, "choices": [_choice({"role": "assistant", "content": ""})], **shown}))
                if text and begun:
                    self._metrics.first_piece_seconds.observe(time.monotonic() - begun)
                    begun = 0.0
                if text or finish:
                    beside = _with_warnings({}, event)
                    await emit(
                        _data({**head, "choices": [_choice({"content": text} if text else {}, finish)], **beside})
                    )
                if usage is not None:
                    tokens = usage["completion_tokens"]
                    if asked.include_usage:
                        await emit(_data({**head, "choices": [], "usage": usage}))
            self._metrics.answer_tokens.inc(tokens)
            await emit(b"data: [DONE]\n\n")

    @asynccontextmanager
    async def _sent(
        self, asked: Asked, owner: str, holding: Holding
    ) -> AsyncIterator[tuple[httpx.Response, dict[str, Any]]]:
        """The engine's reply to a request, and our word on its videos; any trouble with it, also later, is a Fault."""
        self._check_engine()
        async with self._places.place(owner):
            body, shown = await self._prepared(asked, owner, holding)
            if self._config.log_prompts:
                words = " | ".join(f"{turn.role}: {turn.text}" for turn in asked.turns)
                logger.info("%s asks %s", REQUEST_ID.get(), printable(words, 4000))
            self._check_engine()
            try:
                async with (
                    asyncio.timeout(self._limits.answer_s),
                    self._engine.at_work(),
                    self._engine.client.stream(
                        "POST",
                        _PATH,
                        content=body,
                        headers={"content-type": "application/json", "x-request-id": REQUEST_ID.get()},
                        timeout=httpx.Timeout(None, connect=5.0),
                    ) as reply,
                ):
                    if reply.status_code != 200:
                        await reply.aread()
                        raise _refused(reply.status_code, reply.content)
                    yield reply, shown
            except EngineError as error:
                raise self._broken(error.status, error.message) from None
            except TimeoutError:
                limit = self._limits.answer_s
                raise Fault(504, "ANSWER_TIMEOUT", f"the answer took longer than {limit:.0f} s") from None
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
                self._engine.note_broken()
                raise _down("it could not be reached") from None
            except httpx.HTTPError as error:
                self._engine.note_broken()
                logger.warning("%s: the engine broke off: %s", REQUEST_ID.get(), type(error).__name__)
                raise Fault(502, "ENGINE", "the engine stopped while it answered", retry_after_s=_RETRY_S) from None

    def _check_engine(self) -> None:
        if self._engine.state != "ready":
            raise _down(f"it is {self._engine.state}")

    def _broken(self, status: int, message: str) -> Fault:
        if status < 500:
            return _refused(status, json.dumps({"error": {"message": message}}).encode())
        logger.warning("%s: the engine failed: %s", REQUEST_ID.get(), printable(message, 500))
        return Fault(502, "ENGINE", "the engine failed at this request; the server's log says why")

    async def _prepared(self, asked: Asked, owner: str, holding: Holding) -> tuple[bytes, dict[str, Any]]:
        """The engine's body, and our word on the videos."""
        seen: dict[Video, Frames] = {}
        left = self._limits.frames
        # One after another: a request with many videos takes no more decoders than others.
        for video in asked.videos:
            seen[video] = await self.frames(video, owner, left)
            left -= len(seen[video])
            self._metrics.frames.inc(len(seen[video]))
        if self._served.is_ours:  # of others the size of the pictures is not known beforehand
            holding.set(holding.size + sum(frames.pixels.nbytes for frames in seen.values()) * 4 // 3)
        base = holding.size
        body = await asyncio.to_thread(self._body, asked, seen, owner)
        holding.set(max(base, len(body)))
        word = [self.word_on(seen[video]) for video in asked.videos]
        return body, {"cineloop": {"videos": word}} if word else {}

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

    def _body(self, asked: Asked, seen: dict[Video, Frames], owner: str) -> bytes:
        """What the engine is sent; a copy of all frames in base64."""
        turns = [
            Message(role=turn.role, text=turn.text, videos=tuple(seen[video] for video in turn.videos))
            for turn in asked.turns
        ]
        form = "packed" if self._served.is_ours else "video" if len(seen) == 1 else "images"
        body: dict[str, Any] = {
            "model": asked.model,
            "messages": [
                {"role": turn.role, "content": content(turn, form, _MAX_SIDE, _QUALITY)}  # type: ignore[arg-type]
                for turn in turns
            ],
            "max_tokens": asked.max_tokens,
            **asked.sampling,
        }
        if self._keeps_apart:
            body["cache_salt"] = owner
        if form == "video":
            body["media_io_kwargs"] = {"video": video_metadata(next(iter(seen.values())))}
        if asked.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return json.dumps(body).encode()

    def _completion(self, asked: Asked, reply: Any) -> dict[str, Any]:
        """The reply from its known fields. Raises EngineError for one that is none."""
        try:
            choice = reply["choices"][0]
            text = choice["message"]["content"]
            if not isinstance(text, str | None):
                raise TypeError("a content that is no text")
            usage = _usage(reply["usage"])
        except (LookupError, TypeError, ValueError) as error:
            raise EngineError(500, f"its reply has another form: {error}") from None
        self._metrics.answer_tokens.inc(usage["completion_tokens"])
        message = {"role": "assistant", "content": text or ""}
        return {
            "id": f"chatcmpl-{REQUEST_ID.get()}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": asked.model,
            "choices": [{"index": 0, "message": message, "finish_reason": _finish(choice.get("finish_reason"))}],
            "usage": usage,
        }


async def _value(reply: httpx.Response) -> Any:
    try:
        return json.loads(await reply.aread())
    except (ValueError, RecursionError):
        raise EngineError(500, "a reply that is no JSON") from None


def _piece(event: dict[str, Any]) -> tuple[str, str | None, dict[str, int] | None]:
    """(text, how it ended or None, usage or None) of one event. Raises EngineError for one of another form."""
    try:
        usage = None if event.get("usage") is None else _usage(event["usage"])
        choices = event.get("choices") or [{}]
        delta = choices[0].get("delta") or {}
        text, finish = delta.get("content"), choices[0].get("finish_reason")
        if not isinstance(text, str | None):
            raise TypeError("a content that is no text")
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise EngineError(500, f"an event of another form: {error}") from None
    return text or "", None if finish is None else _finish(finish), usage


def _usage(told: Any) -> dict[str, int]:
    prompt, answer = int(told["prompt_tokens"]), int(told.get("completion_tokens") or 0)
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}


def _finish(reason: Any) -> str:
    return "length" if reason == "length" else "stop"


def _with_warnings(shown: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """Our word, with what the engine warns of: that a clip lies outside the world its model knows."""
    beside = told.get("cineloop")
    given = beside.get("warnings") if isinstance(beside, dict) else None
    warnings = [printable(each, _WARNING_CHARS) for each in given or () if isinstance(each, str)][:_MOST_WARNINGS]
    if not warnings:
        return shown
    return {"cineloop": {**shown.get("cineloop", {}), "warnings": warnings}}


def _choice(delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish}


def _data(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def error_event(fault: Fault) -> bytes:
    """A fault in the middle of a stream."""
    return _data(fault.body(REQUEST_ID.get()))


def _refused(status: int, data: bytes) -> Fault:
    """What an engine refused, in its words where they help."""
    try:
        error = json.loads(data)
        error = error.get("error", error)
        code, message = error.get("code"), str(error.get("message", ""))
    except (ValueError, RecursionError, AttributeError):
        code, message = None, ""
    if status >= 500 or status in (401, 403, 404, 405):
        logger.warning("%s: the engine answered %d: %s", REQUEST_ID.get(), status, printable(message, 500))
        if code == "ENGINE_DOWN" or status == 503:
            return _down("it takes no questions")
        return Fault(502, "ENGINE", "the engine failed at this request; the server's log says why")
    if code == "PROMPT_TOO_LONG" or _TOO_LONG.search(message):
        hint = "ask with fewer or shorter videos, less text, or a smaller max_tokens"
        return Fault(400, "PROMPT_TOO_LONG", f"the model has no room for so much: {hint}", param="messages")
    return Fault(400, "BAD_REQUEST", f"the model does not take this: {scrubbed(message) or 'it does not say why'}")


def scrubbed(message: str) -> str:
    """An engine's words without what could be a path, an address or data."""
    message = printable(message, 2000)
    message = re.sub(r"[A-Za-z0-9+/=_-]{64,}", "...", message)
    message = re.sub(r"\w+://\S+", "...", message)
    message = re.sub(r"(?<![\w/])/(?:[\w.@+-]+/?)+|[A-Za-z]:\\\\?\S+", "...", message)
    return message[:300]


def _down(why: str) -> Fault:
    return Fault(503, "ENGINE_DOWN", f"the model does not answer now: {why}", retry_after_s=_RETRY_S)
