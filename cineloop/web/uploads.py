"""Uploads: files of clients under generated names, private to their owner, within a quota and for a limited time.

In: bytes as they arrive. Out: `Upload`s, and descriptors to read them by. All files lie in a private temporary folder
(TMPDIR decides where) that is removed with the store; an upload is listed once it is complete and its first bytes are
those of a video or image. The client's file name is only ever shown. Fetched videos count against the same quota.
"""

from __future__ import annotations

import re
import secrets
import tempfile
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from cineloop.errors import ItemError
from cineloop.web.faults import Fault, fault_of
from cineloop.web.incoming import IncomingFile, full, too_large

_LEAST_CHARGED = 1 << 20  # what the smallest file counts as, so that a quota bounds their number too
_LONGEST_NAME = 120  # characters


@dataclass(kw_only=True)
class Upload:
    """A file of a client; `used_s` is when it was last used, monotonic seconds; `readers` requests read it now."""

    id: str
    owner: str
    filename: str
    bytes: int
    created_at: float
    used_s: float
    readers: int = field(default=0, repr=False)

    def record(self, ttl_s: float) -> dict[str, Any]:
        """The upload as OpenAI's clients read it."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.bytes,
            "created_at": int(self.created_at),
            "expires_at": int(time.time() + self.used_s - time.monotonic() + ttl_s),
            "filename": self.filename,
            "purpose": "user_data",
            "status": "processed",
        }


class UploadStore:
    """The uploads of all owners; used from one event loop; a context manager.

    `held_bytes` is what all uploads and arriving files count against the quota. An upload is kept `ttl_s` seconds after
    it was last used.
    """

    def __init__(self, *, file_bytes: int, total_bytes: int, owner_bytes: int, ttl_s: float) -> None:
        self.file_bytes, self.total_bytes, self.owner_bytes, self.ttl_s = file_bytes, total_bytes, owner_bytes, ttl_s
        self.held_bytes = 0
        self._charged: dict[str, int] = {}  # bytes by owner
        self._known: dict[str, Upload] = {}
        self._temporary = tempfile.TemporaryDirectory(prefix="cineloop-uploads-", ignore_cleanup_errors=True)
        self.folder = Path(self._temporary.name)

    @contextmanager
    def incoming(self, owner: str, name: str) -> Iterator[IncomingFile]:
        """A file that the owner's request receives, called `name` in messages; removed at the end unless `keep` made it
        an upload. Raises Fault 507 DISK_FULL."""
        self.sweep()
        path = self.folder / f"file-{secrets.token_hex(16)}"
        file = IncomingFile(path, partial(self._charge, owner), name)
        try:
            yield file
        finally:
            file.close()
            if path.name not in self._known:
                path.unlink(missing_ok=True)
                self._charge(owner, file.size, -1)

    async def keep(self, file: IncomingFile, owner: str, filename: str) -> Upload:
        """The upload that a complete file of `incoming` becomes. Raises as `IncomingFile.seal`."""
        await file.seal()
        upload = Upload(
            id=file.path.name,
            owner=owner,
            filename=_display_name(filename),
            bytes=file.size,
            created_at=time.time(),
            used_s=time.monotonic(),
        )
        self._known[upload.id] = upload
        return upload

    def list(self, owner: str) -> list[Upload]:
        """An owner's uploads, oldest first."""
        self.sweep()
        return sorted((u for u in self._known.values() if u.owner == owner), key=lambda u: (u.created_at, u.id))

    def get(self, owner: str, upload_id: str) -> Upload:
        """An owner's upload. Raises Fault: 404 NOT_FOUND, another's included."""
        self.sweep()
        upload = self._known.get(upload_id)
        if upload is None or upload.owner != owner:
            raise _unknown()
        return upload

    def delete(self, owner: str, upload_id: str) -> None:
        """Remove an owner's upload; requests that read it continue. Raises as `get` does."""
        self._remove(self.get(owner, upload_id))

    @contextmanager
    def use(self, owner: str, upload_id: str) -> Iterator[BinaryIO]:
        """An owner's upload, open for reading; it does not expire meanwhile. Raises as `get` does."""
        upload = self.get(owner, upload_id)
        try:
            file = open(self.folder / upload.id, "rb", buffering=0)  # noqa: SIM115, closed below
        except OSError as error:
            self._remove(upload)  # the operator removed the file
            raise _unknown() from error
        upload.readers += 1
        try:
            with file:
                yield file
        finally:
            upload.readers -= 1
            upload.used_s = time.monotonic()
            if upload.id not in self._known:
                self._discharge(upload)

    def sweep(self) -> None:
        """Remove what has expired and is not in use."""
        least = time.monotonic() - self.ttl_s
        for upload in [u for u in self._known.values() if not u.readers and u.used_s < least]:
            self._remove(upload)

    def close(self) -> None:
        """Remove the folder."""
        self._temporary.cleanup()

    def __enter__(self) -> UploadStore:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _charge(self, owner: str, old: int, new: int) -> None:
        """Count a file that grew from `old` to `new` bytes, -1 for a file that does not exist. Raises Fault: 413
        TOO_LARGE for the file, 507 DISK_FULL for the quota of its owner or of all."""
        if new > self.file_bytes:
            raise too_large(self.file_bytes)
        before, after = (0 if size < 0 else max(size, _LEAST_CHARGED) for size in (old, new))
        mine = self._charged.get(owner, 0) + after - before
        if after > before and (mine > self.owner_bytes or self.held_bytes + after - before > self.total_bytes):
            raise full("the quota of uploads is used up; delete some, or wait until they expire")
        self.held_bytes += after - before
        self._charged[owner] = mine
        if not mine:
            del self._charged[owner]

    def _remove(self, upload: Upload) -> None:
        del self._known[upload.id]
        self._discharge(upload)
        with suppress(OSError):
            (self.folder / upload.id).unlink(missing_ok=True)

    def _discharge(self, upload: Upload) -> None:
        """Stop counting a removed upload, once no request reads it: until then it takes its room on the disk."""
        if not upload.readers:
            self._charge(upload.owner, upload.bytes, -1)


def _display_name(filename: str) -> str:
    """A file's own name as it may be shown: the last part of a path, printable characters, not long."""
    name = unicodedata.normalize("NFC", filename.encode("utf-8", "replace").decode())
    name = re.split(r"[/\\]", name)[-1]
    name = "".join(c for c in name if unicodedata.category(c)[0] != "C" and c not in "\u2028\u2029").strip(" .")
    stem, dot, suffix = name.rpartition(".")
    if dot and len(suffix) <= 8:
        name = stem[: _LONGEST_NAME - len(suffix) - 1] + dot + suffix
    return name[:_LONGEST_NAME] or "video"


def _unknown() -> Fault:
    return fault_of(ItemError("unknown upload; it may have expired", code="NOT_FOUND"))
