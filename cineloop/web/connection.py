"""uvicorn's connections, with limits on what a client may do before and beside a request.

In: a socket. Out: requests for the application. A client that sends a request's head too slowly, goes on sending after
the response, or does not read it, is disconnected; malformed HTTP gets a response in the form of all refusals.
"""

from __future__ import annotations

import asyncio
import uuid

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from cineloop.web.faults import Fault
from cineloop.web.guard import HEADERS, error_response
from cineloop.web.limits import busy

MAX_HEAD = 32 << 10  # bytes of a request's head
_CHECK_S = 20.0  # seconds between two checks; a connection that stalled from one to the next is closed
_SPARE = 256  # connections beside those of requests in flight or in the queue


def protocol(in_flight: int) -> type[H11Protocol]:
    """The class of connections, with as many as `in_flight` requests need and some to spare."""
    return type("Connection", (_Connection,), {"most": 2 * in_flight + _SPARE})


class _Connection(H11Protocol):
    most = _SPARE
    _stalled_at: object = None  # the request before which the last check found the connection stalled

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most:
            self._refuse(busy("too many connections"))
        else:
            self.loop.call_later(_CHECK_S, self._check)

    def send_400_response(self, msg: str) -> None:
        """The client sent malformed HTTP."""
        if self.cycle is None or self.cycle.response_complete:
            self._refuse(Fault(400, "BAD_REQUEST", "malformed HTTP request"))
        else:
            self.transport.close()

    def _check(self) -> None:
        if self.transport.is_closing():
            return
        is_answering = self.cycle is not None and not self.cycle.response_complete
        is_idle = self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0] and self.cycle is not None
        now = (self.cycle,) if self.flow.write_paused or not (is_answering or is_idle) else None
        if now is not None and now == self._stalled_at:
            self.transport.abort()
            return
        self._stalled_at = now
        self.loop.call_later(_CHECK_S, self._check)

    def _refuse(self, fault: Fault) -> None:
        request_id = f"req-{uuid.uuid4().hex}"
        body, headers = error_response(fault, request_id)
        lines = {**headers, **HEADERS, "x-request-id": request_id, "connection": "close"}
        head = f"HTTP/1.1 {fault.status} Refused\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.transport.write(head.encode("ascii") + b"\r\n" + body)
        self.transport.close()
