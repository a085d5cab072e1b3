"""Responses of the server behind: passed on byte for byte, or looked at first where a refusal can be answered.

In: a response whose body was not read yet. Out: its status, type and bytes to the client, without that server's key;
or a `RefusedReply`, from which the caller learns how many pictures to send. A page of HTML is never passed on: in the
origin of the gateway it would be the gateway's. LM Studio reports a prompt that is too long with status 200: as an
error event, or by a stream without any text.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from cineloop.documents import parse_json
from cineloop.errors import Notice
from cineloop.log import printable
from cineloop.web.bodies import MIB
from cineloop.web.faults import Fault
from cineloop.web.guard import REQUEST_ID
from v2t.serve.engines import RelayEngine
from v2t.serve.engines.openai import bad_reply, read_all
from v2t.serve.outlet import Outlet
from v2t.serve.substitution import CHAT, RequestForm

_MOST_REPLY, _MOST_PEEKED = 64 * MIB, MIB
_PLAIN, _EVENTS = ("application/json", "application/problem+json", "text/plain"), "text/event-stream"
_RETURNED = re.compile(r"retry-after|x-ratelimit-[a-z-]{1,40}")
_TAG = re.compile(r"<[^>]{0,500}>|\s+")
_NO_TEXT = "no text came: the context length may be too short for so many pictures"


@dataclass(frozen=True)
class RefusedReply:
    """A refusal: its status, its media type and its body. `words` are what it says."""

    status: int
    kind: str
    data: bytes

    @property
    def words(self) -> str:
        return self.data.decode("utf-8", "replace")


async def hand_on(engine: RelayEngine, response: httpx.Response, out: Outlet) -> None:
    """Pass a response on as it comes. Raises Fault: one that is neither JSON, text nor events; it breaks off."""
    kind = _kind(response)
    if kind == _EVENTS and response.status_code == 200:
        await out.begin(200, {"content-type": response.headers["content-type"], "x-accel-buffering": "no"})
        await _stream(engine, response.aiter_raw(), out)
        return
    data = await read_all(response, _MOST_REPLY)
    if kind not in _PLAIN:
        raise _page_fault(response.status_code, kind, data)
    await out.whole(response.status_code, _headers(response), engine.redact(data))


async def hand_on_answer(
    engine: RelayEngine, response: httpx.Response, out: Outlet, report: dict[str, Any], form: RequestForm, again: bool
) -> RefusedReply | None:
    """Pass an answer on, with a report on its videos; None then. A refusal is returned instead, and where another
    request can be made (`again`) an answer without any text too. Raises Fault as `hand_on`."""
    status, kind = response.status_code, _kind(response)
    if status == 200 and kind == _EVENTS:
        pieces = response.aiter_raw()
        held, has_begun = await _peek(pieces, form)
        if isinstance(held, RefusedReply):
            return held
        if not has_begun:
            if again:
                return RefusedReply(200, kind, _NO_TEXT.encode())
            report = _with(report, Notice("EMPTY_ANSWER", _NO_TEXT))
        await _begin_answer(out, report, form)
        await _stream(engine, _chain(held, pieces), out)
        return None
    data = await read_all(response, _MOST_REPLY)
    if kind not in _PLAIN:
        raise _page_fault(status, kind, data)
    if status != 200:
        return RefusedReply(status, kind, engine.redact(data))
    value = _object(data)
    if value.get("error") and not value.get("choices") and not value.get("output"):
        return RefusedReply(200, kind, engine.redact(data))
    if form is CHAT and not any(_says(choice.get("message")) for choice in _choices(value)):
        if again:
            return RefusedReply(200, kind, _NO_TEXT.encode())
        report = _with(report, Notice("EMPTY_ANSWER", _NO_TEXT))
    if out.is_begun:
        raise bad_reply("no stream of events, though one was asked for")
    data = engine.redact(json.dumps({**value, "cineloop": report}).encode())
    await out.whole(200, {**_headers(response), "content-type": "application/json"}, data)
    return None


async def refuse(refused: RefusedReply, out: Outlet, headers: dict[str, str]) -> None:
    """Pass a refusal on: with its status and body, or within a stream as an event."""
    status = refused.status if refused.status != 200 else 400
    if not out.is_begun and refused.kind in _PLAIN:
        await out.whole(status, {**headers, "content-type": refused.kind}, refused.data)
        return
    message = printable(refused.words, 1000)
    raise Fault(status, "UPSTREAM", f"the server behind refused the request: {message}")


def headers_of(response: httpx.Response) -> dict[str, str]:
    """The headers of a response that are passed on, without its type."""
    return {name: value for name, value in response.headers.items() if _RETURNED.fullmatch(name)}


def _headers(response: httpx.Response) -> dict[str, str]:
    return {**headers_of(response), "content-type": response.headers["content-type"]}


def _kind(response: httpx.Response) -> str:
    """The media type of a response, without its parameters."""
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()


def _page_fault(status: int, kind: str, data: bytes) -> Fault:
    """The fault in place of a page, such as a proxy's: its status, and the first of its words."""
    words = printable(_TAG.sub(" ", data[:4096].decode("utf-8", "replace")).strip(), 200)
    text = f"the server behind answered {status} with {printable(kind, 60) or 'no media type'}: {words or 'no text'}"
    return Fault(status if 400 <= status < 600 else 502, "UPSTREAM", text)


async def _stream(engine: RelayEngine, pieces: AsyncIterator[bytes], out: Outlet) -> None:
    """Pass the bytes of a stream on; what may be the beginning of the key is held until more has come."""
    held = b""
    async for piece in pieces:
        held += piece
        ready, held = engine.redact_piece(held)
        if ready:
            await out.write(ready)
    if held:
        await out.write(engine.redact(held))
    await out.end()


async def _chain(first: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in pieces:
        yield piece


async def _peek(pieces: AsyncIterator[bytes], form: RequestForm) -> tuple[bytes | RefusedReply, bool]:
    """The beginning of a stream up to its first words, and whether there are any; or the refusal that it is. Raises
    Fault UPSTREAM: it is no stream of events."""
    held = b""
    while True:
        piece = await anext(pieces, None)
        held += piece or b""
        whole = held if piece is None else held[: held.rfind(b"\n") + 1]
        for name, event in _events(whole):
            if event.get("error") or name == "error" or event.get("type") in ("error", "response.failed"):
                return RefusedReply(200, _EVENTS, json.dumps(event).encode()), False
            kind = str(event.get("type") or "")
            if kind.startswith(("response.output", "response.content", "response.reasoning", "response.function")):
                return held, True
            if any(_says(choice.get("delta")) or _says(choice.get("message")) for choice in _choices(event)):
                return held, True
        if piece is None or len(held) > _MOST_PEEKED:
            if not any(True for _ in _events(whole)):
                raise bad_reply("a stream without events")
            return held, piece is not None


def _events(data: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, JSON) of the events in whole lines of a stream. Raises Fault UPSTREAM: one that is not JSON."""
    name = ""
    for line in data.splitlines():
        if line.startswith(b"event:"):
            name = line[6:].strip().decode("utf-8", "replace")
        elif line.startswith(b"data:") and (text := line[5:].strip()) != b"[DONE]":
            yield name, _object(text)
        elif not line:
            name = ""


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = parse_json(data)
    except ValueError:
        raise bad_reply("what is not JSON") from None
    if not isinstance(value, dict):
        raise bad_reply("what is no JSON object")
    return value


def _choices(value: dict[str, Any]) -> list[dict[str, Any]]:
    choices = value.get("choices")
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []


def _says(message: Any) -> bool:
    """Whether a message or a piece of one holds anything: text, reasoning, calls."""
    names = ("content", "reasoning_content", "reasoning", "tool_calls", "function_call", "refusal", "audio")
    return isinstance(message, dict) and any(message.get(name) for name in names)


def _with(report: dict[str, Any], notice: Notice) -> dict[str, Any]:
    return {**report, "warnings": [*report.get("warnings", []), notice.record()]}


async def _begin_answer(out: Outlet, report: dict[str, Any], form: RequestForm) -> None:
    """Begin a stream with the report: an empty piece of a chat completion, or a comment where events have types."""
    if form is not CHAT:
        await out.comment(report)
        return
    delta = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
    head = {"id": f"chatcmpl-{REQUEST_ID.get()}", "object": "chat.completion.chunk", "created": 0, "model": ""}
    await out.event({**head, "choices": [delta], "cineloop": report})
