"""Videos of the web, fetched safely: allowed hosts, public addresses, pinned connections, few redirects.

In: an `Address` of the web and something to write to. Out: its content there, or a `Fault`. A host name is resolved
once, every address it resolves to is checked, and httpx connects to the very address that was checked, with the name in
`Host`, in the TLS handshake (SNI) and verified against the certificate. No proxy, no cookies, no credentials, no
decompression; each redirect is parsed and checked like the first address, and one timeout covers all of it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import httpx

from cineloop.errors import ItemError
from cineloop.log import logger
from cineloop.web.addresses import Address, AllowedHost, check_host, follow, forbidden_url, is_public
from cineloop.web.faults import Fault, fault_of
from cineloop.web.incoming import IncomingFile

MOST_HOPS = 3
_REDIRECTS = {301, 302, 303, 307, 308}
_CONNECT_S = 10.0

Resolve = Callable[[str, int], Awaitable[list[str]]]


@dataclass(eq=False)
class Fetcher:
    """Fetches from allowed hosts; of one event loop.

    Args:
        allowed: entries of `allow_hosts`.
        max_bytes: a larger file is refused. timeout_s: seconds for all of a fetch, redirects included.
        resolve: the addresses of a name. transport: sends a request; None makes one that trusts the system's CAs.
    """

    allowed: tuple[AllowedHost, ...]
    _: KW_ONLY
    max_bytes: int
    timeout_s: float
    resolve: Resolve = field(default_factory=lambda: _look_up)
    transport: httpx.AsyncBaseTransport | None = None

    async def fetch(self, address: Address, target: IncomingFile) -> int:
        """Write the content at `address` to `target`; returns its bytes. Raises Fault: URL_FORBIDDEN, TOO_LARGE,
        NOT_FOUND, FETCH_FAILED, and what `target` raises."""
        try:
            async with asyncio.timeout(self.timeout_s):
                for _ in range(MOST_HOPS + 1):
                    response = await self._get(address)
                    try:
                        if response.status_code not in _REDIRECTS:
                            return await self._content(address, response, target)
                        address = follow(address, _header(response, "location") or "", self.allowed)
                    finally:
                        await response.aclose()
        except TimeoutError as error:
            raise _failure(address, f"timeout after {self.timeout_s:g} seconds") from error
        except (OSError, httpx.TransportError) as error:
            logger.info("fetching from %s failed: %s: %s", address.host, type(error).__name__, error)
            raise _failure(address, _reason(error)) from error
        raise forbidden_url(f"the video's server redirects more than {MOST_HOPS} times")

    async def close(self) -> None:
        """Close all connections."""
        if self.transport is not None:
            await self.transport.aclose()

    async def _get(self, address: Address) -> httpx.Response:
        """The response to a request for `address`, its body not read yet."""
        entry = check_host(address, self.allowed)
        numerics = [entry.loopback] if entry.loopback is not None else await self._public(address)
        if self.transport is None:
            # Made late: reading the CAs takes time. No connection is kept: the next one is checked anew.
            self.transport = httpx.AsyncHTTPTransport(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
        for number, numeric in enumerate(numerics, 1):
            try:
                return await self.transport.handle_async_request(_request(address, numeric))
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if number == len(numerics) or _is_tls(error):  # else the next address may answer
                    raise
        raise _failure(address, "its host is unknown")

    async def _public(self, address: Address) -> list[str]:
        """The numeric addresses of a host, each of them public."""
        host = address.host.strip("[]")
        numerics: list[str] = list(dict.fromkeys(await self.resolve(host, address.port)))
        for numeric in numerics:
            try:
                public = is_public(ipaddress.ip_address(numeric))
            except ValueError:
                public = False
            if not public:
                logger.warning("%s resolves to %s, from which nothing is fetched", host, numeric)
                raise forbidden_url("that host resolves to a private network, from which nothing is fetched")
        return numerics

    async def _content(self, address: Address, response: httpx.Response, target: IncomingFile) -> int:
        if response.status_code in (404, 410):
            raise fault_of(ItemError(f"{address.name} was not found", code="NOT_FOUND"))
        if response.status_code != 200:
            raise _failure(address, f"its server answered with status {response.status_code}")
        if (_header(response, "content-encoding") or "identity").strip().lower() != "identity":
            raise _failure(address, "its server sent compressed content, which was not requested")
        promised = _header(response, "content-length")
        received = int(promised) if promised is not None and promised.isdecimal() else 0
        if received <= self.max_bytes:
            received = 0
            async for data in response.aiter_raw():
                received += len(data)
                if received > self.max_bytes:
                    break
                await target.write(data)
            else:
                return received
        text = f"{address.name} is larger than {self.max_bytes >> 20} MiB, the limit of a fetch"
        raise fault_of(ItemError(text, code="TOO_LARGE"))


def _request(address: Address, numeric: str) -> httpx.Request:
    """GET of `address` from the machine at the IP address `numeric`."""
    usual = {"http": 80, "https": 443}[address.scheme]
    headers = {
        "Host": address.host if address.port == usual else f"{address.host}:{address.port}",
        "User-Agent": "cineloop",
        "Accept": "video/*, image/*, application/octet-stream",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    host = f"[{numeric}]" if ":" in numeric else numeric
    extensions: dict[str, Any] = {
        "target": address.target.encode("ascii"),  # exactly as it was checked
        "sni_hostname": address.host.strip("[]"),
        "timeout": {"connect": _CONNECT_S},
    }
    url = f"{address.scheme}://{host}:{address.port}/"
    return httpx.Request("GET", url, headers=headers, extensions=extensions)


async def _look_up(host: str, port: int) -> list[str]:
    entries = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in entries]


def _header(response: httpx.Response, name: str) -> str | None:
    """The value of a header; None where it is missing, "?" where it is repeated."""
    values = response.headers.get_list(name)
    return values[0] if len(values) == 1 else ("?" if values else None)


def _failure(address: Address, why: str) -> Fault:
    return fault_of(ItemError(f"{address.name} could not be fetched: {why}", code="FETCH_FAILED"))


def _reason(error: Exception) -> str:
    """What went wrong, in words of ours: those of libraries name addresses and files."""
    if _is_tls(error):
        return "its server has no certificate that is trusted"
    if isinstance(error, OSError | httpx.ConnectError | httpx.ConnectTimeout):
        return "its server was not reached"
    return "its server closed the connection or sent invalid HTTP"


def _is_tls(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error is not None
