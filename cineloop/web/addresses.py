"""Addresses by which a client may name a video: one parser for checking and for fetching, so the two cannot disagree.

In: the text of a URL. Out: an `Address`, or a `Fault`. Pure; nothing is opened or resolved. Whatever is not one of the
forms below, character by character, is refused: a lenient parser is how allow-lists are bypassed.

    data:video/mp4;base64,AAAA        upload:file-<32 hex>
    file://ROOT/path/in/it.mp4        https://host[:port]/path?query       each with #t=START,END at will
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import unquote_to_bytes

from cineloop.web.faults import Fault
from cineloop.web.networks import AllowedHost

LONGEST = 4096  # letters of an address that is not a data URL
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


@dataclass(frozen=True, kw_only=True)
class Address:
    """A video as a client named it.

    Attributes:
        kind: "data", "upload", "file" or "web".
        start_s, end_s: the range of it that is meant, seconds; None for from the start, to the end.
        body: of "data" the URL without its fragment, of "upload" the id, else "".
        root, parts: of "file" the name of the root and the path below it, component by component.
        scheme, host, port, target: of "web"; host in small letters without a dot at the end, target with its query.
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

    @property
    def name(self) -> str:
        """What messages call it; nothing in it can be a secret."""
        if self.kind == "web":
            return f"the video from {self.host}"
        if self.kind == "upload":
            return f"the upload {self.body}"
        return "the file" if self.kind == "file" else "the video"


def parse(url: str) -> Address:
    """The address that `url` is.

    Raises:
        Fault: 400 BAD_URL, it is invalid; 403 URL_FORBIDDEN, videos are never read from it.
    """
    if not isinstance(url, str) or not url:
        raise bad("expected the address of a video")
    if url[:5].lower() == "data:":
        body, fragment = _split(url)
        return _ranged(Address(kind="data", body=body), fragment)
    if len(url) > LONGEST:
        raise bad(f"expected at most {LONGEST} characters")
    if any(letter.isspace() or ord(letter) < 0x20 or 0x7F <= ord(letter) < 0xA0 for letter in url):
        raise bad("spaces and control characters must be percent-encoded")
    if any("\ud800" <= letter <= "\udfff" for letter in url):
        raise bad("the URL contains a lone surrogate")
    scheme = _SCHEME.match(url)
    if scheme is None:
        raise bad("expected data:, upload:, file:// or https:// before the video's name")
    body, fragment = _split(url)
    kind = scheme.group(1).lower()
    if kind == "upload":
        found = _UPLOAD.fullmatch(body)
        if found is None:
            raise bad("expected upload:file- and 32 hexadecimal digits, as the server gave it")
        return _ranged(Address(kind="upload", body=found.group(1)), fragment)
    if kind == "file":
        return _ranged(_file(body), fragment)
    if kind in ("http", "https"):
        return _ranged(_web(body), fragment)
    raise forbidden("unsupported URL scheme; use data:, upload:, file:// or https://")


def follow(address: Address, location: str, allowed: Iterable[AllowedHost]) -> Address:
    """Where a redirect leads: checked as if the client had named it.

    Raises:
        Fault: 403 URL_FORBIDDEN. Only whole addresses and paths from the root are followed.
    """
    if len(location) > LONGEST:
        raise forbidden("the video's server redirects to an address that is not followed")
    if _TARGET.fullmatch(location) and "#" not in location:
        location = f"{address.scheme}://{address.host}:{address.port}{location}"
    try:
        there = parse(location)
        if there.kind != "web":
            raise forbidden("not of the web")
        check_host(there, allowed)
    except Fault as fault:
        raise forbidden("the video's server redirects to an address that is not allowed") from fault
    return replace(there, start_s=address.start_s, end_s=address.end_s)


def check_host(address: Address, allowed: Iterable[AllowedHost]) -> AllowedHost:
    """The entry of the allow-list under which a web address may be fetched.

    Raises:
        Fault: 403 URL_FORBIDDEN.
    """
    for entry in allowed:
        if (entry.scheme, entry.host, entry.port) == (address.scheme, address.host, address.port):
            return entry
    raise forbidden("this server does not fetch from that host; upload the video instead")


def bad(why: str) -> Fault:
    """An invalid address."""
    return Fault(400, "BAD_URL", f"invalid URL of a video: {why}")


def forbidden(why: str) -> Fault:
    """An address that is not allowed."""
    return Fault(403, "URL_FORBIDDEN", why)


def _split(url: str) -> tuple[str, str | None]:
    """The URL and its fragment, what follows the first "#"; None if there is no "#"."""
    body, mark, fragment = url.partition("#")
    return body, fragment if mark else None


def _ranged(address: Address, fragment: str | None) -> Address:
    if fragment is None:
        return address
    found = _RANGE.fullmatch(fragment) if len(fragment) <= 64 else None
    if found is None or fragment == "t=":
        raise bad("expected only a range after #: t=START,END in seconds")
    start_s, end_s = (None if text is None else float(text) for text in found.groups())
    if end_s is not None and end_s <= (start_s or 0.0):
        raise bad("the range after #t= ends before it starts")
    return replace(address, start_s=start_s, end_s=end_s)


def _file(body: str) -> Address:
    refusal = forbidden("expected file://ROOT/path, with a ROOT the server was given")
    found = _FILE.fullmatch(body)
    if found is None or "\\" in body or "?" in body or re.search(r"%(?![0-9A-Fa-f]{2})", body):
        raise refusal
    # Decoded once, after the split into components: an encoded slash is a letter of a name, and no name has it.
    parts = tuple(unquote_to_bytes(part) for part in found.group(2).split("/"))
    for part in parts:
        is_plain = part and not part.startswith(b".") and len(part) <= 255
        if not is_plain or b"/" in part or b"\\" in part or any(byte < 0x20 or byte == 0x7F for byte in part):
            raise refusal
    return Address(kind="file", root=found.group(1), parts=parts)


def _web(body: str) -> Address:
    found = _WEB.fullmatch(body)
    if found is None:
        raise forbidden("an address of the web is expected as https://host/path, without a user and in plain letters")
    scheme, host = found["scheme"].lower(), found["host"].lower()
    host = host.removesuffix(".")
    port = int(found["port"] or {"http": 80, "https": 443}[scheme])
    if port > 65535 or ".." in host:
        raise forbidden("an address of the web is expected as https://host/path, without a user and in plain letters")
    target = found["target"] or "/"
    return Address(
        kind="web", scheme=scheme, host=host, port=port, target=target if target.startswith("/") else "/" + target
    )
