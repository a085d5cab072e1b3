"""The middleware around all routes: pure ASGI.

In: a request. Out: its response with an id and the headers that restrict browsers; or its refusal. A request is checked
for its Host (an unknown name is DNS rebinding), its Origin (another site's page), its key and its owner's rate. An
exception inside becomes an error without internals, and every request one line of the log; polls of health and metrics
are lines for `--verbose`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import math
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from contextvars import ContextVar
from dataclasses import KW_ONLY, dataclass
from typing import Any
from urllib.parse import urlsplit

from cineloop.log import logger
from cineloop.web.bodies import ClientGone, Receive
from cineloop.web.faults import Fault
from cineloop.web.limits import ApiKeys, RateLimit

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="-")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; font-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}
_HOST = re.compile(r"[A-Za-z0-9._-]+(:\d{1,5})?|\[[0-9a-fA-F:.]+\](:\d{1,5})?")
_SAFE_METHODS = ("GET", "HEAD")
_METHODS = ("GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS")
_TWO_LENGTHS, _VERSION = "TWO_LENGTHS", "HTTP_VERSION"
_CLOSING = (_TWO_LENGTHS, _VERSION)  # codes after which the connection is closed
_GONE = 499  # in the log and the counts, when the client closed the connection


@dataclass(eq=False)
class GuardMiddleware:
    """See above.

    Args:
        hosts: host names by which the server may be reached, beside localhost and loopback addresses.
        any_address: any IP address is accepted as Host: names can be rebound, addresses cannot.
        route_of: a path's route, as it is counted and logged: nothing of a client's choice.
        open_routes: routes that need no key and are not counted. unlimited: routes that need one and are not counted.
        observe: given the route, status and seconds of each request.
    """

    app: App
    _: KW_ONLY
    keys: ApiKeys
    rate: RateLimit
    hosts: Collection[str]
    any_address: bool
    route_of: Callable[[str], str]
    open_routes: Collection[str]
    unlimited: Collection[str]
    observe: Callable[[str, int, float], None]

    def __post_init__(self) -> None:
        self.hosts = {name.lower().strip("[]").rstrip(".") for name in ("localhost", *self.hosts)}

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        if scope["type"] != "http":
            return
        headers: dict[str, str] = {}  # by lower-case name; a repeated one has an empty value
        for name, value in scope["headers"]:
            key = name.decode("latin-1").lower()
            headers[key] = "" if key in headers else value.decode("latin-1")
        given = headers.get("x-request-id", "")
        request_id = given if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", given) else f"req-{uuid.uuid4().hex}"
        REQUEST_ID.set(request_id)
        route, begun = self.route_of(scope["path"]), time.monotonic()
        response = _Response(send, request_id)
        try:
            scope.setdefault("state", {})["request_id"] = request_id
            self._check(scope, headers, route)
            await self.app(scope, receive, response.send)
        except Fault as fault:
            await response.refuse(fault)
        except ClientGone:
            response.status = _GONE
        except asyncio.CancelledError:  # the server no longer waits for requests in flight
            await response.refuse(Fault(503, "DRAINING", "the server is shutting down", retry_after_s=10.0))
            raise
        except Exception:  # the traceback is for the log, the id for the client
            logger.exception("%s: unexpected, on %s", request_id, route)
            await response.refuse(Fault(500, "INTERNAL", f"internal server error; the log has it as {request_id}"))
        finally:
            seconds = time.monotonic() - begun
            method = scope["method"] if scope["method"] in _METHODS else "-"
            self.observe(route, response.status, seconds)
            is_poll = route in (*self.open_routes, *self.unlimited) and response.status < 400
            level = logging.DEBUG if is_poll else logging.INFO
            logger.log(level, "%s %s %d %s %.3f s", method, route, response.status, request_id, seconds)

    def _check(self, scope: MutableMapping[str, Any], headers: Mapping[str, str], route: str) -> None:
        """Sets the request's owner. Raises Fault: HOST_FORBIDDEN, ORIGIN_FORBIDDEN, ..."""
        if scope["http_version"] not in ("1.0", "1.1"):
            raise Fault(505, _VERSION, f"HTTP/1.1 is expected, got HTTP/{scope['http_version']}")
        host = headers.get("host", "")
        name = host.rpartition("]")[0][1:] if host.startswith("[") else host.partition(":")[0]
        name = name.lower().rstrip(".")
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            is_known = name in self.hosts
        else:
            is_known = name in self.hosts or address.is_loopback or self.any_address
        if not is_known or not _HOST.fullmatch(host):
            raise Fault(403, "HOST_FORBIDDEN", "unknown Host header; the setting hosts lists the accepted names")
        if "transfer-encoding" in headers and "content-length" in headers:
            raise Fault(400, _TWO_LENGTHS, "both Content-Length and Transfer-Encoding are given")
        if scope["method"] not in _SAFE_METHODS:
            origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
            if (origin is not None and not _is_same(origin, host)) or site not in ("none", "same-origin"):
                raise Fault(403, "ORIGIN_FORBIDDEN", "requests from pages of other sites are refused")
        if route in self.open_routes:
            return
        scope["state"]["owner"] = owner = self.keys.owner_of(headers.get("authorization"))
        if route not in self.unlimited:
            self.rate.take(owner)


def error_response(fault: Fault, request_id: str) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a refusal."""
    body = json.dumps(fault.body(request_id)).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), "cache-control": "no-store"}
    if fault.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(fault.retry_after_s)))
    if fault.code in _CLOSING:  # what follows may be another request to a proxy, or no HTTP/1.1 at all
        headers["connection"] = "close"
    if fault.status == 401:
        headers["www-authenticate"] = "Bearer"
    return body, headers


@dataclass
class _Response:
    """Adds the headers to a response, and keeps its status and whether it has begun."""

    forward: Send
    request_id: str
    status: int = 500
    is_begun: bool = False

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.is_begun, self.status = True, message["status"]
            own = {**HEADERS, "x-request-id": self.request_id}
            kept = [(name, value) for name, value in message.get("headers", ()) if name.decode("latin-1") not in own]
            if not any(name == b"cache-control" for name, _ in kept):
                own["cache-control"] = "no-store"
            message["headers"] = [*kept, *((name.encode(), value.encode()) for name, value in own.items())]
        await self.forward(message)

    async def refuse(self, fault: Fault) -> None:
        if self.is_begun:  # too late: the connection is closed without its end
            return
        body, headers = error_response(fault, self.request_id)
        await self.send(
            {
                "type": "http.response.start",
                "status": fault.status,
                "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            }
        )
        await self.send({"type": "http.response.body", "body": body})


def _is_same(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    if parts.scheme not in ("http", "https"):
        return False
    default = ":443" if parts.scheme == "https" else ":80"
    return parts.netloc.lower().removesuffix(default) == host.lower().removesuffix(default)
