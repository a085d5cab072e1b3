"""One client's connection: uvicorn's own protocol, with limits on what may happen before and beside a request.

In: a socket. Out: requests for the application. Whoever sends a request's head too slowly, goes on sending after the
answer, or does not read it, is cut off; whatever is no HTTP gets an answer of the same form as any other refusal.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from cineloop.web.faults import Fault
from cineloop.web.guard import HEADERS, error_response

MAX_HEAD = 32 << 10  # bytes of a request's head
_HEAD_S = 15.0  # seconds for a request's head, and for the rest of a body that is not wanted any more
_STALL_S = 60.0  # seconds in which a client takes none of what was written for it
_SPARE = 256  # connections beside those of requests that are worked on or wait


def protocol(in_flight: int) -> type[H11Protocol]:
    """The class of connections, of which there may be so many as `in_flight` requests need, and some to spare."""
    return type("Connection", (_Connection,), {"most": 2 * in_flight + _SPARE})


class _Connection(H11Protocol):
    most = _SPARE
    _timer: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most:
            self._refuse(Fault(503, "BUSY", "the server has too many connections", retry_after_s=5.0))
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        self._flows()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read; it has some time to begin again."""
        super().pause_writing()
        self._stall = self.loop.call_later(_STALL_S, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self._flows()

    def _flows(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP."""
        if self.cycle is None or self.cycle.response_complete:
            self._refuse(Fault(400, "BAD_REQUEST", "what came is no HTTP request"))
        else:
            self.transport.close()

    def _watch(self) -> None:
        """Time runs while nothing is worked on and something is half sent."""
        is_working = self.cycle is not None and not self.cycle.response_complete
        is_resting = self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0] and self.cycle is not None
        if is_working or is_resting or self.transport.is_closing():
            self._unwatch()
        elif self._timer is None:
            self._timer = self.loop.call_later(_HEAD_S, self.transport.abort)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, fault: Fault) -> None:
        request_id = f"req-{uuid.uuid4().hex}"
        body, headers = error_response(fault, request_id)
        lines: dict[str, Any] = {**headers, **HEADERS, "x-request-id": request_id, "connection": "close"}
        head = f"HTTP/1.1 {fault.status} Refused\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.transport.write(head.encode("ascii") + b"\r\n" + body)
        self.transport.close()
