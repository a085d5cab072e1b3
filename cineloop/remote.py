"""Remote files: `s3://`, `gs://`, `hf://` and, when allowed, `http(s)://`, through fsspec.

In: addresses. Out: a listing, or a local copy. `cineloop.address` decides which addresses may be read. Credentials come
from where each service's own tools take them (environment, profile); no accepted address and no message contains them.
fsspec and its protocol packages are imported at the first use. The web is read by the standard library, without
following redirects: one could lead to a host that was not allowed, such as a machine's metadata service.
"""

from __future__ import annotations

import asyncio
import datetime
import functools
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cineloop.address import is_web, redact, url_path
from cineloop.errors import CineloopError, ItemError, MissingDependencyError, NothingMatchedError, UsageError
from cineloop.files import raise_if_full
from cineloop.log import printable
from cineloop.retry import backoff_s, retry

_CHUNK_BYTES = 4 << 20
_MANIFEST_BYTES = 256 << 20
_TRIES = 4
_TIMEOUT_S = 60.0
_LEAST_RATE = 100_000  # bytes a second of what is sent; slower counts as no answer


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file below an address.

    `name` is its path relative to the folder listed, for a single file `url_path`. `size` is in bytes, -1
    when unknown. `stamp` changes when the file does; 0 when unknown.
    """

    url: str
    name: str
    size: int
    stamp: int


def find(url: str, suffixes: Sequence[str]) -> list[RemoteFile]:
    """The files at an address: one file, all below a folder, or all that match a pattern with `*`.

    Below a folder and for a pattern only names with one of the `suffixes` count, hidden ones never. A web address is
    one file, and not requested yet.

    Raises:
        NothingMatchedError: there is nothing of that name.
        MissingDependencyError: a package is missing, or the service does not respond.
    """
    if is_web(url):
        return [file_at(url)]
    with _typed_by_user(url):
        fs, path = _open_system(url)
        fs.invalidate_cache()
        if "*" in path:
            infos, base = fs.glob(path, detail=True), path.split("*")[0].rpartition("/")[0]
            url = url.split("*")[0].rpartition("/")[0]
        else:
            info = fs.info(path)
            if info["type"] != "directory":
                return [_file(url, url_path(url), info)]
            infos, base = fs.find(path, detail=True), path
        files = []
        for place, info in sorted(infos.items()):
            name = place.removeprefix(base.rstrip("/") + "/")
            is_hidden = any(part.startswith(".") and part.strip(".") for part in name.split("/"))
            if info["type"] == "file" and name.lower().endswith(tuple(suffixes)) and not is_hidden:
                at = f"{url.rstrip('/')}/{name}" if name != place else fs.unstrip_protocol(place)
                files.append(_file(at, name, info))
    return files


def file_at(url: str) -> RemoteFile:
    """A file that a list or manifest names, not requested yet: its size and date are unknown."""
    return RemoteFile(url, url_path(url), -1, 0)


def fetch_manifest(url: str, target: Path) -> None:
    """Copy a manifest or list to `target`.

    Raises:
        NothingMatchedError: it is missing. UsageError: it is too large. MissingDependencyError: it cannot be read.
    """
    with _typed_by_user(url):
        fetch(url, target, max_bytes=_MANIFEST_BYTES)


def fetch(url: str, target: Path, *, max_bytes: int, stopped: Callable[[], bool] = lambda: False) -> None:
    """Copy a file to `target`, which holds the whole file or does not exist; retries when the transfer breaks.

    Args:
        url: its address.
        target: where to.
        max_bytes: a larger file is refused.
        stopped: checked between chunks; True gives the copy up.

    Raises:
        ItemError: NOT_FOUND, UNREADABLE, TOO_LARGE, FETCH_FAILED.
        MissingDependencyError: a package for this protocol is missing, or the disk is full.
    """
    partial = target.with_name(target.name + ".part")

    def pause_s(error: Exception, errors: int) -> float | None:
        if isinstance(error, OSError):
            raise_if_full(error, target)
        return None if stopped() else backoff_s(error, errors, _TRIES)

    with _errors_of(url):
        try:
            retry(lambda: _copy(url, partial, max_bytes, stopped), pause_s)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)


def _copy(url: str, target: Path, max_bytes: int, stopped: Callable[[], bool]) -> None:
    total = 0
    with _open_web(url) if is_web(url) else _open_file(url) as source, open(target, "wb") as file:
        expected = source.headers.get("Content-Length") if is_web(url) else getattr(source, "size", None)
        while chunk := source.read(_CHUNK_BYTES):
            total += file.write(chunk)
            if stopped():
                raise ItemError("stopped while it was fetched", code="FETCH_FAILED", hint="run again")
            if total > max_bytes:
                raise ItemError(
                    f"{_printable(url)} is larger than {max_bytes} bytes", code="TOO_LARGE", hint="raise remote_max_gb"
                )
    if expected is not None and total != int(expected):
        raise OSError(f"received {total} of {expected} bytes")


def file_system(scheme: str, **config: Any) -> Any:
    """The file system of a protocol; for S3 one that waits for no answer without end.

    Args:
        scheme: such as `s3`.
        config: of botocore's `Config`, for S3 alone; it stands above what fsspec's own configuration says.

    Raises:
        ImportError: the package for this protocol is not installed.
    """
    import fsspec

    if scheme != "s3":
        return fsspec.filesystem(scheme)
    config = {**fsspec.config.conf.get("s3", {}).get("config_kwargs", {}), **config}
    return _with_limits(fsspec.get_filesystem_class("s3"))(config_kwargs=config)


@functools.cache
def _with_limits(s3fs: Any) -> Any:
    """s3fs's class with a limit for what sends a body: the read timeout below it (aiohttp's) counts only once the body
    was sent, which waits for the server's `100 Continue`, and not after a second `100 Continue`."""

    class S3FileSystem(s3fs):  # type: ignore[misc]
        retries = 1  # botocore's are enough; both would multiply

        async def _call_s3(self, method: str, *args: Any, **kwargs: Any) -> Any:
            await self.set_session()  # which has limits of its own
            call = super()._call_s3(method, *args, **kwargs)
            if "Body" not in kwargs:
                return await call
            limit_s = self.config_kwargs.get("read_timeout") or self.read_timeout
            limit_s += len(kwargs["Body"]) / _LEAST_RATE
            try:
                return await asyncio.wait_for(call, limit_s)
            except TimeoutError:
                raise OSError(f"no answer within {limit_s:.3g} s") from None

    return S3FileSystem


def _open_system(url: str) -> tuple[Any, str]:
    fs = file_system(url.split("://", 1)[0].lower())
    return fs, fs._strip_protocol(url)


def _open_file(url: str) -> Any:
    fs, path = _open_system(url)
    return fs.open(path, "rb")


def _open_web(url: str) -> Any:
    from urllib.error import HTTPError
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class Refuse(HTTPRedirectHandler):
        def redirect_request(self, *args: Any) -> None:
            return None  # urllib then raises the response as HTTPError

    try:
        return build_opener(Refuse).open(Request(url, headers={"User-Agent": "cineloop"}), timeout=_TIMEOUT_S)
    except HTTPError as error:
        error.close()
        if error.code in (404, 410):
            raise FileNotFoundError(f"HTTP {error.code}") from None
        if 300 <= error.code < 400:
            raise PermissionError(f"HTTP {error.code}, and redirects are not followed") from None
        if 400 <= error.code < 500 and error.code not in (408, 425, 429):
            raise PermissionError(f"HTTP {error.code}") from None
        raise OSError(f"HTTP {error.code}") from None


@contextmanager
def _errors_of(url: str) -> Iterator[None]:
    """Turn the exceptions of fsspec and its services into errors that name the address and no secret."""
    name = _printable(url)
    try:
        yield
    except CineloopError:
        raise
    except ImportError as error:
        raise MissingDependencyError(
            f"{name} needs a package that is not installed: {error}",
            code="REMOTE",
            hint="pip install 'cineloop[remote]'",
        ) from error
    except FileNotFoundError:
        raise ItemError(f"{name} does not exist", code="NOT_FOUND", hint="check the address") from None
    except PermissionError as error:
        raise ItemError(
            f"{name} may not be read: {reason(error)}", code="UNREADABLE", hint="check credentials"
        ) from None
    except Exception as error:  # each service has errors of its own
        raise ItemError(
            f"cannot fetch {name}: {reason(error)}", code="FETCH_FAILED", hint="--retry-failed later"
        ) from None


@contextmanager
def _typed_by_user(url: str) -> Iterator[None]:
    """As `_errors_of`, for an address on the command line: nothing can be done without it."""
    try:
        with _errors_of(url):
            yield
    except ItemError as error:
        if error.code == "NOT_FOUND":
            raise NothingMatchedError(error.message, hint=error.hint) from None
        if error.code == "TOO_LARGE":
            raise UsageError(error.message, code=error.code) from None
        hint = "check the address, the network, and the credentials in the environment"
        raise MissingDependencyError(error.message, code="REMOTE", hint=hint) from None


def _printable(url: str) -> str:
    return printable(redact(url))


def reason(error: Exception) -> str:
    """The message of an error without the addresses in it: those of the web can carry signatures."""
    text = re.sub(r"[A-Za-z][A-Za-z0-9+.\-]*://\S+", "(address)", str(error))
    return printable(f"{type(error).__name__}: {text}" if text else type(error).__name__, 200)


def _file(url: str, name: str, info: dict[str, Any]) -> RemoteFile:
    size = info.get("size")
    return RemoteFile(url, name, -1 if size is None else int(size), modified_ns(info))


def modified_ns(info: dict[str, Any]) -> int:
    """What changes with a file, by fsspec's facts: its date in ns since 1970 where it has one; 0 when unknown."""
    for key in ("mtime", "LastModified", "updated", "last_modified", "created", "ETag", "etag", "blob_id"):
        value = info.get(key)
        if isinstance(value, datetime.datetime):
            value = value.timestamp()
        if isinstance(value, int | float):
            return int(value * 1e9)
        if value:
            return int.from_bytes(hashlib.sha256(str(value).encode()).digest()[:6], "big")
    return 0
