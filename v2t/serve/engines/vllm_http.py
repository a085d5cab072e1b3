"""vLLM's server in a child process, called over a socket file.

In: an `EngineRequest`, which becomes the JSON of OpenAI's chat request with its frames in base64. Out: the text and
figures of the reply, copied field by field, so that no server internals get out; or `Fault`.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import httpx

from cineloop.errors import Notice
from cineloop.log import logger, printable
from cineloop.video.frames import Frames
from cineloop.web.faults import Fault
from v2t.backends import Output
from v2t.backends.payload import Form, content, video_metadata, warnings_of
from v2t.serve.engine_process import EngineCommand, EngineProcess
from v2t.serve.engines import EngineRequest, down, failed, interrupted_fault, refused, too_long

_PATH = "/v1/chat/completions"
_MAX_SIDE, _QUALITY = 768, 90  # of JPEGs for models that are not ours, as v2t.backends.openai
_TOO_LONG = re.compile(r"context length|max_model_len|maximum.{0,20}length|prompt.{0,40}too long|longer than", re.I)
_MOST_WARNINGS, _WARNING_CHARS = 16, 300
_MAX_LINE = 1 << 20


class EngineError(Exception):
    """An error that the server reports, or an invalid reply.

    Args:
        status: as of HTTP. message: not for clients.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class VllmEngine(EngineProcess):
    """See `v2t.serve.engines.Engine`.

    Args:
        command: see `EngineProcess`.
        packs_frames: the model is ours, which takes packed frames and knows their times; others get JPEGs.
    """

    name = "vllm"

    def __init__(self, command: EngineCommand, *, packs_frames: bool) -> None:
        super().__init__(command)
        self._packs_frames = packs_frames

    async def generate(self, request: EngineRequest) -> AsyncGenerator[str | Output, None]:
        """See `Engine`."""
        body = await self._body(request)
        try:
            async with (
                self.client.stream(
                    "POST",
                    _PATH,
                    content=body,
                    headers={"content-type": "application/json", "x-request-id": request.id},
                    timeout=httpx.Timeout(None, connect=5.0),
                ) as reply,
            ):
                if reply.status_code != 200:
                    raise _refusal(request, reply.status_code, await reply.aread())
                if request.chat.stream:
                    async with aclosing(_pieces(reply)) as pieces:
                        async for piece in pieces:
                            yield piece
                else:
                    yield _whole(await reply.aread())
        except EngineError as error:
            if error.status < 500:
                raise _refusal(request, error.status, json.dumps({"message": error.message}).encode()) from None
            logger.warning("%s: the engine failed: %s", request.id, printable(error.message, 500))
            raise failed() from None
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            raise down("it could not be reached") from None
        except httpx.HTTPError as error:
            logger.warning("%s: the engine disconnected: %s", request.id, type(error).__name__)
            raise interrupted_fault() from None

    async def _body(self, request: EngineRequest) -> bytes:
        """The request's JSON; its copy of all frames in base64 counts against its memory."""
        videos = [frames for message in request.conversation for frames in message.videos]
        lease = request.lease
        if lease is not None and self._packs_frames:  # for others the size of the pictures is not known in advance
            lease.set(lease.size + sum(frames.pixels.nbytes for frames in videos) * 4 // 3)
        form: Form = "packed" if self._packs_frames else "video" if len(videos) == 1 else "images"
        body = await asyncio.to_thread(_json, request, form, videos)
        if lease is not None:
            lease.set(max(lease.size, len(body)))
        return body


def _json(request: EngineRequest, form: Form, videos: Sequence[Frames]) -> bytes:
    body: dict[str, Any] = {
        "model": request.chat.model,
        "messages": [
            {"role": message.role, "content": content(message, form, _MAX_SIDE, _QUALITY)}
            for message in request.conversation
        ],
        "max_tokens": request.chat.max_tokens,
        **request.chat.sampling,
    }
    if request.chat.stops:
        body["stop"] = list(request.chat.stops)
    if request.cache_salt is not None:
        body["cache_salt"] = request.cache_salt
    if form == "video":
        body["media_io_kwargs"] = {"video": video_metadata(videos[0])}
    if request.chat.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(body).encode()


def _whole(data: bytes) -> Output:
    """The reply to a request that is not streamed. Raises EngineError for an invalid one."""
    try:
        value = json.loads(data)
        choice = value["choices"][0]
        text = choice["message"]["content"]
        if not isinstance(text, str | None):
            raise TypeError("content is not text")
        prompt, tokens = _usage(value["usage"])
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise EngineError(500, f"its reply is invalid: {error}") from None
    return Output(
        text=text or "",
        tokens=tokens,
        finish=_finish(choice.get("finish_reason")),
        warnings=_warnings(value),
        prompt_tokens=prompt,
    )


async def _pieces(reply: httpx.Response) -> AsyncGenerator[str | Output, None]:
    """The text of a stream, an empty piece where an event has none, and its output. Raises EngineError."""
    parts: list[str] = []
    finish, prompt, tokens = "stop", None, 0
    warnings: tuple[Notice, ...] = ()
    async for event in _events(reply):
        try:
            if event.get("usage") is not None:
                prompt, tokens = _usage(event["usage"])
            choice = (event.get("choices") or [{}])[0]
            text = (choice.get("delta") or {}).get("content")
            if not isinstance(text, str | None):
                raise TypeError("content is not text")
            if choice.get("finish_reason") is not None:
                finish, warnings = _finish(choice["finish_reason"]), _warnings(event)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise EngineError(500, f"an invalid event: {error}") from None
        parts.append(text or "")
        yield text or ""
    yield Output(text="".join(parts), tokens=tokens, finish=finish, warnings=warnings, prompt_tokens=prompt)


async def _events(reply: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The JSON of `data: {...}` lines up to `[DONE]`. Lines end at line feeds alone: an answer may hold any of the
    other characters that Unicode counts as the end of a line.

    Raises:
        EngineError: an error event, or an invalid one; an end without `[DONE]`.
    """
    held = b""
    async for data in reply.aiter_bytes():
        *lines, held = (held + data).split(b"\n")
        if len(held) > _MAX_LINE:
            raise EngineError(500, "an event of more than a MiB")
        for line in lines:
            if not line.startswith(b"data:"):
                continue
            text = line[5:].strip()
            if text == b"[DONE]":
                return
            yield _event(text)
    raise EngineError(502, "its answer ended without [DONE]")


def _event(text: bytes) -> dict[str, Any]:
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        raise EngineError(500, "an event is not JSON") from None
    if not isinstance(event, dict):
        raise EngineError(500, "an event is not an object")
    error = event.get("error")
    if error is not None:
        details = error if isinstance(error, dict) else {"message": str(error)}
        status = details.get("code")
        raise EngineError(status if isinstance(status, int) else 500, str(details.get("message", "")))
    return event


def _usage(usage: Any) -> tuple[int, int]:
    return int(usage["prompt_tokens"]), int(usage.get("completion_tokens") or 0)


def _finish(reason: Any) -> str:
    return "length" if reason == "length" else "stop"


def _warnings(value: dict[str, Any]) -> tuple[Notice, ...]:
    """The server's warnings: a clip outside the domain of its model."""
    found = warnings_of(value)[:_MOST_WARNINGS]
    return tuple(Notice(printable(one.code, _WARNING_CHARS), printable(one.message, _WARNING_CHARS)) for one in found)


def _refusal(request: EngineRequest, status: int, data: bytes) -> Fault:
    """The fault for a refusal of the server, with its message where it helps."""
    try:
        error = json.loads(data)
        error = error.get("error", error)
        code, message = error.get("code"), str(error.get("message", ""))
    except (ValueError, RecursionError, AttributeError):
        code, message = None, ""
    if status >= 500 or status in (401, 403, 404, 405):
        logger.warning("%s: the engine answered %d: %s", request.id, status, printable(message, 500))
        return down("it accepts no requests") if status == 503 else failed()
    if code == "PROMPT_TOO_LONG" or _TOO_LONG.search(message):
        return too_long()
    return refused(message)
