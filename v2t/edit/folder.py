"""The output folder of a captioning run, opened for edits.

In: edits with the revisions that their clips had. Out: journal entries, then the run's sidecars; or a `Conflict`. The
folder is locked as by a run, so a run and an editor exclude each other. A `.txt` that somebody wrote meanwhile is
imported first, as the run does, and is then what an edit conflicts with. One thread at a time.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from cineloop.clip import Clip
from cineloop.documents import read_json
from cineloop.errors import NothingMatchedError
from cineloop.files import text_key
from cineloop.log import printable
from cineloop.manifest import REJECTED
from v2t import writers
from v2t.caption import shards
from v2t.caption.ledger import BY_HAND
from v2t.caption.outputs import CaptionFolder
from v2t.edit.edits import ACCEPTED, Edit, captions_of
from v2t.edit.history import REDO, UNDO, EditLedger, EditStep
from v2t.writers import Record


class Conflict(Exception):
    """Clips changed since the client read them: `ids`. Nothing was written."""

    def __init__(self, ids: Sequence[str]) -> None:
        super().__init__(f"{len(ids)} clips changed meanwhile")
        self.ids = list(ids)


class EditFolder(CaptionFolder):
    """An output folder that people edit; see `CaptionFolder`. The formats are those that the run wrote.

    Raises (on entering):
        UsageError: LOCKED, a run or another editor holds the folder; UNMERGED, it has shards.
        NothingMatchedError: it holds no captions.
    """

    ledger_class = EditLedger
    ledger: EditLedger

    def __init__(self, folder: Path) -> None:
        state = folder / shards.STATE_FOLDER
        if not (state / shards.JOURNAL).is_file():
            text = f"{printable(str(folder))} is no output folder of v2t caption"
            raise NothingMatchedError(text, hint="v2t caption CLIPS -o DIR makes one")
        try:
            names = read_json(state / "sets.json")
        except (FileNotFoundError, ValueError):
            names = {}
        super().__init__(folder, sorted(writers.load_known(names)))

    def _open(self, stack: ExitStack) -> None:
        super()._open(stack)
        self.clip_writers |= self._earlier_writers  # a failed clip that gets a caption gets these files too
        if not self.ledger.known:
            raise NothingMatchedError(f"{printable(str(self.path))} holds no captions", hint="run v2t caption first")

    # ---- reading

    def rows(self, ids: Sequence[str]) -> Iterator[dict[str, Any]]:
        """What the page shows of each clip, as JSON values."""
        for clip_id in ids:
            record = self.ledger.record(clip_id)
            yield {
                "id": clip_id,
                "revision": self.ledger.revision(clip_id),
                "status": record["status"],
                "captions": captions_of(record),
                "review": record.get("review", ""),
                "tags": record.get("tags") or [],
                "edited": bool(record.get("edited")),
                "seen": clip_id in self.ledger.seen,
                "warnings": record.get("warnings") or [],
                "error": record.get("error"),
                "duration_s": record.get("duration_s"),
            }

    # ---- writing

    def apply(self, edits: Sequence[Edit], *, by: str, action: str) -> EditStep | None:
        """Make edits in one step; None where they change nothing.

        Raises:
            Conflict: some clips have another revision; nothing was written.
            MissingDependencyError: DISK_FULL; nothing was written.
        """
        self.import_edits(edit.id for edit in edits)
        if changed := [edit.id for edit in edits if self.ledger.revision(edit.id) != edit.revision]:
            raise Conflict(changed)
        rows = []
        for edit in edits:
            old, known = self.ledger.record(edit.id), self.ledger.known[edit.id]
            new = edit.apply(old)
            if new == old:
                continue
            is_judged = new.get("review") in (ACCEPTED, REJECTED)
            by_hand = known.by_hand or is_judged or new.get("caption") != old.get("caption")
            by_hand = by_hand or captions_of(new) != captions_of(old)
            rows.append((_clip(new), new, BY_HAND if by_hand else known.settings, known.source))
        return self._step(rows, by=by, action=action)

    def revert(self, *, by: str, redo: bool = False) -> tuple[EditStep | None, EditStep | None, list[str]]:
        """Take back a person's last step, or with `redo` the last undo: that step, the new step, and ids of its clips
        that changed since, which stay as they are. A step all of whose clips changed is left, and not tried again."""
        last = self.ledger.last_step(by, redo=redo)
        if last is None:
            return None, None, []
        self.import_edits(last.revisions)
        rows, left = [], []
        for clip_id, revision in last.revisions.items():
            if not self.ledger.is_current(clip_id, revision):
                left.append(clip_id)
                continue
            entry = self.ledger.before(clip_id, revision)
            source = self.ledger.known[clip_id].source
            rows.append((_clip(entry["record"]), entry["record"], entry["settings"], source))
        if not rows:
            self.ledger.undone.add(last.step)
            return last, None, left
        return last, self._step(rows, by=by, action=REDO if redo else UNDO, undoes=last.step), left

    def _remove_sidecars(self, clip_id: str) -> None:
        """Those of a clip whose caption was taken back or rejected; a file that somebody changed stays."""
        known = self.ledger.known[clip_id]
        for relative in known.files.values():
            path = Path(self._path(relative))
            with suppress(FileNotFoundError):
                if text_key(path.read_bytes()) in known.keys:
                    path.unlink()

    def see(self, ids: Sequence[str], *, by: str) -> None:
        """Note that a person has looked at clips."""
        if new := [clip_id for clip_id in ids if clip_id not in self.ledger.seen]:
            self.ledger.append([{"kind": "seen", "at": round(time.time(), 3), "by": by, "ids": new}])

    def _step(self, rows: list[Any], *, by: str, action: str, **more: str) -> EditStep | None:
        if not rows:
            return None
        step = uuid.uuid4().hex[:16]
        self._save(rows, {"edit": {"step": step, "by": by, "action": action, **more}})
        for clip, _, _, _ in rows:
            if self.ledger.known[clip.id].status != "ok":
                self._remove_sidecars(clip.id)
        return self.ledger.steps[step]

    def write_sets(self) -> None:
        """Write the run-wide formats whose records have changed, but for those that copy videos: they wait for the
        end."""
        self._sets.write(during=True)


def _clip(record: Record) -> Clip:
    return Clip(record["id"], record["path"], "", start_s=record.get("start_s"), end_s=record.get("end_s"))
