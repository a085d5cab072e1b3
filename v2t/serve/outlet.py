"""The response of a relayed request: whole, or a stream that may begin before the server behind has answered.

In: bytes of that server, progress, faults. Out: ASGI messages. Progress and signs of life are comments of the event
stream (`: ...`), which every client of the protocol skips; the chat page reads the progress in them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from cineloop.web.guard import Send

ALIVE_S = 10.0  # between two signs of life; clients and proxies give up after 30 to 60


class Outlet:
    """One response; of one task at a time but for the signs of life.

    Attributes:
        is_begun: whether the status is sent.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self.is_begun = False
        self._news: dict[str, Any] | None = None
        self._changed = asyncio.Event()

    async def begin(self, status: int, headers: dict[str, str]) -> None:
        """Send status and headers, once."""
        if self.is_begun:
            return
        self.is_begun = True
        lines = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": lines})

    async def begin_stream(self) -> None:
        """Begin an event stream."""
        await self.begin(200, {"content-type": "text/event-stream; charset=utf-8", "x-accel-buffering": "no"})

    async def write(self, data: bytes) -> None:
        """Send more of the body."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def event(self, value: Any) -> None:
        """Send a JSON value as an event."""
        await self.begin_stream()
        await self.write(b"data: " + json.dumps(value).encode() + b"\n\n")

    async def comment(self, value: Any) -> None:
        """Send a JSON value as a comment."""
        await self.begin_stream()
        await self.write(b": cineloop " + json.dumps(value).encode() + b"\n\n")

    async def whole(self, status: int, headers: dict[str, str], data: bytes) -> None:
        """Send all of a response."""
        await self.begin(status, {**headers, "content-length": str(len(data))})
        await self._send({"type": "http.response.body", "body": data})

    async def end(self) -> None:
        """End the body."""
        await self._send({"type": "http.response.body", "body": b""})

    def report(self, news: dict[str, Any]) -> None:
        """Have progress sent soon, while `alive` lasts; the latest counts."""
        self._news = news
        self._changed.set()

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[None]:
        """Send progress, and signs of life where there is none, as long as the block lasts."""
        task = asyncio.create_task(self._live())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.exception()  # the client is gone; the request notices by itself

    async def _live(self) -> None:
        while True:
            try:
                async with asyncio.timeout(ALIVE_S):
                    await self._changed.wait()
            except TimeoutError:
                await self.begin_stream()
                await self.write(b": waiting\n\n")
                continue
            self._changed.clear()
            await self.comment({"progress": self._news})
