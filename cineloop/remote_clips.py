"""Remote clips: folders, files, patterns and manifests at addresses such as `s3://bucket/clips`.

In: addresses, typed by the user or out of lists and manifests. Out: clips whose `file` is an address; their ids follow
the rules of `cineloop.discovery`. What the user did not type and did not allow is refused (exit 7).
"""

from __future__ import annotations

import posixpath
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cineloop.address import check_allowed, is_url, is_web, redact, url_path
from cineloop.clip import Clip
from cineloop.errors import UsageError
from cineloop.files import escape_name, unescape_name
from cineloop.log import printable
from cineloop.manifest import read_manifest
from cineloop.remote import RemoteFile, fetch_manifest, file_at, find


def from_argument(url: str, suffixes: Sequence[str], allow: Sequence[str]) -> tuple[list[Clip], list[RemoteFile]]:
    """The clips at an address typed by the user: clips of a folder, pattern or manifest; or one loose file.

    Raises:
        PolicyError, UsageError: see `check_allowed`. NothingMatchedError, MissingDependencyError: see `find`.
    """
    if url.startswith("@") and not url.endswith(".jsonl"):
        raise UsageError(f"{printable(redact(url[1:]))}: a list must be a local file", hint="copy it here first")
    url = url.removeprefix("@")
    check_allowed(url, allow, by_user=True)
    if url_path(url).endswith(".jsonl"):
        return list(_from_manifest(url, allow)), []
    files = find(url, suffixes)
    if len(files) == 1 and files[0].url == url:
        return [], files
    return [_clip(file, file.name) for file in files], []


def from_list(url: str, allow: Sequence[str]) -> RemoteFile:
    """A loose file that a list names.

    Raises:
        PolicyError, UsageError: see `check_allowed`.
    """
    check_allowed(url, allow, by_user=False)
    return file_at(url)


def from_row(row: dict[str, Any], allow: Sequence[str]) -> Clip:
    """The clip of a manifest's row whose path is an address.

    Raises:
        PolicyError, UsageError: see `check_allowed`.
    """
    return _of_row(row, from_list(unescape_name(row["path"]), allow))


def from_loose(files: Iterable[RemoteFile]) -> Iterator[Clip]:
    """Clips of single files; their names are relative to the nearest folder above them all."""
    files = list(files)
    if files:
        base = posixpath.commonpath([posixpath.dirname(file.name) for file in files])
        for file in files:
            yield _clip(file, posixpath.relpath(file.name, base or "."))


def rebase(clip: Clip, root: str) -> Clip:
    """The clip named relative to the address `root`.

    Raises:
        UsageError: it is outside.
    """
    base = root.rstrip("/") + "/"
    if not clip.file.startswith(base):
        raise UsageError(f"{printable(redact(clip.file))} is outside --root {printable(redact(root))}")
    name = _safe(url_path(clip.file).removeprefix(url_path(base) + "/"))
    return replace(clip, id=name, path=name)


def _from_manifest(url: str, allow: Sequence[str]) -> Iterator[Clip]:
    base = redact(url).rpartition("/")[0]
    with tempfile.TemporaryDirectory(prefix="v2t-") as folder:
        copy = Path(folder) / posixpath.basename(url_path(url))
        fetch_manifest(url, copy)
        for row in read_manifest(copy):
            if is_url(row["path"]):
                yield from_row(row, allow)
                continue
            path = unescape_name(row["path"])
            file = replace(file_at(f"{base}/{quote(path) if is_web(url) else path}"), name=path)
            yield _of_row(row, file)


def _of_row(row: dict[str, Any], file: RemoteFile) -> Clip:
    return replace(_clip(file, file.name), id=row["id"], start_s=row.get("start_s"), end_s=row.get("end_s"))


def _clip(file: RemoteFile, name: str) -> Clip:
    name = _safe(name)
    return Clip(name, name, file.url, file.size, file.stamp, is_remote=True)


def _safe(name: str) -> str:
    """A name that output paths can mirror: a bucket may hold `a//b.mp4`, and even `../b.mp4`."""
    odd = {"": "%2F", ".": "%2E", "..": "%2E%2E"}
    return escape_name("/".join(odd.get(part, part) for part in name.split("/")).replace("\0", "%00"))
