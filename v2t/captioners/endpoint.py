"""The HTTP side of `v2t.captioners.openai`: one server, asked from many threads, patiently.

In: an address, JSON bodies. Out: JSON objects, or the events of a stream; `ItemError` when a request cannot be
answered, `MissingDependencyError` when no request could be. Built on `http.client`: the hub's own HTTP library has
changed its name before, and the clock over a whole exchange has to be ours. When to try again: `patience`.
The key is read from the environment when a request is sent and kept nowhere; what the server says is scrubbed of it.
"""

from __future__ import annotations

import json
import os
import re
import select
import socket
import ssl
import threading
import time
import urllib.request
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from cineloop.documents import parse_json
from cineloop.errors import ItemError, MissingDependencyError, UsageError
from cineloop.log import logger, printable
from v2t.captioners.patience import Gate, Patience, TryAgain, reset_s, retry_after_s

T = TypeVar("T")
MAX_REPLY_BYTES = 16 << 20
_TRY_AGAIN = (408, 409, 425, 429)  # and every 5xx
_KEY_LIKE = re.compile(r"\b(?:sk|pk|hf|key)[-_][\w*.-]{6,}|\bBearer\s+\S+", re.IGNORECASE)
_OUR_ID = re.compile(r"v2t-[0-9a-f]{32}")


class Refusal(ItemError):
    """The server will not answer this request, now or later (400, 413, 422 …); `param` is the cause it names."""

    param: str | None = None


class Endpoint:
    """One server. All methods may be called from many threads.

    Args:
        url: "http(s)://host[:port]/path" without user, query or fragment.
        key_env: the environment variable that holds the key; without it none is sent.
        patience: see there.
        concurrency: requests in flight, >= 1.
        use_env_proxy: go through the proxy that HTTP(S)_PROXY and NO_PROXY name. TLS trusts the system's certificates
            or those of SSL_CERT_FILE.
    """

    def __init__(
        self, url: str, *, key_env: str, patience: Patience, concurrency: int, use_env_proxy: bool = False
    ) -> None:
        self.url, self.key_env, self.patience = url, key_env, patience
        self.gate = Gate(concurrency)
        parts = urlsplit(url)
        self._host, self._port, self._path = parts.hostname or "", parts.port, parts.path.rstrip("/")
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._proxy = None
        if use_env_proxy and not urllib.request.proxy_bypass(self._host):
            proxy = urllib.request.getproxies().get(parts.scheme)
            self._proxy = urlsplit(proxy if "://" in proxy else f"http://{proxy}") if proxy else None
        self._idle: list[HTTPConnection] = []

    def get(self, path: str, patience: Patience) -> dict[str, Any]:
        """The JSON object at a path."""
        return self._patiently(lambda until: self._object("GET", path, None, until), patience)

    def post(
        self, path: str, body: dict[str, Any], read: Callable[[dict[str, Any]], T], patience: Patience | None = None
    ) -> T:
        """What `read` makes of the reply to `body`; `read` may raise TryAgain.

        Raises:
            Refusal: a request the server will not take. ItemError: SERVER_ERROR, no usable reply in time.
            MissingDependencyError: no request would be answered (key, address, model).
        """

        data = json.dumps(body).encode("ascii")

        def step(until: float) -> T:
            answer = read(self._object("POST", path, data, until))
            self.gate.widen()
            return answer

        return self._patiently(step, patience or self.patience)

    def stream(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The events of a reply. Tried again until it begins; closing the generator closes the connection."""
        data = json.dumps(body).encode("ascii")
        with ExitStack() as stack:
            response = self._patiently(
                lambda until: stack.enter_context(self._opened("POST", path, data, until, f"v2t-{uuid.uuid4().hex}")),
                self.patience,
            )
            try:
                yield from _events(response)
            except (OSError, HTTPException, ValueError) as error:
                raise ItemError(
                    f"the answer broke off: {self.scrubbed(_words(error))}", code="SERVER_ERROR", hint="ask again"
                ) from None

    def scrubbed(self, text: str, limit: int = 300) -> str:
        """`text` on one line without the key or what looks like one, cut to `limit`."""
        if key := self._key():
            text = text.replace(key, "[key]")
        return printable(_KEY_LIKE.sub("[key]", text), limit)

    @property
    def has_key(self) -> bool:
        """Whether a key is there to be sent."""
        return bool(self._key())

    def without_key(self, text: str) -> str:
        """`text` without the key, should a server repeat it."""
        key = self._key()
        return text.replace(key, "[key]") if len(key) >= 8 else text

    def _patiently(self, step: Callable[[float], T], patience: Patience) -> T:
        deadline = time.monotonic() + patience.total_s
        faults = tries = 0
        while True:
            try:
                return step(deadline)
            except TryAgain as error:
                problem = error
            except ssl.SSLCertVerificationError as error:
                raise MissingDependencyError(
                    f"{self.url} shows a certificate that is not trusted: {_words(error)}",
                    code="SERVER",
                    hint="name the file of your authority in SSL_CERT_FILE",
                ) from None
            except (OSError, HTTPException) as error:
                problem = TryAgain(_words(error))
            tries += 1
            faults += not problem.slows
            wait_s = patience.jitter_s(tries) if problem.wait_s is None else problem.wait_s
            reason = self.scrubbed(str(problem))
            if faults > patience.retries or time.monotonic() + wait_s >= deadline:
                raise ItemError(
                    f"no usable answer from {self.url} in {tries} tries: {reason}",
                    code="SERVER_ERROR",
                    hint="run again with --retry-failed once the server is well",
                )
            logger.debug("try %d, again in %.2f s: %s", tries, wait_s, reason)
            if problem.slows:
                self.gate.pause(wait_s, narrow=True)
                wait_s += patience.jitter_s(1)
            time.sleep(max(0.0, min(wait_s, deadline - time.monotonic())))

    def _object(self, method: str, path: str, body: bytes | None, deadline: float) -> dict[str, Any]:
        ours = f"v2t-{uuid.uuid4().hex}"  # vLLM and others put it into their answer's id
        with self._opened(method, path, body, deadline, ours) as response:
            data, echo = _whole(response), response.getheader("X-Request-Id")
        try:
            reply = parse_json(data)
        except ValueError:
            raise TryAgain(f"no JSON but {self.scrubbed(data[:4096].decode('utf-8', 'replace'), 60)!r}") from None
        if not isinstance(reply, dict):
            raise TryAgain(f"no JSON object but {type(reply).__name__}")
        if any(found != ours for found in _OUR_ID.findall(f"{reply.get('id')} {echo}")):
            raise TryAgain("the answer to another request")
        return reply

    @contextmanager
    def _opened(
        self, method: str, path: str, body: bytes | None, deadline: float, request_id: str
    ) -> Iterator[HTTPResponse]:
        """A response that began well. Its connection is kept when it was read to its end, and closed otherwise."""
        with self.gate.turn(deadline):
            connection = self._connection()
            response: HTTPResponse | None = None
            clock = threading.Timer(max(0.0, deadline - time.monotonic()), _cut, (connection,))
            clock.daemon = True
            clock.start()
            try:
                response = self._sent(connection, method, path, body, request_id)
                self._check(response)
                yield response
            except (OSError, HTTPException):
                response = None
                raise
            finally:
                clock.cancel()
                is_whole = response is not None and response.isclosed() and not response.length
                if response and is_whole and not response.will_close and len(self._idle) < self.gate.width:
                    self._idle.append(connection)
                else:
                    connection.close()

    def _sent(
        self, connection: HTTPConnection, method: str, path: str, body: bytes | None, request_id: str
    ) -> HTTPResponse:
        if connection.sock is None:
            connection.connect()
        connection.sock.settimeout(self.patience.read_s)
        headers = {
            "Accept": "application/json, text/event-stream",
            "User-Agent": "cineloop",
            "X-Request-Id": request_id,
        }
        if body is not None:
            headers["Content-Type"] = "application/json"
        if key := self._key():
            headers["Authorization"] = f"Bearer {key}"
        target = self._path + path
        if self._proxy and not self._tls:
            target = self.url.rstrip("/") + path
            headers |= self._proxy_headers()
        try:
            connection.request(method, target, body, headers)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it may have answered before it had the whole body (413), and that answer says why
        return connection.getresponse()

    def _connection(self) -> HTTPConnection:
        """A kept connection that the server has not closed, or a new one."""
        while self._idle:
            try:
                kept = self._idle.pop()
            except IndexError:
                break
            if not _is_readable(kept.sock):
                return kept
            kept.close()
        place = self._proxy or urlsplit(self.url)
        host, port = place.hostname or "", place.port
        if self._tls is None:
            return HTTPConnection(host, port or 80, timeout=self.patience.connect_s)
        made = HTTPSConnection(
            host, port or (80 if self._proxy else 443), timeout=self.patience.connect_s, context=self._tls
        )
        if self._proxy:
            made.set_tunnel(self._host, self._port or 443, self._proxy_headers())
        return made

    def _proxy_headers(self) -> dict[str, str]:
        if self._proxy is None or self._proxy.username is None:
            return {}
        pair = f"{unquote(self._proxy.username)}:{unquote(self._proxy.password or '')}"
        return {"Proxy-Authorization": "Basic " + b64encode(pair.encode()).decode()}

    def _key(self) -> str:
        key = os.environ.get(self.key_env, "").strip()
        if not key.isascii() or not key.isprintable() or " " in key:
            raise UsageError(f"the environment variable {self.key_env} holds no key: expected ASCII without spaces")
        return key

    def _check(self, response: HTTPResponse) -> None:
        """Return on 200; raise what any other status means."""
        status = response.status
        if status == 200:
            full_in_s = reset_s(response.headers)
            if full_in_s is not None:
                self.gate.pause(full_in_s, narrow=False)
            return
        if 300 <= status < 400:
            raise MissingDependencyError(
                f"{self.url} redirects to {self.scrubbed(response.getheader('Location') or 'nowhere')}",
                code="SERVER",
                hint="redirects are not followed; name the address it should be",
            )
        body = _problem(_whole(response))
        said = f"{self.url} answers {status}: {self.scrubbed(body['message'] or response.reason)}"
        is_spent = status == 402 or body["code"] == "insufficient_quota"
        if status in (401, 403) or is_spent:
            hint = "pay for more" if is_spent else f"put a valid key into the environment variable {self.key_env}"
            raise MissingDependencyError(said, code="SERVER_KEY", hint=hint)
        if status in (404, 405):
            hint = "check the address (it mostly ends in /v1) and the model's name: openai:URL#model"
            raise MissingDependencyError(said, code="SERVER_MODEL", hint=hint)
        if status in _TRY_AGAIN or not 400 <= status < 500:
            wait_s = retry_after_s(response.headers)
            if status == 429 and wait_s is None:
                wait_s = reset_s(response.headers)
            raise TryAgain(said, wait_s=wait_s, slows=status == 429 or wait_s is not None)
        code, hint = "BAD_REQUEST", ""
        if status == 413:
            code, hint = "TOO_LARGE", "fewer --frames, or a smaller options.max_side or options.quality"
        refusal = Refusal(said, code=code, hint=hint)
        refusal.param = body["param"] or None
        raise refusal


def _whole(response: HTTPResponse) -> bytes:
    data = response.read(MAX_REPLY_BYTES + 1)
    if len(data) > MAX_REPLY_BYTES:
        raise TryAgain(f"more than {MAX_REPLY_BYTES >> 20} MiB of answer")
    if response.length:
        raise TryAgain(f"the answer broke off, {response.length} bytes before its end")
    response.close()
    return data


def _events(response: HTTPResponse) -> Iterator[dict[str, Any]]:
    """Server-sent events (WHATWG HTML 9.2) that hold JSON, until `[DONE]`. Comments and other fields are passed over.

    Raises:
        ValueError: no JSON, or an end before the last event. ItemError: the server reports an error.
    """
    lines: list[str] = []
    is_over = False
    while raw := response.readline(MAX_REPLY_BYTES):
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if line.startswith("data:"):
            lines.append(line[5:].removeprefix(" "))
        if line or not lines:
            continue
        data, lines = "\n".join(lines), []
        if data.strip() == "[DONE]":
            return
        event = parse_json(data)
        if not isinstance(event, dict):
            raise ValueError(f"an event that is no JSON object: {data[:60]!r}")
        if event.get("error"):
            raise ValueError(_problem(data.encode())["message"])
        is_over = is_over or any(isinstance(c, dict) and c.get("finish_reason") for c in event.get("choices") or ())
        yield event
    if not is_over:
        raise ValueError("the stream ended before the answer did")


def _problem(data: bytes) -> dict[str, str]:
    """What an error body says: message, code and param, each maybe empty."""
    text = data.decode("utf-8", "replace")
    try:
        body = parse_json(text)
    except ValueError:
        body = None
    if isinstance(body, dict):
        body = body.get("error") or body
    if not isinstance(body, dict):
        return {"message": str(body or text), "code": "", "param": ""}
    message = body.get("message") or body.get("detail") or text
    return {"message": str(message), "code": str(body.get("code") or ""), "param": str(body.get("param") or "")}


def _is_readable(sock: socket.socket | None) -> bool:
    """Whether something waits on an idle connection: its end, mostly."""
    if sock is None:
        return True
    poll = select.poll()
    poll.register(sock, select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))


def _cut(connection: HTTPConnection) -> None:
    """End an exchange from another thread: whoever reads sees the end of the stream."""
    if connection.sock is not None:
        with suppress(OSError):
            socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
