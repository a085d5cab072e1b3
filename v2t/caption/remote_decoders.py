"""Decoding of remote files: each is copied into a temporary folder first, then decoded as any other.

In: addresses or paths, and the decoder pool. Out: futures, as from the pool itself. At most `threads` files are in
flight at once; a file is kept while its windows are decoded, and after that until its space is needed.
The folder is removed with the `with` block; one left by a killed run is removed by the next.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cineloop.address import is_url, redact, url_path
from cineloop.errors import ItemError
from cineloop.files import scratch_folder
from cineloop.remote import fetch


@dataclass
class _Copy:
    """A file in the folder, or being fetched; the holder of `fetching` fetches it, the others wait."""

    path: Path
    users: int = 0
    fetching: threading.Lock = field(default_factory=threading.Lock)


class RemoteDecoders:
    """A decoder pool that takes addresses too; a context manager that closes before the pool does.

    Args:
        pool: decodes; its methods take a path first and return a future, or a value.
    """

    def __init__(self, pool: Any, threads: int, max_bytes: int, folder: Path | None = None) -> None:
        self._pool, self._threads, self._max_bytes = pool, threads, max_bytes
        self.num_workers = pool.num_workers
        self._parent = folder
        self._copies: dict[str, _Copy] = {}  # in the order of last use
        self._lock = threading.Lock()
        self._closing = False
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="fetch")
        self._stack = contextlib.ExitStack()

    def submit(self, path: str, *rest: Any) -> Future[Any]:
        return self._after_fetch(lambda local: self._pool.submit(local, *rest).result(), path)

    def cuts(self, path: str, *rest: Any) -> Any:
        return self._after_fetch(lambda local: self._pool.cuts(local, *rest), path).result()

    def probe(self, path: str) -> Any:
        return self._after_fetch(self._pool.probe, path).result()

    def __enter__(self) -> RemoteDecoders:
        self.folder = self._stack.enter_context(scratch_folder("v2t-remote-", self._parent))
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing = True
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._pool.close()  # callers waiting for a decoder are released
        self._executor.shutdown(wait=True)
        self._stack.close()

    def _after_fetch(self, work: Callable[[Any], Any], path: str) -> Future[Any]:
        def run() -> Any:
            if not is_url(path):
                return work(path)
            with self._local(path) as local:
                try:
                    return work(local)
                except ItemError as error:  # its message names the copy, which means nothing to the user
                    message = error.message.replace(local.name, redact(path))
                    raise ItemError(message, code=error.code, hint=error.hint) from error

        return self._executor.submit(run)

    @contextlib.contextmanager
    def _local(self, url: str) -> Iterator[Path]:
        """A local copy of the file at `url` for the length of the block; raises as `remote.fetch`."""
        with self._lock:
            name = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:24]
            copy = self._copies.pop(url, None) or _Copy(self.folder / (name + os.path.splitext(url_path(url))[1][:16]))
            self._copies[url] = copy
            copy.users += 1
            unused = [url for url, copy in self._copies.items() if not copy.users]
            for old in unused[: max(0, len(self._copies) - self._threads)]:
                self._copies.pop(old).path.unlink(missing_ok=True)
        try:
            with copy.fetching:
                if not copy.path.exists():
                    fetch(url, copy.path, max_bytes=self._max_bytes, stopped=lambda: self._closing)
            yield copy.path
        finally:
            with self._lock:
                copy.users -= 1
