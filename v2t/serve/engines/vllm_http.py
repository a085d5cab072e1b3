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
        body = await self._body(request)
        headers = {"content-type": "application/json", "x-request-id": request.id}
        try:
            async with self.client.stream("POST", _PATH, content=body, headers=headers) as reply:
                if reply.status_code != 200:
                    raise _refusal(request, reply.status_code, await reply.aread())
                if not request.chat.stream:
                    yield _whole(json.loads(await reply.aread()))
                    return
                async with aclosing(_pieces(request, reply)) as pieces:
                    async for piece in pieces:
                        yield piece
        except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
            logger.warning("%s: the engine's reply is invalid: %s", request.id, printable(str(error), 500))
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


def _whole(value: dict[str, Any]) -> Output:
    """The reply to a request that is not streamed."""
    choice, usage = value["choices"][0], value["usage"]
    return _output(_text(choice["message"]["content"]), choice.get("finish_reason"), usage, _warnings(value))


async def _pieces(request: EngineRequest, reply: httpx.Response) -> AsyncGenerator[str | Output, None]:
    """The text of a stream, an empty piece where an event has none, and its output. Raises Fault for an error event."""
    parts: list[str] = []
    finish, usage = "stop", {"prompt_tokens": None}
    warnings: tuple[Notice, ...] = ()
    async for event in _events(request, reply):
        usage = event.get("usage") or usage
        choice = (event.get("choices") or [{}])[0]
        if choice.get("finish_reason") is not None:
            finish, warnings = choice["finish_reason"], _warnings(event)
        parts.append(_text((choice.get("delta") or {}).get("content")))
        yield parts[-1]
    yield _output("".join(parts), finish, usage, warnings)


async def _events(request: EngineRequest, reply: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The JSON of `data: {...}` lines up to `[DONE]`. Lines end at line feeds alone: an answer may hold any of the
    other characters that Unicode counts as the end of a line."""
    held = b""
    async for data in reply.aiter_bytes():
        *lines, held = (held + data).split(b"\n")
        if len(held) > _MAX_LINE:
            raise ValueError("an event of more than a MiB")
        for line in lines:
            if not line.startswith(b"data:"):
                continue
            text = line[5:].strip()
            if text == b"[DONE]":
                return
            event = json.loads(text)
            if (error := event.get("error")) is not None:
                status = error.get("code") if isinstance(error, dict) else None
                raise _refusal(request, status if isinstance(status, int) and status < 500 else 500, text)
            yield event
    raise ValueError("it ended without [DONE]")


def _text(content: Any) -> str:
    if not isinstance(content, str | None):
        raise TypeError("content is not text")
    return content or ""


def _output(text: str, finish: Any, usage: dict[str, Any], warnings: tuple[Notice, ...]) -> Output:
    prompt = usage["prompt_tokens"]
    return Output(
        text=text,
        tokens=int(usage.get("completion_tokens") or 0),
        finish="length" if finish == "length" else "stop",
        warnings=warnings,
        prompt_tokens=None if prompt is None else int(prompt),
    )


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
