"""When the sidecars of an output folder were last compared with its journal: what has not changed is not read again.

In: the folder's lock and journal. Out: `.v2t/checked.json` with the time of the last comparison by the file system's
clock, the bytes of the journal then, and the identity of the state folder. A file system itself dates the last change
of an inode (ctime), so an edit is seen even where its author puts the file's own date back. A folder that was copied
has another identity, and its files are read once; likewise where the clock was set back.
"""

from __future__ import annotations

import json
import os

from cineloop.documents import read_json
from cineloop.files import write_atomic
from cineloop.journal import Journal
from cineloop.lock import FolderLock
from v2t.caption.ledger import ClipState

NAME = "checked.json"
_WORTH = 1000  # files; reading fewer again takes milliseconds, and a run that finds nothing to do writes nothing
_MARGIN_NS = 2_000_000_000  # the coarsest dates that file systems keep


class SidecarChecks:
    """The comparison that begins now, and what earlier ones spare it."""

    def __init__(self, lock: FolderLock, journal: Journal) -> None:
        lock.beat()
        self._path, self._journal, self._num_read = lock.path.parent / NAME, journal, 0
        self._now_ns = os.stat(lock.path).st_ctime_ns
        place = os.stat(lock.path.parent)
        self._place = [place.st_dev, place.st_ino]
        self._until_ns, self._until_byte = 0, 0
        try:
            last = read_json(self._path)
            is_here, at_ns, num_bytes = last["place"] == self._place, last["at_ns"], last["journal"]
        except (FileNotFoundError, ValueError, TypeError, KeyError):  # none yet, or a power cut left half of one
            return
        if is_here and at_ns <= self._now_ns and num_bytes <= os.path.getsize(journal.path):
            self._until_ns, self._until_byte = at_ns, num_bytes

    def is_as_known(self, known: ClipState, path: str) -> bool:
        """Whether a sidecar holds what the journal says without a look into it."""
        if known.journal is None and known.place[0] < self._until_byte:
            try:
                status = os.stat(path)
            except OSError:
                return False
            if max(status.st_ctime_ns, status.st_mtime_ns) < self._until_ns:
                return True
        self._num_read += 1
        return False

    def save(self) -> None:
        """Note that this comparison is finished; every sidecar that it found wrong was written."""
        if self._num_read >= _WORTH:
            row = {"place": self._place, "at_ns": self._now_ns - _MARGIN_NS}
            row["journal"] = os.path.getsize(self._journal.path)
            write_atomic(self._path, json.dumps(row).encode(), durable=False)
