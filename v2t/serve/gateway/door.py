"""What every request passes, before and after its route: pure ASGI.

In: a request. Out: its answer with an id and the headers that keep browsers from doing what they must not; or its
refusal. A request is let in by its Host (a name that is not ours is DNS rebinding), its Origin (a foreign page), its
key and its owner's rate. What went wrong inside becomes an error in plain words, and one line of the log.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import math
import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

from cineloop.log import logger
from v2t.serve.faults import Fault
from v2t.serve.gateway.access import Owners, Rate
from v2t.serve.gateway.bodies import ClientGone, Receive
from v2t.serve.gateway.metrics import Metrics
from v2t.serve.settings import ServeConfig

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
_SAFE_METHODS = ("GET", "HEAD")
_UNCOUNTED = ("/health", "/live", "/", "/page/{file}")  # also need no key
_ROUTES = (
    (re.compile(r"/(|health|live|metrics|v1/models|v1/chat/completions|v1/frames|v1/files)"), None),
    (re.compile(r"/page/[^/]+"), "/page/{file}"),
    (re.compile(r"/v1/models/.+"), "/v1/models/{id}"),
    (re.compile(r"/v1/files/[^/]+/content"), "/v1/files/{id}/content"),
    (re.compile(r"/v1/files/[^/]+"), "/v1/files/{id}"),
)
_OTHER = "other"
_METHODS = ("GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS")
_TWO_LENGTHS, _VERSION = "TWO_LENGTHS", "HTTP_VERSION"
_CLOSING = (_TWO_LENGTHS, _VERSION)  # codes after which the connection is closed
_GONE = 499  # in the log and the counts; nobody is there to read it


class Door:
    """The middleware around all routes.

    Args:
        app: what is inside.
        config: for its host names. owners, rate: who may ask, and how often. metrics: where requests are counted.
        is_draining: whether no more work is taken on.
    """

    def __init__(
        self,
        app: App,
        *,
        config: ServeConfig,
        owners: Owners,
        rate: Rate,
        metrics: Metrics,
        is_draining: Callable[[], bool],
    ) -> None:
        self._app, self._owners, self._rate, self._metrics = app, owners, rate, metrics
        self._is_draining = is_draining
        self._any_address = not config.is_loopback
        self._hosts = {name.lower().rstrip(".") for name in ("localhost", config.host.strip("[]"), *config.hosts)}

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        if scope["type"] != "http":
            return
        headers = _Headers(scope["headers"])
        given = headers.get("x-request-id", "")
        request_id = given if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", given) else f"req-{uuid.uuid4().hex}"
        REQUEST_ID.set(request_id)
        route, begun = route_of(scope["path"]), time.monotonic()
        answer = _Answer(send, request_id)
        try:
            scope.setdefault("state", {})["request_id"] = request_id
            self._let_in(scope, headers, route)
            await self._app(scope, receive, answer.send)
        except Fault as fault:
            await answer.refuse(fault)
        except ClientGone:
            answer.status = _GONE
        except asyncio.CancelledError:  # the server waits no longer for what is under way
            await answer.refuse(_draining())
            raise
        except Exception:  # the last stop: the traceback is for the log, the id for the client
            logger.exception("%s: unexpected, on %s", request_id, route)
            await answer.refuse(Fault(500, "INTERNAL", f"an error inside the server; its log knows it as {request_id}"))
        finally:
            self._note(scope["method"], route, answer, time.monotonic() - begun)

    def _let_in(self, scope: MutableMapping[str, Any], headers: _Headers, route: str) -> None:
        """Sets the request's owner. Raises Fault: DRAINING, HOST_FORBIDDEN, ORIGIN_FORBIDDEN, ..."""
        if scope["http_version"] not in ("1.0", "1.1"):
            raise Fault(505, _VERSION, f"HTTP/1.1 is expected, got HTTP/{scope['http_version']}")
        host = headers.get("host", "")
        if not self._is_ours(host):
            raise Fault(403, "HOST_FORBIDDEN", "the server is not known by this name (setting hosts)")
        if headers.get("transfer-encoding") is not None and headers.get("content-length") is not None:
            raise Fault(400, _TWO_LENGTHS, "the body's length is told twice, by Content-Length and by chunks")
        if scope["method"] not in _SAFE_METHODS:
            origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
            if (origin is not None and not _is_same(origin, host)) or site not in ("none", "same-origin"):
                raise Fault(403, "ORIGIN_FORBIDDEN", "a page of another site may not ask this server")
        if route in _UNCOUNTED:
            return
        scope["state"]["owner"] = owner = self._owners.of(headers.get("authorization"))
        if route == "/metrics":
            return
        if self._is_draining():
            raise _draining()
        self._rate.take(owner)

    def _is_ours(self, host: str) -> bool:
        name = _host_name(host)
        if name is None:
            return False
        if name in self._hosts:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or self._any_address  # names are rebound, addresses cannot be

    def _note(self, method: str, route: str, answer: _Answer, seconds: float) -> None:
        method = method if method in _METHODS else "-"
        self._metrics.requests.labels(route, str(answer.status)).inc()
        self._metrics.request_seconds.labels(route).observe(seconds)
        logger.info("%s %s %d %s %.3f s", method, route, answer.status, answer.request_id, seconds)


def route_of(path: str) -> str:
    """The route a path belongs to, as it is counted and logged: nothing of a client's choice."""
    for pattern, name in _ROUTES:
        if pattern.fullmatch(path):
            return name or path
    return _OTHER


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


def _draining() -> Fault:
    return Fault(503, "DRAINING", "the server is being stopped", retry_after_s=10.0)


class _Answer:
    """What goes out: adds the headers, remembers the status and whether it has begun."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send, self.request_id = send, request_id
        self.status, self.is_begun = 500, False

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.is_begun, self.status = True, message["status"]
            own = {**HEADERS, "x-request-id": self.request_id}
            kept = [(name, value) for name, value in message.get("headers", ()) if name.decode("latin-1") not in own]
            if not any(name == b"cache-control" for name, _ in kept):
                own["cache-control"] = "no-store"
            message["headers"] = [*kept, *((name.encode(), value.encode()) for name, value in own.items())]
        await self._send(message)

    async def refuse(self, fault: Fault) -> None:
        if self.is_begun:  # too late for words: the connection is closed without its end
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


class _Headers:
    """Headers by their names in small letters; one that came twice counts as its first for nobody: it has none."""

    def __init__(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self._values: dict[str, str | None] = {}
        for name, value in pairs:
            key = name.decode("latin-1").lower()
            self._values[key] = None if key in self._values else value.decode("latin-1")

    def get(self, name: str, default: Any = None) -> Any:
        if name not in self._values:
            return default
        value = self._values[name]
        return "" if value is None else value


def _host_name(host: str) -> str | None:
    """The name in a Host header or the rest of an Origin; None for what is none."""
    if not re.fullmatch(r"[A-Za-z0-9._-]+(:\d{1,5})?|\[[0-9a-fA-F:.]+\](:\d{1,5})?", host):
        return None
    name = host.rpartition("]")[0][1:] if host.startswith("[") else host.partition(":")[0]
    return name.lower().rstrip(".")


def _is_same(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    if parts.scheme not in ("http", "https"):
        return False
    default = ":443" if parts.scheme == "https" else ":80"
    return parts.netloc.lower().removesuffix(default) == host.lower().removesuffix(default)
