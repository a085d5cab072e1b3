"""Addresses of remote files: which may be read, and how they may be shown.

In: names that users, lists and manifests give. Out: whether one is an address, its path, a form without secrets for
messages and records, and a refusal (exit 7) of what was not allowed, before anything is asked of the network.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote

from cineloop.errors import PolicyError, UsageError

PROTOCOLS = ("s3", "gs", "hf", "http", "https", "file", "memory")
WEB = ("http", "https")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")


def is_url(name: str) -> bool:
    """Whether a name is an address and no path."""
    return _ADDRESS.match(name) is not None


def redact(name: str) -> str:
    """An address as it may be shown or written down: without user, password and query; any other name as it is."""
    if not is_url(name):
        return name
    scheme, rest = name.split("://", 1)
    place, slash, path = rest.partition("/")
    text = f"{scheme}://{place.rpartition('@')[2]}{slash}{path}"
    return text.split("?")[0].split("#")[0] if is_web(name) else text


def check_allowed(url: str, allow: Sequence[str], *, by_user: bool) -> None:
    """Return when an address may be read.

    Args:
        url: the address.
        allow: protocols ("s3") and beginnings of addresses ("https://example.org/clips/") that may be read.
        by_user: the user typed this address, so all but the web goes without `allow`; one out of a list or manifest
            is untrusted.

    Raises:
        UsageError: an unknown protocol. PolicyError: not allowed, or an address that is refused in any case.
    """
    scheme = url.split("://", 1)[0].lower()
    if scheme not in PROTOCOLS:
        raise UsageError(f"{redact(url)}: unknown protocol {scheme}", hint=f"known: {', '.join(PROTOCOLS)}")
    place, path = _parts(url)
    if "@" in place:
        raise PolicyError(
            f"{redact(url)} holds a user or password, which would end up in logs",
            hint="give credentials by the environment, as the service's own tools take them",
        )
    if ".." in unquote(path).split("/"):
        raise PolicyError(f"{redact(url)}: an address must not step upwards")
    if not (by_user and scheme not in WEB) and not any(_covers(entry, url) for entry in allow):
        raise PolicyError(
            f"{redact(url)} is not allowed: addresses {'of the web' if by_user else 'in lists and manifests'} are read "
            "only where they are allowed by name",
            hint=f"--allow-remote {scheme}://{place}/ allows it",
        )


def url_path(url: str) -> str:
    """The path of an address, bucket or host first, for a person: `s3://bucket/a/b.mp4` → `bucket/a/b.mp4`."""
    place, path = _parts(url)
    path = unquote(path) if is_web(url) else path
    return f"{place}/{path}".strip("/")


def is_web(url: str) -> bool:
    """Whether an address is one of the web."""
    return url.split("://", 1)[0].lower() in WEB


def _parts(url: str) -> tuple[str, str]:
    """Bucket or host, and path. Only the web has queries: in a bucket `?` is a letter of a name."""
    rest = url.split("://", 1)[1]
    if is_web(url):
        rest = rest.split("?")[0].split("#")[0]
    place, _, path = rest.partition("/")
    return place, path


def _covers(entry: str, url: str) -> bool:
    scheme, mark, rest = entry.partition("://")
    if scheme.lower() != url.split("://", 1)[0].lower():
        return False
    if not mark or not rest:
        return True
    (place, path), (their_place, their_path) = _parts(entry), _parts(url)
    path = path.rstrip("/")
    return place == their_place and (not path or their_path == path or their_path.startswith(path + "/"))
