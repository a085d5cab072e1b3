"""Decoding of files that lie elsewhere: each is fetched into a bounded folder first, then decoded as any other.

In: addresses or paths, and the pool of decoders. Out: futures, as from the pool itself. Files stay while somebody
decodes them, and after that until the room is needed: a long film is asked for window by window. The folder goes with
the `with` block; one that a killed run left is removed by the next.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cineloop.address import is_url, shown, url_path
from cineloop.errors import ItemError
from cineloop.remote import fetch, size_of

CACHE_GB = 8.0
_PREFIX = "v2t-remote-"
_UNKNOWN_PART = 4  # a file whose size nobody tells may take this part of the room, so that several can come at once


@dataclass
class _Held:
    """A file in the folder, or on its way there."""

    path: Path
    size: int  # bytes it takes, or may come to take
    users: int = 1
    ready: bool = False


class Cache:
    """A folder of fetched files; a context manager; `local` may be called from any thread.

    Args:
        max_bytes: of all files together, and so of one (a quarter of it where the size is not told).
        folder: where to make it; the system's folder for temporary files when None.
    """

    def __init__(self, max_bytes: int, folder: Path | None = None) -> None:
        self.max_bytes = max_bytes
        self._parent = Path(folder or tempfile.gettempdir())
        self._held: dict[str, _Held] = {}  # in the order of last use
        self._changed = threading.Condition()
        self._closing = False

    def __enter__(self) -> Cache:
        _remove_orphans(self._parent)
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._parent))
        self._lock = _lock(self.folder)
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    def close(self) -> None:
        """Give up what is on its way; whoever waits gets an ItemError."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    @contextlib.contextmanager
    def local(self, url: str, size: int = -1) -> Iterator[Path]:
        """A local copy of the file at `url`, there for the length of the block; blocks while there is no room.

        Args:
            url: an address that was allowed.
            size: its bytes, -1 when unknown.

        Raises:
            ItemError: NOT_FOUND, UNREADABLE, TOO_LARGE, FETCH_FAILED. MissingDependencyError: as `remote.fetch`.
        """
        if size < 0 and url not in self._held:
            size = size_of(url)
        held, mine = self._take(url, size)
        try:
            if mine:
                held.size = fetch(url, held.path, size=size, max_bytes=held.size, stopped=lambda: self._closing)
                with self._changed:
                    held.ready = True
                    self._changed.notify_all()
            yield held.path
        finally:
            with self._changed:
                held.users -= 1
                if not held.ready and mine:
                    self._drop(url)
                self._changed.notify_all()

    def _take(self, url: str, size: int) -> tuple[_Held, bool]:
        """The file with one more user, and whether it is for the caller to fetch it."""
        room = size if size >= 0 else self.max_bytes // _UNKNOWN_PART
        if room > self.max_bytes:
            raise ItemError(
                f"{room} bytes are more than the folder for fetched files may hold ({self.max_bytes})",
                code="TOO_LARGE",
                hint="raise remote_cache_gb",
            )
        with self._changed:
            while not self._closing:
                held = self._held.get(url)
                if held is not None and held.ready:
                    held.users += 1
                    self._held[url] = self._held.pop(url)
                    return held, False
                if held is None and self._make_room(room):
                    name = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:24]
                    held = _Held(self.folder / (name + os.path.splitext(url_path(url))[1][:16]), room)
                    self._held[url] = held
                    return held, True
                self._changed.wait()
        raise ItemError("stopped before it was fetched", code="FETCH_FAILED", hint="run again")

    def _make_room(self, room: int) -> bool:
        for url, held in list(self._held.items()):
            if sum(other.size for other in self._held.values()) + room <= self.max_bytes:
                break
            if not held.users:
                self._drop(url)
        return sum(held.size for held in self._held.values()) + room <= self.max_bytes

    def _drop(self, url: str) -> None:
        self._held.pop(url).path.unlink(missing_ok=True)


class Fetching:
    """A pool of decoders that takes addresses too; a context manager that closes before the pool does.

    Args:
        pool: where to decode; its methods take a path first and return a future, or a value.
        cache: where to fetch to, opened.
        threads: files that are fetched or decoded at once, >= 1.
        sizes: bytes of what is known, by address.
    """

    def __init__(self, pool: Any, cache: Cache, threads: int, sizes: dict[str, int]) -> None:
        self._pool, self._cache, self._sizes = pool, cache, sizes
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="fetch")

    def submit(self, path: str, *rest: Any) -> Future[Any]:
        """As `DecoderPool.submit`."""
        return self._after_fetch(lambda local: self._pool.submit(local, *rest).result(), path)

    def cuts(self, path: str, *rest: Any) -> Any:
        """As `DecoderPool.cuts`; blocks."""
        return self._after_fetch(lambda local: self._pool.cuts(local, *rest), path).result()

    def probe(self, path: str) -> Any:
        """As `DecoderPool.probe`; blocks."""
        return self._after_fetch(self._pool.probe, path).result()

    def __enter__(self) -> Fetching:
        return self

    def __exit__(self, *exc: object) -> None:
        self._cache.close()
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._pool.close()  # whoever waits for a decoder is let go
        self._executor.shutdown(wait=True)

    def _after_fetch(self, work: Callable[[Any], Any], path: str) -> Future[Any]:
        def run() -> Any:
            if not is_url(path):
                return work(path)
            with self._cache.local(path, self._sizes.get(path, -1)) as local:
                try:
                    return work(local)
                except ItemError as error:  # it speaks of the copy, whose name says nothing to anybody
                    message = error.message.replace(str(local), shown(path))
                    raise ItemError(message, code=error.code, hint=error.hint) from error

        return self._executor.submit(run)


def _lock(folder: Path) -> int:
    """A handle that holds the folder for this process: the kernel lets go of it when the process dies."""
    import fcntl

    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def _remove_orphans(parent: Path) -> None:
    import fcntl

    for folder in parent.glob(_PREFIX + "*"):
        with contextlib.suppress(OSError):  # somebody else's, in use, or just made and not locked yet
            handle = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)
