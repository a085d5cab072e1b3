"""Videos of the web, fetched under guard: allowed hosts, public machines, one connection that was checked, few hops.

In: an `Address` of the web and something to write to. Out: its content there, or a `Fault`. HTTP is spoken here with
h11 over a plain stream, because every step must be ours: the name is resolved once, all it resolves to is checked, and
the connection goes to the very address that was checked, with the name in `Host`, in the TLS greeting and held against
the certificate. There is no proxy, no cookie, no credential, no decompression, no redirect that was not parsed and
checked like the first address, and one clock for all of it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import h11

from cineloop.errors import ItemError
from cineloop.log import logger
from v2t.serve.faults import Fault, fault_of
from v2t.serve.media.addresses import Address, check_host, follow, forbidden
from v2t.serve.media.networks import AllowedHost, is_public

MOST_HOPS = 3
_CHUNK_BYTES = 64 << 10
_MOST_INTERIM = 8  # answers of the 100s before the real one
_REDIRECTS = {301, 302, 303, 307, 308}
_CONNECT_S = 10.0

Resolve = Callable[[str, int], Awaitable[list[str]]]
Connect = Callable[..., Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Target(Protocol):
    """Where the content goes; refuses what is too large or not media by raising."""

    async def write(self, data: bytes) -> None:
        """Take the next bytes."""


class Fetcher:
    """Fetches from allowed hosts.

    Args:
        allowed: entries of `allow_hosts`.
        max_bytes: a larger file is refused. timeout_s: seconds for all of a fetch, redirects included.
        resolve: the addresses of a name; connect: `asyncio.open_connection` or what stands in for it.
        tls: what certificates are trusted; None takes the system's.
    """

    def __init__(
        self,
        allowed: tuple[AllowedHost, ...],
        *,
        max_bytes: int,
        timeout_s: float,
        resolve: Resolve | None = None,
        connect: Connect | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.allowed, self.max_bytes, self.timeout_s = allowed, max_bytes, timeout_s
        self._resolve: Resolve = resolve or _look_up
        self._connect: Connect = connect or asyncio.open_connection
        self._tls = tls

    async def fetch(self, address: Address, target: Target) -> int:
        """Write what lies at `address` to `target`; returns its bytes.

        Raises:
            Fault: URL_FORBIDDEN, TOO_LARGE, NOT_FOUND, FETCH_FAILED, and what `target` raises.
        """
        check_host(address, self.allowed)
        try:
            async with asyncio.timeout(self.timeout_s):
                for _ in range(MOST_HOPS + 1):
                    async with self._answer(address) as (answer, reader, talk):
                        if answer.status_code not in _REDIRECTS:
                            return await self._content(address, answer, reader, talk, target)
                        address = follow(address, _header(answer, b"location") or "", self.allowed)
        except TimeoutError as error:
            raise _failed(address, f"it did not come within {self.timeout_s:g} seconds") from error
        except (OSError, h11.ProtocolError, EOFError) as error:  # ssl.SSLError is an OSError
            logger.info("fetching from %s failed: %s: %s", address.host, type(error).__name__, error)
            raise _failed(address, _reason(error)) from error
        raise forbidden(f"the video's server redirects more than {MOST_HOPS} times")

    @asynccontextmanager
    async def _answer(
        self, address: Address
    ) -> AsyncIterator[tuple[h11.Response, asyncio.StreamReader, h11.Connection]]:
        """Ask for `address`; the head of the answer, with the connection to read the rest from."""
        reader, writer = await self._open(address)
        try:
            talk = h11.Connection(h11.CLIENT)
            headers = [
                ("Host", _host_header(address)),
                ("User-Agent", "cineloop"),
                ("Accept", "video/*, image/*, application/octet-stream"),
                ("Accept-Encoding", "identity"),
                ("Connection", "close"),
            ]
            request = h11.Request(method="GET", target=address.target, headers=headers)
            writer.write((talk.send(request) or b"") + (talk.send(h11.EndOfMessage()) or b""))
            await writer.drain()
            for _ in range(_MOST_INTERIM):
                event = await _next(reader, talk)
                if isinstance(event, h11.Response):
                    yield event, reader, talk
                    return
                if not isinstance(event, h11.InformationalResponse):
                    break
            raise EOFError("no answer")
        finally:
            writer.transport.abort()  # nothing of it is wanted any more, and a polite goodbye can be drawn out

    async def _open(self, address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        entry = check_host(address, self.allowed)
        if entry.loopback is not None:
            found = [entry.loopback]
        else:
            found = await self._public(address)
        more: dict[str, Any] = {}
        if address.scheme == "https":
            if self._tls is None:
                self._tls = ssl.create_default_context()
            more = {"ssl": self._tls, "server_hostname": address.host.strip("[]")}
        failure: OSError | None = None  # of the last address that was tried
        for numeric in found:
            try:
                async with asyncio.timeout(_CONNECT_S):
                    return await self._connect(numeric, address.port, **more)
            except ssl.SSLError:
                raise
            except OSError as error:  # TimeoutError is one: the next address may answer
                failure = error
        raise OSError(f"no connection: {type(failure).__name__}") from failure

    async def _public(self, address: Address) -> list[str]:
        """The numeric addresses of a host, each of them public."""
        host = address.host.strip("[]")
        found: list[str] = list(dict.fromkeys(await self._resolve(host, address.port)))
        if not found:
            raise _failed(address, "its host is not known")
        for numeric in found:
            try:
                public = is_public(ipaddress.ip_address(numeric))
            except ValueError:
                public = False
            if not public:
                logger.warning("%s resolves to %s, from which nothing is fetched", host, numeric)
                raise forbidden("that host leads into a private network, from which nothing is fetched")
        return found

    async def _content(
        self,
        address: Address,
        answer: h11.Response,
        reader: asyncio.StreamReader,
        talk: h11.Connection,
        target: Target,
    ) -> int:
        if answer.status_code in (404, 410):
            raise fault_of(ItemError(f"{address.name} is not there", code="NOT_FOUND"))
        if answer.status_code != 200:
            raise _failed(address, f"its server answered with status {answer.status_code}")
        if (_header(answer, b"content-encoding") or "identity").strip().lower() != "identity":
            raise _failed(address, "its server sent it compressed, which was not asked for")
        promised = _header(answer, b"content-length")
        if promised is not None and promised.isdecimal() and int(promised) > self.max_bytes:
            raise self._too_large(address)
        received = 0
        while True:
            event = await _next(reader, talk)
            if isinstance(event, h11.EndOfMessage):
                return received
            if not isinstance(event, h11.Data):
                raise EOFError("the answer broke off")
            received += len(event.data)
            if received > self.max_bytes:
                raise self._too_large(address)
            await target.write(bytes(event.data))

    def _too_large(self, address: Address) -> Fault:
        text = f"{address.name} is larger than the {self.max_bytes >> 20} MiB that are fetched"
        return fault_of(ItemError(text, code="TOO_LARGE"))


async def _look_up(host: str, port: int) -> list[str]:
    import socket

    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


async def _next(reader: asyncio.StreamReader, talk: h11.Connection) -> Any:
    while True:
        event = talk.next_event()
        if event is not h11.NEED_DATA:
            return event
        talk.receive_data(await reader.read(_CHUNK_BYTES))


def _header(answer: h11.Response, name: bytes) -> str | None:
    """The value of a header; None where it is absent or stands there twice."""
    values = [value for key, value in answer.headers if key == name]
    return values[0].decode("latin-1") if len(values) == 1 else ("?" if values else None)


def _host_header(address: Address) -> str:
    usual = {"http": 80, "https": 443}[address.scheme]
    return address.host if address.port == usual else f"{address.host}:{address.port}"


def _failed(address: Address, why: str) -> Fault:
    return fault_of(ItemError(f"{address.name} could not be fetched: {why}", code="FETCH_FAILED"))


def _reason(error: Exception) -> str:
    """What went wrong, in words of ours: those of libraries name addresses and files."""
    if isinstance(error, ssl.SSLError):
        return "its server has no certificate that is trusted"
    if isinstance(error, h11.ProtocolError | EOFError):
        return "its server broke off or spoke no proper HTTP"
    return "its server was not reached"
