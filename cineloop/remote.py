"""Files that lie elsewhere: `s3://`, `gs://`, `hf://` and, when allowed, `http(s)://`, through fsspec.

In: addresses. Out: what lies below one, the bytes of a small file, or a local copy of a large one for as long as it is
needed. Which addresses may be read at all is for `cineloop.address` to say. Credentials come from where each service's
own tools take them (environment, profile); they are in no address we accept and in no message. fsspec and what it
needs for a protocol are imported at the first use. The web is read by the standard library, without following
redirects: one could lead to a host that was not allowed, such as a machine's metadata service.
"""

from __future__ import annotations

import datetime
import hashlib
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cineloop.address import is_web, shown, url_path
from cineloop.errors import CineloopError, ItemError, MissingDependencyError, NothingMatchedError, UsageError
from cineloop.files import raise_if_full
from cineloop.log import logger, printable

T = TypeVar("T")
_CHUNK_BYTES = 4 << 20
_SMALL_BYTES = 256 << 20  # a manifest or list larger than this is none
_TRIES = 4
_PAUSE_S = 0.25  # before the second try; twice as long before each further one
_TIMEOUT_S = 60.0
_FINAL = (FileNotFoundError, IsADirectoryError, PermissionError, ImportError)  # trying again would not help


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file below an address.

    `name` is its path relative to the folder that was asked for, of a single file `url_path`. `size` is in bytes, -1
    when it is not told. `stamp` changes when the file does; 0 when nothing is known.
    """

    url: str
    name: str
    size: int
    stamp: int


def find(url: str, suffixes: Sequence[str]) -> list[RemoteFile]:
    """What lies at an address: one file, all below a folder, or all that fit a pattern with `*`.

    Below a folder and for a pattern only names with one of the `suffixes` count, hidden ones never. An address of the
    web is one file, and not asked after yet.

    Raises:
        NothingMatchedError: there is nothing of that name.
        MissingDependencyError: a package is missing, or the service does not answer.
    """
    if is_web(url):
        return [named(url)]
    with _speaking_of(url):
        fs, path = _open_system(url)
        fs.invalidate_cache()
        if "*" in path:
            found, base = fs.glob(path, detail=True), path.split("*")[0].rpartition("/")[0]
            url = url.split("*")[0].rpartition("/")[0]
        else:
            info = fs.info(path)
            if info["type"] != "directory":
                return [_file(url, url_path(url), info)]
            found, base = fs.find(path, detail=True), path
        files = []
        for place, info in sorted(found.items()):
            name = place.removeprefix(base.rstrip("/") + "/")
            is_hidden = any(part.startswith(".") and part.strip(".") for part in name.split("/"))
            if info["type"] == "file" and name.lower().endswith(tuple(suffixes)) and not is_hidden:
                at = f"{url.rstrip('/')}/{name}" if name != place else fs.unstrip_protocol(place)
                files.append(_file(at, name, info))
    return files


def named(url: str) -> RemoteFile:
    """A file that a list or manifest names, not asked after yet: its size and date are unknown."""
    return RemoteFile(url, url_path(url), -1, 0)


def read_bytes(url: str) -> bytes:
    """The content of a small file, such as a manifest.

    Raises:
        NothingMatchedError: it is not there. MissingDependencyError: it cannot be read.
    """
    with _speaking_of(url):
        return _again(url, lambda: b"".join(_chunks(url, _SMALL_BYTES)), lambda: False)


def size_of(url: str) -> int:
    """Bytes of the file at an address; -1 when they are not told, for whatever reason: `fetch` will say why."""
    try:
        if is_web(url):
            with _open_web(url, "HEAD") as answer:
                return int(answer.headers.get("Content-Length", -1))
        fs, path = _open_system(url)
        return _file(url, "", fs.info(path)).size
    except Exception as error:  # each service has errors of its own
        logger.debug("%s: its size is not told: %s", _named(url), _reason(error))
        return -1


def fetch(url: str, target: Path, *, size: int, max_bytes: int, stopped: Callable[[], bool]) -> int:
    """Copy a file to `target`; returns its size. Tries again when the line breaks or the copy is short.

    Args:
        url: where it lies.
        target: where to; holds the whole file or does not exist.
        size: bytes that are expected, -1 when unknown.
        max_bytes: a larger file is refused.
        stopped: asked between pieces; once true the copy is given up.

    Raises:
        ItemError: NOT_FOUND, UNREADABLE, TOO_LARGE, FETCH_FAILED.
        MissingDependencyError: a package for this protocol is missing.
    """
    partial = target.with_name(target.name + ".part")

    def once() -> int:
        written = 0
        with open(partial, "wb") as file:
            for chunk in _chunks(url, max_bytes):
                if stopped():
                    raise ItemError("stopped", code="FETCH_FAILED")
                written += file.write(chunk)
        if size >= 0 and written != size:
            raise OSError(f"{written} of {size} bytes came")
        partial.replace(target)
        return written

    try:
        return _again(url, once, stopped)
    except CineloopError:
        raise
    except ImportError as error:
        raise _missing(url, error) from error
    except FileNotFoundError as error:
        raise ItemError(f"nothing lies at {_named(url)}", code="NOT_FOUND", hint="check the address") from error
    except PermissionError as error:
        raise ItemError(
            f"{_named(url)} may not be read: {_reason(error)}", code="UNREADABLE", hint="check credentials"
        ) from None
    except Exception as error:  # each service has errors of its own
        if isinstance(error, OSError):
            raise_if_full(error, target)
        raise ItemError(
            f"{_named(url)} did not come: {_reason(error)}", code="FETCH_FAILED", hint="--retry-failed later"
        ) from None
    finally:
        partial.unlink(missing_ok=True)


def _again(url: str, work: Callable[[], T], stopped: Callable[[], bool]) -> T:
    for number in range(1, _TRIES):
        try:
            return work()
        except (*_FINAL, CineloopError):
            raise
        except Exception as error:  # see `fetch`
            if stopped():
                raise
            logger.debug("%s, try %d: %s", _named(url), number, _reason(error))
            time.sleep(_PAUSE_S * 2**number * random.uniform(0.5, 1.0))
    return work()


def _chunks(url: str, max_bytes: int) -> Iterator[bytes]:
    total = 0
    with _open_web(url) if is_web(url) else _open_file(url) as source:
        while chunk := source.read(_CHUNK_BYTES):
            total += len(chunk)
            if total > max_bytes:
                raise ItemError(
                    f"{_named(url)} is larger than {max_bytes} bytes",
                    code="TOO_LARGE",
                    hint="raise remote_cache_gb",
                )
            yield chunk
        expected = getattr(source, "headers", {}).get("Content-Length")
    if expected is not None and total != int(expected):
        raise OSError(f"{total} of {expected} bytes came")


def _open_system(url: str) -> tuple[Any, str]:
    import fsspec

    fs = fsspec.filesystem(url.split("://", 1)[0].lower())
    return fs, fs._strip_protocol(url)


def _open_file(url: str) -> Any:
    fs, path = _open_system(url)
    return fs.open(path, "rb")


def _open_web(url: str, method: str = "GET") -> Any:
    from urllib.error import HTTPError
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class Refuse(HTTPRedirectHandler):
        def redirect_request(self, *args: Any) -> None:
            return None  # urllib raises the answer as HTTPError then

    try:
        request = Request(url, headers={"User-Agent": "cineloop"}, method=method)
        return build_opener(Refuse).open(request, timeout=_TIMEOUT_S)
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
def _speaking_of(url: str) -> Iterator[None]:
    """Turn what fsspec and its services raise into errors that name the address and no secret."""
    try:
        yield
    except CineloopError as error:
        if isinstance(error, ItemError):
            raise UsageError(error.message, code=error.code) from error
        raise
    except ImportError as error:
        raise _missing(url, error) from error
    except FileNotFoundError as error:
        raise NothingMatchedError(f"nothing lies at {_named(url)}", hint="check the address") from error
    except Exception as error:  # each service has errors of its own
        raise MissingDependencyError(
            f"cannot read {_named(url)}: {_reason(error)}",
            code="REMOTE",
            hint="check the address, the network, and the credentials in the environment",
        ) from None


def _named(url: str) -> str:
    return printable(shown(url))


def _missing(url: str, error: ImportError) -> MissingDependencyError:
    return MissingDependencyError(
        f"{_named(url)} needs a package that is not installed: {error}",
        code="REMOTE",
        hint="pip install 'cineloop[remote]'",
    )


def _reason(error: Exception) -> str:
    """What an error says, without the addresses in it: those of the web can carry signatures."""
    text = re.sub(r"[A-Za-z][A-Za-z0-9+.\-]*://\S+", "(address)", str(error))
    return printable(f"{type(error).__name__}: {text}" if text else type(error).__name__, 200)


def _file(url: str, name: str, info: dict[str, Any]) -> RemoteFile:
    size = info.get("size")
    return RemoteFile(url, name, -1 if size is None else int(size), _stamp(info))


def _stamp(info: dict[str, Any]) -> int:
    for key in ("mtime", "LastModified", "updated", "last_modified", "created", "ETag", "etag", "blob_id"):
        value = info.get(key)
        if isinstance(value, datetime.datetime):
            value = value.timestamp()
        if isinstance(value, int | float):
            return int(value * 1e9)
        if value:
            return int.from_bytes(hashlib.sha256(str(value).encode()).digest()[:6], "big")
    return 0
