"""Uploads: files of clients under generated names, private to their owner, within a quota and for a limited time.

In: bytes as they arrive. Out: `Upload`s, and descriptors to read them by. A file stays in quarantine (`.part`) until it
is complete and its first bytes are those of a video or image. The client's file name is only ever shown. A small JSON
file beside each lets uploads survive a restart where their folder was named; leftovers of a crash are removed at the
start. Unnamed files in the folder (`scratch`) hold fetched videos, within the same quota.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import tempfile
import time
import unicodedata
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from cineloop.documents import read_json
from cineloop.errors import ItemError, MissingDependencyError, UsageError
from cineloop.files import TEMPORARY, write_atomic
from cineloop.lock import FolderLock
from cineloop.web.faults import Fault, fault_of
from cineloop.web.incoming import IncomingFile, full, too_large

_ID = re.compile(r"file-[0-9a-f]{32}", re.ASCII)
_OURS = re.compile(r"file-[0-9a-f]{32}(?:\.part|\.json)?|\.lock", re.ASCII)
_LEAST_CHARGED = 1 << 20  # what the smallest file counts as, so that a quota bounds their number too
_LONGEST_NAME = 120  # letters


@dataclass(kw_only=True)
class Upload:
    """A file of a client.

    Attributes:
        id: "file-" and 32 hexadecimal digits. owner: whose it is. filename: its own name, fit to be shown.
        bytes: its size. created_at, used_at: seconds since 1970. container: what it is by its content.
    """

    id: str
    owner: str
    filename: str
    bytes: int
    created_at: float
    used_at: float
    container: str
    _users: int = field(default=0, repr=False)
    _used: float = field(default_factory=lambda: time.monotonic(), repr=False)  # the wall clock may jump

    def record(self, ttl_s: float) -> dict[str, Any]:
        """The upload as OpenAI's clients read it."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.bytes,
            "created_at": int(self.created_at),
            "expires_at": int(self.used_at + ttl_s),
            "filename": self.filename,
            "purpose": "user_data",
            "status": "processed",
        }


class UploadStore:
    """The uploads of all owners; used from one event loop; a context manager.

    Args:
        folder: where they lie, made private (0700); None takes a temporary folder, removed at the end.
        file_bytes: largest file. total_bytes: all together. owner_bytes: of one owner.
        ttl_s: seconds an upload is kept after it was last used.

    Raises:
        UsageError: the folder holds other files, is not ours, or is used by another server.
    """

    def __init__(
        self, folder: Path | None, *, file_bytes: int, total_bytes: int, owner_bytes: int, ttl_s: float
    ) -> None:
        self.file_bytes, self.total_bytes, self.owner_bytes, self.ttl_s = file_bytes, total_bytes, owner_bytes, ttl_s
        self._held = ExitStack()
        self._charged: dict[str, int] = {}  # bytes by owner, those on their way included
        self._known: dict[str, Upload] = {}
        if folder is None:
            self.folder = Path(tempfile.mkdtemp(prefix="cineloop-uploads-"))
            self._held.callback(shutil.rmtree, self.folder, ignore_errors=True)
        else:
            self.folder = _private(Path(folder))
        self._held.enter_context(FolderLock(self.folder / ".lock"))
        self._restore()

    @asynccontextmanager
    async def begin(self, owner: str, filename: str) -> AsyncIterator[UploadWriter]:
        """Take an upload: `await writer.write(data)`, then `await writer.finish()`; without that nothing is left."""
        self.sweep()
        writer = UploadWriter(self, owner, _shown(filename), self.new_part())
        try:
            yield writer
        finally:
            writer.discard()

    def list(self, owner: str) -> list[Upload]:
        """An owner's uploads, oldest first."""
        self.sweep()
        return sorted((u for u in self._known.values() if u.owner == owner), key=lambda u: (u.created_at, u.id))

    def get(self, owner: str, upload_id: str) -> Upload:
        """An owner's upload.

        Raises:
            Fault: 404 NOT_FOUND, another's included.
        """
        self.sweep()
        found = self._known.get(upload_id)
        if found is None or found.owner != owner:
            raise _unknown()
        return found

    def delete(self, owner: str, upload_id: str) -> None:
        """Remove an owner's upload; requests that read it go on. Raises as `get` does."""
        self._remove(self.get(owner, upload_id))

    @contextmanager
    def use(self, owner: str, upload_id: str) -> Iterator[BinaryIO]:
        """An owner's upload, open for reading; it does not expire meanwhile. Raises as `get` does."""
        upload = self.get(owner, upload_id)
        try:
            file = open(self.folder / upload.id, "rb", buffering=0)  # noqa: SIM115, closed below
        except OSError as error:
            self._remove(upload)  # somebody removed it
            raise _unknown() from error
        upload._users += 1
        try:
            with file:
                yield file
        finally:
            upload._users -= 1
            if upload.id in self._known:
                self._touch(upload)
            else:
                self._discharge(upload)

    @contextmanager
    def scratch(self, owner: str, name: str) -> Iterator[IncomingFile]:
        """A temporary file that counts as the owner's; `name` is what messages call the video."""
        make = partial(tempfile.TemporaryFile, dir=self.folder, prefix=TEMPORARY)
        file = IncomingFile(make, partial(self.charge, owner), name)
        try:
            yield file
        finally:
            file.close()

    def sweep(self) -> None:
        """Remove what has expired and is not in use."""
        now = time.monotonic()
        for upload in [u for u in self._known.values() if not u._users and now - u._used > self.ttl_s]:
            self._remove(upload)

    def close(self) -> None:
        """Let the folder go; a temporary one is removed."""
        self._held.close()

    def __enter__(self) -> UploadStore:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def held_bytes(self) -> int:
        """What all uploads and what is being fetched count against the quota."""
        return sum(self._charged.values())

    def charge(self, owner: str, old: int, new: int) -> None:
        """Count a file that grew from `old` to `new` bytes, -1 for one that is not there.

        Raises:
            Fault: 413 TOO_LARGE for the file, 507 DISK_FULL for the quota of its owner or of all.
        """
        if new > self.file_bytes:
            raise too_large(self.file_bytes)
        more = _charged(new) - _charged(old)
        if more > 0:
            mine = self._charged.get(owner, 0) + more
            if mine > self.owner_bytes or self.held_bytes + more > self.total_bytes:
                raise full("the quota of uploads is used up; delete some, or wait until they expire")
        self._charged[owner] = self._charged.get(owner, 0) + more
        if self._charged[owner] <= 0:
            del self._charged[owner]

    def admit(self, owner: str, filename: str, size: int, container: str, part: Path) -> Upload:
        """Take a whole and checked file out of quarantine."""
        now = time.time()
        upload = Upload(
            id=part.stem,
            owner=owner,
            filename=filename,
            bytes=size,
            created_at=now,
            used_at=now,
            container=container,
        )
        try:
            self._write_record(upload)
            os.replace(part, self.folder / upload.id)
        except (MissingDependencyError, OSError) as error:
            with suppress(OSError):
                self._record(upload.id).unlink(missing_ok=True)
            raise full("the server's disk is full") from error
        self._known[upload.id] = upload
        return upload

    def new_part(self) -> Path:
        """Where the next upload is in quarantine; nobody can guess the name."""
        return self.folder / f"file-{secrets.token_hex(16)}.part"

    def _touch(self, upload: Upload) -> None:
        upload.used_at, upload._used = time.time(), time.monotonic()
        with suppress(OSError):
            os.utime(self._record(upload.id))  # not of the file: a decoder takes that for a change

    def _remove(self, upload: Upload) -> None:
        if self._known.pop(upload.id, None) is not None:
            self._discharge(upload)
        for path in (self._record(upload.id), self.folder / upload.id):
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _discharge(self, upload: Upload) -> None:
        """Count a removed upload no more, once nobody reads it: until then it takes its room on the disk."""
        if not upload._users:
            self.charge(upload.owner, upload.bytes, -1)

    def _record(self, upload_id: str) -> Path:
        return self.folder / f"{upload_id}.json"

    def _write_record(self, upload: Upload) -> None:
        kept = {name: value for name, value in asdict(upload).items() if not name.startswith("_")}
        write_atomic(self._record(upload.id), json.dumps(kept).encode(), durable=False)

    def _restore(self) -> None:
        """Take up what is whole; remove what a crash left."""
        now = time.time()
        for path in list(self.folder.iterdir()):
            if _ID.fullmatch(path.name) and (upload := self._read_record(path)) is not None:
                upload._used -= max(0.0, now - upload.used_at)
                self._known[upload.id] = upload
                self._charged[upload.owner] = self._charged.get(upload.owner, 0) + _charged(upload.bytes)
        for path in list(self.folder.iterdir()):
            if path.name != ".lock" and path.name.removesuffix(".json") not in self._known:
                path.unlink(missing_ok=True)
        self.sweep()

    def _read_record(self, path: Path) -> Upload | None:
        """What is known of a file; None for one that is not whole."""
        record = self._record(path.name)
        try:
            upload = Upload(**read_json(record))
            upload.used_at = record.stat().st_mtime
            is_whole = upload.id == path.name and path.stat().st_size == upload.bytes and not path.is_symlink()
        except (OSError, ValueError, TypeError):
            return None
        return upload if is_whole else None


class UploadWriter(IncomingFile):
    """An upload in quarantine."""

    def __init__(self, store: UploadStore, owner: str, filename: str, part: Path) -> None:
        super().__init__(lambda: open(part, "xb"), partial(store.charge, owner), "the file")
        self._store, self._owner, self._filename = store, owner, filename
        self._part: Path | None = part

    async def finish(self) -> Upload:
        """The upload, checked and in its place. Raises as `IncomingFile.seal`."""
        await self.seal()
        if self._part is None:
            raise RuntimeError("an upload is finished once, within its context")
        upload = self._store.admit(self._owner, self._filename, self.size, self.container, self._part)
        self._part = None
        self.close(keep=True)
        return upload

    def discard(self) -> None:
        """Remove what was not finished."""
        if self._part is not None:
            self.close()
            self._part.unlink(missing_ok=True)
            self._part = None


def _private(folder: Path) -> Path:
    """The operator's folder for uploads, open to no other user."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.geteuid():  # its owner could open it again, also where root may change it
            raise UsageError(f"uploads: {folder} belongs to another user")
        strange = [p.name for p in folder.iterdir() if not _OURS.fullmatch(p.name) and TEMPORARY not in p.name]
        if strange:
            raise UsageError(
                f"uploads: {folder} contains other files, such as {strange[0]!r}", hint="name an empty or a new folder"
            )
        folder.chmod(0o700)
    except OSError as error:
        raise UsageError(f"uploads: {folder} cannot be used: {error.strerror}") from error
    return folder


def _charged(size: int) -> int:
    return 0 if size < 0 else max(size, _LEAST_CHARGED)


def _shown(filename: str) -> str:
    """A file's own name as it may be shown and offered: the last part of a path, letters that print, not long."""
    name = unicodedata.normalize("NFC", filename.encode("utf-8", "replace").decode())
    name = re.split(r"[/\\]", name)[-1]
    name = "".join(c for c in name if unicodedata.category(c)[0] != "C" and c not in "\u2028\u2029").strip(" .")
    stem, dot, suffix = name.rpartition(".")
    if dot and len(suffix) <= 8:
        name = stem[: _LONGEST_NAME - len(suffix) - 1] + dot + suffix
    return name[:_LONGEST_NAME] or "video"


def _unknown() -> Fault:
    return fault_of(ItemError("unknown upload; it may have expired", code="NOT_FOUND"))
