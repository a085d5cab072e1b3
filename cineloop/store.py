"""Output folders on object stores: journals as immutable segments, small files as objects.

In: an address such as `s3://bucket/captions`. Out: a folder on this machine with its journals and small files
(`StoredFolder`), in which a job works as in any other; what it appends to a journal there goes to the store first.

A store cannot append. What is `X/journal.jsonl` in a folder is `X/journal/000001.jsonl`, `000002.jsonl`, ... on a
store: one object for each append, the same lines, created only where no object of that name exists
(`If-None-Match: *`). Of two writers of one name one loses and takes the next number, so nothing that was written is
lost, and nothing has to be locked. Read in the order of their numbers the segments are the journal again. A request
that fails is repeated; where the first one had arrived after all, the object that exists has the same content.

fsspec is used by way of `cineloop.remote`, with credentials from where each service's own tools take them.
"""

from __future__ import annotations

import logging
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from cineloop.address import check_allowed, is_url, redact
from cineloop.errors import CineloopError, MissingDependencyError, UsageError
from cineloop.files import scratch_folder
from cineloop.journal import encode_entry
from cineloop.log import logger, plural, printable
from cineloop.remote import file_system, modified_ns, reason
from cineloop.retry import backoff_s, is_final, retry

PROTOCOLS = ("s3", "gs", "memory")
END = {"kind": "end"}  # the last entry of a writer that ended in order
_TRIES = 6
_SEGMENT = re.compile(r"(.+)/(\d{6,})\.jsonl")
_ODD = {"", ".", ".."}
_AT_ONCE = 128  # segments read at once
Result = TypeVar("Result")


def is_store(output: object) -> bool:
    """Whether an output is an address and no folder."""
    return isinstance(output, str) and is_url(output)


class Store:
    """The objects below an address. Every method raises MissingDependencyError STORE where the store does not comply.

    Args:
        url: such as `s3://bucket/captions`.

    Raises:
        UsageError: not the address of an object store, or one without a bucket. PolicyError: it holds a password.
        MissingDependencyError: the package for this protocol is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        scheme = url.split("://", 1)[0].lower()
        if scheme not in PROTOCOLS:
            raise UsageError(f"output is written to a folder, s3:// or gs://, not to {printable(redact(url))}")
        check_allowed(url, (), by_user=True)
        if not url.split("://", 1)[1].split("/")[0]:
            raise UsageError(f"{printable(url)} names no bucket", hint="such as s3://bucket/captions")
        self._fs = self._call("open", "", lambda: file_system(scheme, retries={"total_max_attempts": 1}))  # see `_call`
        self._how = {"max_concurrency": 1} if scheme == "s3" else {}  # of one object; else it asks for each size first
        self._root: str = self._fs._strip_protocol(self.url).rstrip("/")

    def find(self, folder: str) -> dict[str, dict[str, Any]]:
        """All objects below a folder: name relative to the address → fsspec's facts."""

        def ask() -> dict[str, dict[str, Any]]:
            self._fs.invalidate_cache()
            listing = self._fs.find(f"{self._root}/{folder}", detail=True)
            names = {path.removeprefix(self._root + "/"): facts for path, facts in listing.items()}
            # A key is any text, `../x` too, and a name becomes a path in the copy.
            return {name: names[name] for name in names if not _ODD.intersection(name.split("/")) and "\0" not in name}

        return self._call("list", folder, ask)

    def top(self) -> list[str]:
        """Names of the objects right below the address."""

        def ask() -> list[str]:
            try:
                listing = self._fs.ls(self._root, detail=True)
            except FileNotFoundError:  # nothing was written yet
                return []
            return [facts["name"].removeprefix(self._root + "/") for facts in listing if facts["type"] == "file"]

        return self._call("list", "", ask)

    def read(self, names: Sequence[str]) -> Iterator[bytes]:
        """The contents of objects, in their order."""

        def ask(paths: list[str]) -> list[bytes]:
            # Of fsspec's ways to read many at once the one that takes no name for a pattern.
            parts: list[bytes] = self._fs.cat_ranges(paths, None, None, on_error="raise", **self._how)
            return parts

        for i in range(0, len(names), _AT_ONCE):
            paths = [f"{self._root}/{name}" for name in names[i : i + _AT_ONCE]]
            yield from self._call("read", names[i], partial(ask, paths))

    def fetch(self, name: str, file: Path) -> None:
        """Copy an object to a file."""
        self._call("read", name, lambda: self._fs.get_file(f"{self._root}/{name}", str(file)))

    def create(self, name: str, data: bytes) -> bool:
        """Write an object that does not exist yet; False where there is another of that name."""

        def put() -> bool:
            try:
                self._fs.pipe_file(f"{self._root}/{name}", data, mode="create")
                return True
            except FileExistsError:  # also where a request arrived whose answer was lost
                return bool(self._fs.cat_file(f"{self._root}/{name}") == data)

        return self._call("write", name, put)

    def put(self, name: str, file: Path) -> None:
        """Write an object from a file, over what is there."""
        self._call("write", name, lambda: self._fs.put_file(str(file), f"{self._root}/{name}"))

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; one that is gone already is left at that."""

        def remove(name: str) -> None:
            try:
                self._fs.rm_file(f"{self._root}/{name}")
            except FileNotFoundError:
                return

        for name in names:
            self._call("delete", name, partial(remove, name))

    def check_create(self, name: str) -> None:
        """Raise MissingDependencyError where the store would overwrite an object on a request to create it."""
        self.create(name, b"first\n")
        if self.create(name, b"second\n"):
            raise MissingDependencyError(
                f"{printable(self.url)}: the store ignores If-None-Match and would write over records",
                code="STORE",
                hint="use a store with conditional writes, or a folder",
            )

    def _call(self, verb: str, name: str, work: Callable[[], Result]) -> Result:
        try:
            return retry(work, partial(backoff_s, tries=_TRIES))
        except CineloopError:
            raise
        except Exception as error:  # each service has errors of its own
            raise self._failure(verb, name, error, 1 if is_final(error) else _TRIES) from error

    def _failure(self, verb: str, name: str, error: Exception, tries: int) -> MissingDependencyError:
        place = printable(redact(f"{self.url}/{name}".rstrip("/")))
        if isinstance(error, ImportError):
            return MissingDependencyError(
                f"{place} needs a package that is not installed: {error}",
                code="REMOTE",
                hint="pip install 'cineloop[remote]'",
            )
        hint = "what was written is kept; check network, endpoint and credentials, then run the same command again"
        if isinstance(error, FileNotFoundError) and verb in ("list", "write"):
            hint = "make the bucket first, or check the address"
        elif isinstance(error, PermissionError) or "Credential" in type(error).__name__:
            hint = "check the credentials; they must allow to list, read, write and delete there"
        times = f" in {tries} tries" if tries > 1 else ""
        return MissingDependencyError(f"cannot {verb} {place}{times}: {reason(error)}", code="STORE", hint=hint)


class Segments:
    """A journal on a store, for one writer.

    Args:
        store: which.
        folder: of the segments, relative to the store's address.
        number: of the first segment to try.
    """

    def __init__(self, store: Store, folder: str, number: int = 1) -> None:
        self.store, self.folder, self.number = store, folder, number
        self.num_written = 0
        self._is_shared = False

    def add(self, lines: bytes) -> None:
        """Write the next segment.

        Raises:
            MissingDependencyError: STORE; it was not written.
        """
        while not self.store.create(f"{self.folder}/{self.number:06}.jsonl", lines):
            self.number += 1
            if not self._is_shared:
                self._is_shared = True
                place = printable(f"{self.store.url}/{self.folder}")
                logger.warning("%s: another process writes there too; each clip gets one record", place)
        self.number += 1
        self.num_written += 1

    def end(self) -> None:
        """Note that this writer ended in order."""
        if self.num_written:
            self.add(encode_entry(END))


class StoredFolder:
    """A folder on a store and its copy on this machine.

    Args:
        url: of the store's folder.
        folder: the copy, empty.
        state: subfolder of journals and of the job's small files (`*.json`, `*.yaml`).

    Attributes:
        written_at: journal in the copy → seconds since 1970 at which the store got its newest segment.
    """

    def __init__(self, url: str, folder: Path, state: str) -> None:
        self.store, self.folder, self.state = Store(url), folder, state
        self.url = printable(self.store.url)
        self.written_at: dict[Path, float] = {}
        self._segments: dict[Path, Segments] = {}
        self._stamps: dict[str, tuple[int, int]] = {}  # file as the store has it → size and date of its copy

    def pull(self, wants: Callable[[str], bool], files: Callable[[str], bool] = lambda name: False) -> None:
        """Copy from the store what the copy lacks: journals, and small files of the state folder.

        Args:
            wants: whether a journal or small file is wanted, by its path in the folder.
            files: which files at the top, by name, are wanted too.
        """
        journals: dict[str, dict[int, str]] = defaultdict(dict)
        for name in filter(files, self.store.top()):
            self.store.fetch(name, self.folder / name)
            self._stamps[name] = _stamp(self.folder / name)
        single = []
        listing = self.store.find(self.state)
        for name in sorted(listing):
            if match := _SEGMENT.fullmatch(name):
                journals[match[1]][int(match[2])] = name
            elif name.endswith(".jsonl"):  # of a folder that was uploaded: what the journal begins with
                journals[name.removesuffix(".jsonl")][0] = name
            elif name.endswith((".json", ".yaml")) and wants(name):
                single.append(name)
        for name, data in zip(single, self.store.read(single), strict=True):
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            self._stamps[name] = _stamp(path)
        for folder, segments in journals.items():
            if wants(f"{folder}.jsonl"):
                self._pull_journal(folder, segments, modified_ns(listing[segments[max(segments)]]) / 1e9)

    def _pull_journal(self, folder: str, segments: dict[int, str], written_at: float) -> None:
        path, names = self.folder / f"{folder}.jsonl", [segments[number] for number in sorted(segments)]
        self._segments[path] = Segments(self.store, folder, max(segments) + 1)
        if lost := max(segments) - len(segments.keys() - {0}):
            logger.warning("%s/%s: %s missing; their work is done again", self.url, folder, plural(lost, "segment"))
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            for name, data in zip(names, self.store.read(names), strict=True):
                if data and not data.endswith(b"\n"):
                    logger.warning("%s/%s is cut short; the work of its last line is done again", self.url, name)
                file.write(data[: data.rfind(b"\n") + 1])
        self.written_at[path] = written_at
        os.utime(path.parent, (written_at, written_at))  # by which the newest of several divisions is known

    def segments(self, journal: Path) -> Segments:
        """Where the lines of a journal of the copy are written, before they are appended to it."""
        folder = journal.relative_to(self.folder).with_suffix("").as_posix()
        return self._segments.setdefault(journal, Segments(self.store, folder))

    def address(self, path: Path) -> str:
        """The address of a file or folder of the copy."""
        return f"{self.store.url}/{path.relative_to(self.folder).as_posix()}"

    def remove(self, folder: Path) -> None:
        """Delete on the store all objects below a folder of the copy."""
        self.store.delete(self.store.find(folder.relative_to(self.folder).as_posix()))

    def push(self, files: Callable[[str], bool] = lambda name: False) -> None:
        """Copy to the store the small files that are new or changed; delete there what was removed here."""
        here = [path for path in (self.folder / self.state).rglob("*") if path.suffix in (".json", ".yaml")]
        here += [path for path in self.folder.iterdir() if path.is_file() and files(path.name)]
        stamps = {path.relative_to(self.folder).as_posix(): _stamp(path) for path in here}
        for name, stamp in stamps.items():
            if stamp != self._stamps.get(name):
                self.store.put(name, self.folder / name)
        gone = [path for path in self._segments if path in self.written_at and not path.exists()]
        for path in gone:
            self.store.delete(self.store.find(self._segments.pop(path).folder))
        self.store.delete(self._stamps.keys() - stamps.keys())
        self._stamps = stamps

    def end(self) -> None:
        """Note in the journals written here that their writer ended in order."""
        for segments in self._segments.values():
            segments.end()


@contextmanager
def stored_folder(url: str, state: str) -> Iterator[StoredFolder]:
    """A folder on a store, with an empty copy; errors and messages name the address instead of the copy.

    Raises:
        UsageError, PolicyError, MissingDependencyError: see `Store`.
    """
    with scratch_folder("cineloop-store-") as scratch:
        folder = scratch / "copy"
        folder.mkdir()
        stored = StoredFolder(url, folder, state)

        def address(text: str) -> str:
            return text.replace(str(folder), stored.url)

        def rename(record: logging.LogRecord) -> bool:
            record.msg, record.args = address(record.getMessage()), ()
            return True

        logger.addFilter(rename)
        try:
            yield stored
        except CineloopError as error:
            raise type(error)(address(error.message), code=error.code, hint=address(error.hint)) from error
        finally:
            logger.removeFilter(rename)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
