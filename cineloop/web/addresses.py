"""Addresses by which a client may name a video, and the hosts and networks videos may be fetched from.

In: the text of a URL, entries of `allow_hosts`, what a name was resolved to. Out: an `Address`, an `AllowedHost`, or a
`Fault`; whether an address is public. Pure; nothing is opened or resolved. One parser serves checking and fetching, so
the two cannot disagree. Whatever is not one of the forms below, character by character, is refused: a lenient parser
is how allow-lists are bypassed.

    data:video/mp4;base64,AAAA        upload:file-<32 hex>
    file://ROOT/path/in/it.mp4        https://host[:port]/path?query       each may end in #t=START,END

A host name never resolves to this machine or a private network, whatever its DNS says; a server on this machine is
reached only by an entry that is itself a loopback address with a port, which only the operator can have written.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import unquote_to_bytes

from cineloop.errors import UsageError
from cineloop.web.faults import Fault

LONGEST = 4096  # characters of an address that is not a data URL
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]{0,31}):", re.ASCII)
_UPLOAD = re.compile(r"(?i:upload):(file-[0-9a-f]{32})", re.ASCII)
_FILE = re.compile(r"file://([A-Za-z0-9][A-Za-z0-9._\-]{0,63})/(.+)", re.ASCII | re.IGNORECASE)
# Of a host only letters, digits, dots and hyphens, or an IPv6 address in brackets; no user, so no "@" before a slash.
_WEB = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.\-]{0,252}[A-Za-z0-9.])?|\[[0-9A-Fa-f:]{2,39}\])"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?(?P<target>(?:/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*)?"
    r"(?:\?(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?\[\]]|%[0-9A-Fa-f]{2})*)?)",
    re.ASCII | re.IGNORECASE,
)
_TARGET = re.compile(r"/(?!/)[\x21-\x7e]*", re.ASCII)
_SECONDS = r"[0-9]{1,7}(?:\.[0-9]{1,9})?"
_RANGE = re.compile(rf"t=({_SECONDS})?(?:,({_SECONDS}))?", re.ASCII)
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


@dataclass(frozen=True, kw_only=True)
class Address:
    """A video as a client named it.

    Attributes:
        kind: "data", "upload", "file" or "web". name: what messages call it; nothing in it can be a secret.
        start_s, end_s: the range of it that is meant, seconds; None for from the start, to the end.
        body: of "data" the URL without its fragment, of "upload" the id, else "".
        root, parts: of "file" the name of the root and the path below it, component by component.
        scheme, host, port, target: of "web"; host in lower case without a dot at the end, target with its query.
    """

    kind: Literal["data", "upload", "file", "web"]
    start_s: float | None = None
    end_s: float | None = None
    body: str = ""
    root: str = ""
    parts: tuple[bytes, ...] = ()
    scheme: str = ""
    host: str = ""
    port: int = 0
    target: str = ""
    name: str = field(default="the video", compare=False)


def parse(url: str) -> Address:
    """The address that `url` is. Raises Fault 400 BAD_URL, it is invalid; 403 URL_FORBIDDEN, it is never read."""
    if not isinstance(url, str) or not url:
        raise bad("expected the address of a video")
    body, mark, fragment = url.partition("#")
    address = Address(kind="data", body=body) if url[:5].lower() == "data:" else _without_range(url, body)
    if not mark:
        return address
    match = _RANGE.fullmatch(fragment) if len(fragment) <= 64 else None
    if match is None or fragment == "t=":
        raise bad("expected only a range after #: t=START,END in seconds")
    start_s, end_s = (None if text is None else float(text) for text in match.groups())
    if end_s is not None and end_s <= (start_s or 0.0):
        raise bad("the range after #t= ends before it starts")
    return replace(address, start_s=start_s, end_s=end_s)


def _without_range(url: str, body: str) -> Address:
    """The address that `url` is, without its range; no data URL. Raises as `parse`."""
    if len(url) > LONGEST:
        raise bad(f"expected at most {LONGEST} characters")
    if any(char.isspace() or ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in url):
        raise bad("spaces and control characters must be percent-encoded")
    if any("\ud800" <= char <= "\udfff" for char in url):
        raise bad("the URL contains a lone surrogate")
    scheme = _SCHEME.match(url)
    if scheme is None:
        raise bad("expected data:, upload:, file:// or https:// before the video's name")
    kind = scheme.group(1).lower()
    if kind == "upload":
        match = _UPLOAD.fullmatch(body)
        if match is None:
            raise bad("expected upload:file- and 32 hexadecimal digits, as the server gave it")
        return Address(kind="upload", body=match.group(1), name=f"the upload {match.group(1)}")
    if kind == "file":
        return _file(body)
    if kind in ("http", "https"):
        return _web(body)
    raise forbidden_url("unsupported URL scheme; use data:, upload:, file:// or https://")


def follow(address: Address, location: str, allowed: Iterable[AllowedHost]) -> Address:
    """Where a redirect leads, checked as if the client had named it: only whole addresses and paths from the root are
    followed. Raises Fault 403 URL_FORBIDDEN."""
    if len(location) > LONGEST:
        raise forbidden_url("the video's server redirects to an address that is not followed")
    if _TARGET.fullmatch(location) and "#" not in location:
        location = f"{address.scheme}://{address.host}:{address.port}{location}"
    try:
        there = parse(location)
        if there.kind != "web":
            raise forbidden_url("not of the web")
        check_host(there, allowed)
    except Fault as fault:
        raise forbidden_url("the video's server redirects to an address that is not allowed") from fault
    return replace(there, start_s=address.start_s, end_s=address.end_s)


def check_host(address: Address, allowed: Iterable[AllowedHost]) -> AllowedHost:
    """The entry of the allow-list under which a web address may be fetched. Raises Fault 403 URL_FORBIDDEN."""
    for entry in allowed:
        if (entry.scheme, entry.host, entry.port) == (address.scheme, address.host, address.port):
            return entry
    raise forbidden_url("this server does not fetch from that host; upload the video instead")


def bad(why: str) -> Fault:
    """An invalid address."""
    return Fault(400, "BAD_URL", f"invalid URL of a video: {why}")


def forbidden_url(why: str) -> Fault:
    """An address that is not allowed."""
    return Fault(403, "URL_FORBIDDEN", why)


def _file(body: str) -> Address:
    refusal = forbidden_url("expected file://ROOT/path, with a ROOT the server was given")
    match = _FILE.fullmatch(body)
    if match is None or "\\" in body or "?" in body or re.search(r"%(?![0-9A-Fa-f]{2})", body):
        raise refusal
    # Decoded once, after the split into components: an encoded slash is part of a name, and no name may have it.
    parts = tuple(unquote_to_bytes(part) for part in match.group(2).split("/"))
    for part in parts:
        is_plain = part and not part.startswith(b".") and len(part) <= 255
        if not is_plain or b"/" in part or b"\\" in part or any(byte < 0x20 or byte == 0x7F for byte in part):
            raise refusal
    return Address(kind="file", root=match.group(1), parts=parts, name="the file")


def _web(body: str) -> Address:
    match = _WEB.fullmatch(body)
    if match is None:
        raise forbidden_url("expected https://host/path in ASCII characters, without a user name")
    scheme, host = match["scheme"].lower(), match["host"].lower()
    host = host.removesuffix(".")
    port = int(match["port"] or {"http": 80, "https": 443}[scheme])
    if port > 65535 or ".." in host:
        raise forbidden_url("expected https://host/path in ASCII characters, without a user name")
    target = match["target"] or "/"
    target = target if target.startswith("/") else "/" + target
    return Address(kind="web", scheme=scheme, host=host, port=port, target=target, name=f"the video from {host}")


def allowed_host(entry: str) -> AllowedHost:
    """An entry as `ServeConfig` describes it. Raises UsageError: it is invalid, or an address of a private network."""
    match = _ENTRY.fullmatch(entry.strip().lower())
    if match is None or ".." in entry or int(match[3] or 1) > 65535:
        raise UsageError(
            f"allow_hosts: {entry!r} is not a host",
            hint="cdn.example.org, example.org:8443 or http://example.org; names in other scripts as xn--…",
        )
    scheme, host = match[1] or "https", match[2]
    port = int(match[3] or {"http": 80, "https": 443}[scheme])
    literal = _literal(host)
    if literal is None and re.fullmatch(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)", host):
        raise UsageError(f"allow_hosts: {entry!r} is not a valid IP address")
    if literal is not None and literal.is_loopback:
        if not match[3]:
            raise UsageError(f"allow_hosts: {entry!r} is this machine, so a port is needed, {entry.strip()}:8080")
        return AllowedHost(scheme=scheme, host=host, port=port, loopback=str(literal))
    if literal is not None and not is_public(literal):
        raise UsageError(f"allow_hosts: {entry!r} is an address of a private network, from which nothing is fetched")
    return AllowedHost(scheme=scheme, host=host, port=port)


def is_public(address: IPAddress) -> bool:
    """Whether an address belongs to a machine of the open internet: not this one, no private network, no multicast."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return False
        if address in _NAT64:  # stands for the IPv4 address in its last four bytes
            return is_public(ipaddress.IPv4Address(address.packed[-4:]))
    if any(address in network for network in _CLOSED):
        return False
    if address.is_private or address.is_loopback or address.is_link_local or address.is_unspecified:
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _literal(host: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
