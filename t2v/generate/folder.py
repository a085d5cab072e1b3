"""The folder of a run: clips, their manifest, and a journal that says what is finished and with which settings.

In: finished clips and failures. Out: `clips/NAME.mp4`, `manifest.jsonl` (one row a clip, added as it is finished),
`failures.jsonl`, `run.json`, `config.yaml`. A clip counts once its file is in place and its row is in the journal
(`.cineloop/generate.jsonl`, flushed to disk), so a killed run loses at most the clips in hand. Its entries: `plan`
(ids in the order they were asked for), `batches` (which clips are made together, of at most how many), `clip` (row, key
of all that decides over it, size of the file), `failed`.
"""

from __future__ import annotations

import os
from collections.abc import Container, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cineloop.cluster import journals
from cineloop.files import sweep, unescape_name, write_atomic
from cineloop.journal import Entry, Journal
from cineloop.manifest import dump_line, write_manifest
from cineloop.run_folder import RunFolder, refuse_existing
from t2v.generate.prompts import PlannedClip

JOURNAL = "generate.jsonl"
CLIPS = "clips"
MANIFEST, FAILURES = "manifest.jsonl", "failures.jsonl"
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Done:
    key: str
    decides: Row  # what the key was made of
    size: int  # bytes of the file
    row: Row


class ClipFolder(RunFolder):
    """The open folder of a run of `t2v generate`; a context manager. `writable=False` only looks, and makes nothing.

    Raises (on entering):
        UsageError: EXISTS, the folder holds a manifest of something else; LOCKED, another run is at work in it.
        MissingDependencyError: OUTPUT_FOLDER, it cannot be written.
    """

    def __init__(self, path: Path, *, writable: bool = True) -> None:
        super().__init__(path, journal=JOURNAL, writable=writable)
        self._done: dict[str, _Done] = {}
        self._failed: dict[str, Row] = {}
        self._order: dict[str, None] = {}
        self._batches: dict[str, tuple[int, tuple[str, ...]]] = {}  # id: batch size, ids that are made together

    def _open(self, stack: ExitStack) -> None:
        if not (self.state / JOURNAL).exists():
            refuse_existing([self.path / MANIFEST], hint="it is not of `t2v generate`: choose another -o")
        if self.writable:
            (self.path / CLIPS).mkdir(exist_ok=True)
            sweep(self.path)
            for half in (self.path / CLIPS).glob(".*.tmp.mp4"):  # what a killed run left of `encode`
                half.unlink(missing_ok=True)
        super()._open(stack)
        for entry in self.replay():
            self._learn(entry)
        if self.writable:
            self._fold()

    def _learn(self, entry: Entry) -> None:
        if entry["kind"] == "plan":
            self._order |= dict.fromkeys(entry["ids"])
        elif entry["kind"] == "batches":
            for ids in entry["batches"]:
                self._batches |= dict.fromkeys(ids, (entry["size"], tuple(ids)))
        elif entry["kind"] == "clip":
            row = entry["row"]
            self._done[row["id"]] = _Done(key=entry["key"], decides=entry["decides"], size=entry["size"], row=row)
            self._failed.pop(row["id"], None)
        elif entry["kind"] == "failed":
            self._failed[entry["row"]["id"]] = entry["row"]

    def _note(self, entry: Entry) -> None:
        self.append([entry])
        self._learn(entry)

    # --- what is there
    def plan(self, clips: Sequence[PlannedClip]) -> None:
        """Note the order of clips that are new here, and write the manifest of what is finished."""
        new = [clip.id for clip in clips if clip.id not in self._order]
        if new:
            self._note({"kind": "plan", "ids": new})
        self.write_tables()

    def batches(self, clips: Sequence[PlannedClip], todo: Container[str], size: int) -> list[list[PlannedClip]]:
        """Batches of at most `size` that hold every clip whose id is in `todo`.

        A clip comes in the batch that it was first planned in, finished neighbours included: its last bits depend on
        them, and so a run that was stopped and goes on makes the clips that it would have made. Clips get a new batch
        where they have none, or `size` is another, or a neighbour is not among `clips` any more.
        """
        asked = {clip.id: clip for clip in clips}
        made: dict[str, list[PlannedClip]] = {}  # by the first clip of the batch that is to do
        new: list[PlannedClip] = []
        seen: set[str] = set()
        for clip in clips:
            if clip.id not in todo or clip.id in seen:
                continue
            planned_size, ids = self._batches.get(clip.id, (0, ()))
            batch = [asked[id] for id in ids if id in asked]
            if planned_size == size and len(batch) == len(ids) and _fit(batch):
                made[clip.id] = batch
                seen.update(ids)
                continue
            if new and not (len(new) < size and _fit([*new, clip])):
                made[new[0].id], new = new, []
            new.append(clip)
        if new:
            made[new[0].id] = new
        order = {clip.id: place for place, clip in enumerate(clips)}
        batches = [made[id] for id in sorted(made, key=order.__getitem__)]
        planned = [[clip.id for clip in batch] for batch in batches]
        if any(self._batches.get(ids[0]) != (size, tuple(ids)) for ids in planned):
            self._note({"kind": "batches", "size": size, "batches": planned})
        return batches

    def is_finished(self, clip: PlannedClip, key: str) -> bool:
        """Whether the clip was made, with these settings, and its file is there, whole."""
        done = self._done.get(clip.id)
        return done is not None and done.key == key and self._has_file(done)

    def other_settings(self, clip: PlannedClip, key: str) -> Row | None:
        """What the clip's file was made with, where that was something else; None where there is no such file."""
        done = self._done.get(clip.id)
        return done.decides if done is not None and done.key != key and self._has_file(done) else None

    def _has_file(self, done: _Done) -> bool:
        try:
            return os.stat(self.path / done.row["path"]).st_size == done.size
        except OSError:
            return False

    def rows(self) -> list[Row]:
        """Rows of all finished clips whose files are there, in the order they were asked for."""
        return [done.row for id in self._order if (done := self._done.get(id)) is not None and self._has_file(done)]

    def failures(self) -> list[Row]:
        """Rows of the clips that failed at their last try, in the same order."""
        return [self._failed[id] for id in self._order if id in self._failed]

    # --- what is new
    def add(self, entry: Entry) -> None:
        """Note a clip whose file is in place: an entry of kind `clip`."""
        row = entry["row"]
        before = self._done.get(row["id"])
        self._note(entry)
        if before is None:  # one write of one line; the order is put right at the end
            with open(self.path / MANIFEST, "ab", buffering=0) as manifest:
                manifest.write(dump_line(row))
        else:
            if before.row["path"] != row["path"]:  # an earlier version named files otherwise
                (self.path / unescape_name(before.row["path"])).unlink(missing_ok=True)
            self.write_tables()

    def _fold(self) -> None:
        """Take over what the workers of a run on a cluster had made when it died."""
        for path in journals.journals(self.state):
            with Journal(path, writable=False) as journal:
                for entry, _ in journal.replay():
                    if entry["kind"] == "clip":
                        known = self._done.get(entry["row"]["id"])
                        if known is None or known.key != entry["key"]:
                            self._note(entry)
        journals.remove(self.state)

    def add_failure(self, row: Row) -> None:
        """Note that a clip could not be made."""
        self._note({"kind": "failed", "row": row})
        self._write_failures()

    def write_tables(self) -> None:
        """Rewrite manifest and failures in order."""
        write_manifest(self.rows(), self.path / MANIFEST)
        self._write_failures()

    def _write_failures(self) -> None:
        path, rows = self.path / FAILURES, self.failures()
        if rows:
            write_atomic(path, b"".join(dump_line(row) for row in rows))
        else:
            path.unlink(missing_ok=True)


def _fit(batch: Sequence[PlannedClip]) -> bool:
    """Whether clips can be made together: all with the same first frame, or none."""
    return len({clip.request.image for clip in batch}) == 1
