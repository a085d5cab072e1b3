"""Server-sent events of an engine, as JSON values.

In: an HTTP response whose body is `data: {...}` lines. Out: each value. Lines end at line feeds alone: an answer may
hold any of the other characters that Unicode counts as the end of a line.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx

_MAX_LINE = 1 << 20


class EngineError(Exception):
    """An error that the engine reports, or a reply that is none.

    Args:
        status: as of HTTP. message: its own words; not for clients.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


async def events(reply: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The events up to `[DONE]`.

    Raises:
        EngineError: one that is an error, or none; an end without `[DONE]`.
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
        raise EngineError(500, "an event that is no JSON") from None
    if not isinstance(event, dict):
        raise EngineError(500, "an event that is no object")
    error = event.get("error")
    if error is not None:
        told = error if isinstance(error, dict) else {"message": str(error)}
        status = told.get("code")
        raise EngineError(status if isinstance(status, int) else 500, str(told.get("message", "")))
    return event
