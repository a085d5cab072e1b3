"""Bodies of requests: read piece by piece, counted and timed, and as JSON.

In: ASGI's `receive`. Out: bytes, or a JSON value; `Fault` for what is too large, too slow or invalid JSON, before more
of it is read. `ClientGone` when the client closed the connection.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, MutableMapping
from typing import Any, TypeVar

from cineloop import documents
from cineloop.log import printable
from cineloop.web.faults import Fault
from cineloop.web.limits import MemoryLease

T = TypeVar("T")
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
MIB = 1 << 20
_IDLE_S, _START_S, _LEAST_RATE = 20.0, 30.0, 64 << 10  # between two pieces; to begin with; bytes a second after that
# Each bracket, comma or colon can become an object of Python's that is many times as large as it.
_MOST_MARKS = 500_000
_LENGTH_DIGITS = 18  # of any length that can be meant


class ClientGone(Exception):
    """The client closed its connection."""


async def pieces(receive: Receive, headers: Mapping[str, str], limit: int) -> AsyncIterator[bytes]:
    """The pieces of a body of at most `limit` bytes. Raises Fault TOO_LARGE, BODY_TIMEOUT; ClientGone."""
    length = headers.get("content-length", "").lstrip("0")
    if length.isascii() and length.isdigit() and (len(length) > _LENGTH_DIGITS or int(length) > limit):
        raise _too_large(limit)
    begun, size = time.monotonic(), 0
    while True:
        left_s = _START_S + size / _LEAST_RATE - (time.monotonic() - begun)
        try:
            async with asyncio.timeout(min(_IDLE_S, left_s)):
                message = await receive()
        except TimeoutError:
            raise Fault(408, "BODY_TIMEOUT", f"timeout while reading the request's body, after {size} bytes") from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        data = message.get("body", b"")
        size += len(data)
        if size > limit:
            raise _too_large(limit)
        if data:
            yield data
        if not message.get("more_body", False):
            return


async def read_json(receive: Receive, headers: Mapping[str, str], limit: int, lease: MemoryLease) -> tuple[Any, bytes]:
    """The JSON value in a body, and the body as it came; `lease` then holds what one of them takes. Raises as `pieces`
    and `parse_json`, and Fault BAD_REQUEST for another media type."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # also keeps out what a foreign page can send without asking
        raise Fault(415, "BAD_REQUEST", "expected the header Content-Type: application/json")
    data = bytearray()
    async for piece in pieces(receive, headers, limit):
        lease.set(lease.size + len(piece))
        data += piece
    # The text beside the bytes; one character beyond ASCII can make it four bytes per character.
    lease.set(len(data) * (2 if data.isascii() else 5))
    given = bytes(data)
    value = parse_json(given)
    lease.set(len(given))
    return value, given


def parse_json(data: bytes) -> Any:
    """The JSON value in `data`. Raises Fault BAD_JSON for what `cineloop.documents` refuses, 413 TOO_LARGE for what
    would grow in memory."""
    if sum(data.count(mark) for mark in (b"[", b"{", b",", b":")) > _MOST_MARKS:
        raise Fault(413, "TOO_LARGE", f"the JSON has more than {_MOST_MARKS} commas, colons and brackets")
    try:
        return documents.parse_json(data)
    except ValueError as error:
        raise Fault(400, "BAD_JSON", f"the body is not valid JSON: {printable(str(error), 200)}") from None


def _too_large(limit: int) -> Fault:
    return Fault(413, "TOO_LARGE", f"the request's body is larger than {limit / MIB:.4g} MiB")


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns or raises; it is cancelled and ClientGone raised when the client leaves meanwhile.

    The body must have been read to its end.
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_wait_for_disconnect(receive))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGone
    finally:
        watch.cancel()
        task.cancel()
        await asyncio.wait({task, watch})
        for each in (task, watch):
            if not each.cancelled():
                each.exception()  # retrieved, or asyncio logs it


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
