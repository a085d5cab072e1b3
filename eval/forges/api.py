"""JSON over HTTPS with a forge: one token, whole listings, waits as the server asks for them.

In: the address of an API, the header that carries the token, paths below the address. Out: JSON values; or an error
that says whether the same request may succeed later (`ForgeBusyError`) or not. Addresses: `cineloop.address`; the token
goes to no other host, since redirects are not followed and pages are counted here and not taken from links.
"""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from cineloop.address import check_allowed, redact
from cineloop.documents import parse_json
from cineloop.errors import MissingDependencyError, PolicyError
from cineloop.log import printable
from cineloop.retry import retry_after_s

PER_PAGE, _MOST_PAGES = 100, 100
_TIMEOUT_S = 30.0
_MOST_BYTES = 64 << 20  # of one response: 100 comments of 65,536 characters
_PAUSE_S = 1.0  # after a failure of the server, doubled each time
_RATE_PAUSE_S = 60.0  # after a rate limit that names no time, as GitHub asks for its secondary limits
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class ForgeBusyError(Exception):
    """A request that may succeed when it is sent again; after `wait_s` seconds, None where the server names none."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


@dataclass(eq=False)
class Api:
    """One forge's API.

    Args:
        url: its address, https; http on this machine alone.
        token: sent with every request and shown in no message.
        headers: of every request, the token's among them.

    Raises:
        PolicyError: an address that may not be used. UsageError: no address of the web.
    """

    url: str
    _: KW_ONLY
    token: str
    headers: Mapping[str, str]

    def __post_init__(self) -> None:
        self.url = self.url.rstrip("/")
        check_service(self.url)

    def get(self, path: str) -> Any:
        """The JSON value at `path`."""
        return self._send("GET", path)[0]

    def listing(self, path: str) -> Iterator[dict[str, Any]]:
        """The objects of a listing, page by page."""
        for page in range(1, _MOST_PAGES + 1):
            mark = "&" if "?" in path else "?"
            rows, more = self._send("GET", f"{path}{mark}per_page={PER_PAGE}&page={page}")
            if not isinstance(rows, list):
                raise self._error("FORGE_REPLY", f"expected a list of comments, got a {type(rows).__name__}")
            yield from (row for row in rows if isinstance(row, dict))
            if not more:
                return
        raise self._error("FORGE_REPLY", f"more than {PER_PAGE * _MOST_PAGES} comments")

    def send(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        """The response to a request with a JSON body; None where it has none."""
        return self._send(method, path, body)[0]

    def delete(self, path: str) -> None:
        """Delete what is at `path`; not an error where it is gone."""
        self._send("DELETE", path)

    @cached_property
    def _client(self) -> Any:
        import httpx

        # On this machine no proxy is asked: it would have the token in clear.
        return httpx.Client(
            headers={"User-Agent": "cineloop", "Accept-Encoding": "identity", **self.headers}, timeout=_TIMEOUT_S,
            follow_redirects=False, verify=ssl.create_default_context(), trust_env=not _is_loopback(self.url),
        )  # fmt: skip

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[Any, bool]:
        """The value of a response, and whether a further page follows."""
        import httpx

        # GitHub's GraphQL is beside its API, so a path may be a whole address, checked when the forge was made.
        url = path if path.startswith("http") else f"{self.url}{path}"
        try:
            with self._client.stream(method, url, json=body) as response:
                data = b""
                for chunk in response.iter_raw():
                    data += chunk
                    if len(data) > _MOST_BYTES:
                        raise self._error("FORGE_REPLY", f"a response of more than {_MOST_BYTES >> 20} MiB")
        except (httpx.TransportError, OSError) as error:
            why = self._clean(str(error) or type(error).__name__)
            raise ForgeBusyError(f"{redact(self.url)} was not reached: {why}") from None
        if not 200 <= response.status_code < 300:
            if method == "DELETE" and response.status_code in (404, 410):
                return None, False
            raise self._failure(method, response, data)
        if not data.strip():
            return None, False
        try:
            return parse_json(data, finite=False), 'rel="next"' in response.headers.get("Link", "")
        except ValueError as error:
            raise ForgeBusyError(f"{redact(self.url)} sent no JSON: {self._clean(str(error))}") from None

    def _failure(self, method: str, response: Any, data: bytes) -> Exception:
        """The error of a status that is no success."""
        status, message = response.status_code, self._clean(_message_of(data))
        text = f"{redact(self.url)} answers {status} to {method}{message and f': {message}'}"
        is_limit = status == 429 or (
            status == 403
            and ("retry-after" in response.headers or response.headers.get("x-ratelimit-remaining") == "0"
                 or "rate limit" in message.lower())
        )  # fmt: skip
        if is_limit:
            return ForgeBusyError(text, _limit_s(response.headers))
        if status >= 500 or status in (408, 409, 425):
            wait = response.headers.get("retry-after")
            return ForgeBusyError(text, retry_after_s(wait, _PAUSE_S) if wait else None)
        if status in (401, 403):
            return self._error("FORGE_FORBIDDEN", text, "give the job's token the right to write comments")
        if status in (404, 410):
            return self._error("FORGE_NOT_FOUND", text, "a token without rights sees this too")
        if 300 <= status < 400:
            return self._error("FORGE_REPLY", f"{text}; redirects are not followed", "give the final address")
        return self._error("FORGE_REFUSED", text)

    def _error(self, code: str, text: str, hint: str = "") -> MissingDependencyError:
        return MissingDependencyError(text, code=code, hint=hint)

    def _clean(self, text: str) -> str:
        return printable(text.replace(self.token, "[token]") if self.token else text, 300)


def pause_s(error: Exception, errors: int, deadline: float) -> float | None:
    """How long to wait before a request is sent again: as the server asks, else twice as long each time; None where it
    would end after `deadline` (of `time.monotonic`), and for an error that would come again."""
    if not isinstance(error, ForgeBusyError):
        return None
    wait = _PAUSE_S * 2 ** (errors - 1) if error.wait_s is None else error.wait_s
    return wait if time.monotonic() + wait < deadline else None


def check_service(url: str) -> None:
    """Return where a token may be sent to this address.

    Raises:
        PolicyError: plain http to another machine, a user or password in it. UsageError: it is no address.
    """
    scheme = url.split("://", 1)[0].lower()
    if scheme not in ("http", "https") or (scheme == "http" and not _is_loopback(url)):
        raise PolicyError(
            f"{redact(printable(url, 200))}: expected the https address of an API, since a token is sent there"
        )
    check_allowed(url, (scheme,), by_user=True)


def _is_loopback(url: str) -> bool:
    try:
        return urlsplit(url).hostname in _LOOPBACK
    except ValueError:
        return False


def _limit_s(headers: Any) -> float:
    """Seconds until a rate limit ends: Retry-After, else the time at which GitHub or GitLab begin to count anew."""
    if wait := headers.get("retry-after"):
        return retry_after_s(wait, _PAUSE_S)
    reset = headers.get("x-ratelimit-reset") or headers.get("ratelimit-reset") or ""
    if not reset.isdecimal() or len(reset) > 12:
        return _RATE_PAUSE_S
    return max(_PAUSE_S, math.ceil(float(reset) - time.time()) + 1.0)


def _message_of(data: bytes) -> str:
    """What a refusal says: `message` of GitHub, `message` or `error` of GitLab, else nothing."""
    try:
        tree = parse_json(data, finite=False)
    except ValueError:
        return ""
    if not isinstance(tree, dict):
        return ""
    return str(tree.get("message") or tree.get("error") or "")
