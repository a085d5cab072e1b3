"""Hosts that videos may be fetched from, and addresses of the network that are never asked.

In: entries of `allow_hosts`, and what a name was resolved to. Out: checked entries; whether an address is public. Pure.
A name never leads to this machine or its neighbours, whatever its DNS says; the one way to a server on this machine is
an entry that is itself a loopback address with a port, which only the operator can have written.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from cineloop.errors import UsageError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_ENTRY = re.compile(
    r"(?:(https?)://)?([a-z0-9](?:[a-z0-9.\-]{0,252}[a-z0-9])?|\[[0-9a-f:]{2,39}\])(?::([1-9][0-9]{0,4}))?", re.ASCII
)
# Beyond what `ipaddress` knows in every version: shared (CGNAT), protocol assignments, 6to4 relays, benchmarks;
# site-local, 6to4, Teredo, NAT64 with local prefixes, documentation, segment routing.
_CLOSED = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8 100.64.0.0/10 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 198.18.0.0/15 198.51.100.0/24 "
            "203.0.113.0/24 224.0.0.0/3 ::/96 ::ffff:0:0/96 64:ff9b:1::/48 100::/64 2001::/23 2001:db8::/32 2002::/16 "
            "3fff::/20 5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8"
        ).split(),
    )
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, kw_only=True)
class AllowedHost:
    """What an address of the web must match. `loopback`: the entry's own address, where it is one of this machine."""

    scheme: str
    host: str
    port: int
    loopback: str | None = None


def allowed_host(entry: str) -> AllowedHost:
    """An entry as `ServeConfig` describes it.

    Raises:
        UsageError: it is invalid, or an address of a private network.
    """
    found = _ENTRY.fullmatch(entry.strip().lower())
    if found is None or ".." in entry or int(found[3] or 1) > 65535:
        raise UsageError(
            f"allow_hosts: {entry!r} is not a host",
            hint="cdn.example.org, example.org:8443 or http://example.org; names in other scripts as xn--…",
        )
    scheme, host = found[1] or "https", found[2]
    port = int(found[3] or {"http": 80, "https": 443}[scheme])
    literal = _literal(host)
    if literal is None and re.fullmatch(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)", host):
        raise UsageError(f"allow_hosts: {entry!r} is not a valid IP address")
    if literal is not None and literal.is_loopback:
        if not found[3]:
            raise UsageError(f"allow_hosts: {entry!r} is this machine, so a port is needed, {entry.strip()}:8080")
        return AllowedHost(scheme=scheme, host=host, port=port, loopback=str(literal))
    if literal is not None and not is_public(literal):
        raise UsageError(f"allow_hosts: {entry!r} is an address of a private network, from which nothing is fetched")
    return AllowedHost(scheme=scheme, host=host, port=port)


def is_public(address: IPAddress) -> bool:
    """Whether an address belongs to a machine of the open internet: not this one, not a neighbour, no group."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return False
        if address in _NAT64:  # stands for the IPv4 address in its last four bytes
            return is_public(ipaddress.IPv4Address(address.packed[-4:]))
    if any(address in network for network in _CLOSED):
        return False
    closed = (
        address.is_private,
        address.is_loopback,
        address.is_link_local,
        address.is_multicast,
        address.is_reserved,
        address.is_unspecified,
        not address.is_global,
    )
    return not any(closed)


def _literal(host: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
