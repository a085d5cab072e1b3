"""uvicorn's connections, with limits on what a client may do before and beside a request.

In: a socket. Out: requests for the application. A client that sends a request's head too slowly, goes on sending after
the response, or does not read it, is disconnected; malformed HTTP gets a response in the form of all refusals.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from cineloop.web.faults import Fault
from cineloop.web.guard import HEADERS, error_response
from cineloop.web.limits import busy

MAX_HEAD = 32 << 10  # bytes of a request's head
# Seconds between two checks; a connection that stalled from one to the next is closed, a new one at the first check.
# The shorter time is of clients whose last request came without a key where one is needed, or has not come.
_STRANGER_S, _CHECK_S = 5.0, 20.0
_SPARE = 256  # connections beside those of requests in flight or in the queue
_FOLDED = re.compile(rb"\n[ \t]")
_HEAD_END = re.compile(rb"\n\r?\n")


def protocol(in_flight: int) -> type[H11Protocol]:
    """The class of connections, with as many as `in_flight` requests need and some to spare."""
    return type("Connection", (_Connection,), {"most": 2 * in_flight + _SPARE})


class _Parser(h11.Connection):
    """As h11's; refuses a header continued on a further line, as RFC 9112 section 5.2 has it: a proxy in front may read
    it otherwise."""

    def next_event(self) -> Any:
        if self.their_state is h11.IDLE:
            head = self.trailing_data[0]
            end = _HEAD_END.search(head)
            if _FOLDED.search(head, 0, end.end() if end else len(head)):
                raise h11.RemoteProtocolError("folded header")
        return super().next_event()


class _Connection(H11Protocol):
    most = _SPARE
    _stalled_at: object = (None,)  # the request after which the last check found the connection stalled

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.conn = _Parser(h11.SERVER, MAX_HEAD)
        self._quiet_since = self.loop.time()  # without a request

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most and not self._displace():
            self._refuse(busy("too many connections"))
        else:
            self.loop.call_later(_STRANGER_S, self._check)

    def on_response_complete(self) -> None:
        """As uvicorn's."""
        self._quiet_since = self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """The client sent malformed HTTP."""
        if self.cycle is None or self.cycle.response_complete:
            self._refuse(Fault(400, "BAD_REQUEST", "malformed HTTP request"))
        else:
            self.transport.close()

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _displace(self) -> bool:
        """Close a connection without a request in place of this one: of the address with the most of these, the one
        that waits longest. Whether there was one."""
        idle: dict[str, list[_Connection]] = {}
        for each in self.connections:
            if isinstance(each, _Connection) and not each._is_answering and not each.transport.is_closing():
                idle.setdefault(each.client[0] if each.client else "", []).append(each)
        others = max(idle.values(), key=len)
        if others == [self]:
            return False
        min((each for each in others if each is not self), key=lambda each: each._quiet_since).transport.abort()
        return True

    def _check(self) -> None:
        if self.transport.is_closing():
            return
        is_idle = self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0] and self.cycle is not None
        now = (self.cycle,) if self.flow.write_paused or not (self._is_answering or is_idle) else None
        if now is not None and now == self._stalled_at:
            self.transport.abort()
            return
        self._stalled_at = now
        is_known = self.cycle is not None and "owner" in self.cycle.scope.get("state", {})
        self.loop.call_later(_CHECK_S if is_known else _STRANGER_S, self._check)

    def _refuse(self, fault: Fault) -> None:
        request_id = f"req-{uuid.uuid4().hex}"
        body, headers = error_response(fault, request_id)
        lines = {**headers, **HEADERS, "x-request-id": request_id, "connection": "close"}
        head = f"HTTP/1.1 {fault.status} Refused\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.transport.write(head.encode("ascii") + b"\r\n" + body)
        self.transport.close()
