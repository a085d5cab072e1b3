"""The output folder of a captioning run: journal, records, sidecars, and the care that a person's edits need.

In: records of finished clips. Out: `DIR/a/b.txt` beside the mirrored path, `DIR/captions.jsonl`, and `DIR/.v2t` with
the journal, the lock and the run's papers. The journal is the truth: a record is in it, flushed, before any other file
is written, and whatever else is missing or stale is made again from it when the folder is next opened. A file that
holds something we never wrote was edited by a person: its text is taken over into the journal and the file is left.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from v2t.base import plugin
from v2t.base.errors import MissingDependencyError, PolicyError
from v2t.base.files import sweep, text_key, unescape_name, write_atomic
from v2t.base.journal import Journal
from v2t.base.lock import FolderLock
from v2t.base.log import logger, printable
from v2t.caption.inputs import Clip
from v2t.caption.ledger import BY_HAND, Known, Ledger, Record, clip_entry, source_of

STATE_FOLDER = ".v2t"


class CaptionFolder:
    """An output folder, opened for one run. A context manager.

    Args:
        folder: made when absent (not when `writable` is False).
        formats: names of writers.
        writable: False looks without locking or touching anything (`--dry-run`).

    Raises:
        UsageError: an unknown format; another run holds the folder; a hand-edited file cannot be read.
        MissingDependencyError: the folder cannot be written, or the disk is full.
    """

    def __init__(self, folder: Path, formats: Sequence[str], *, writable: bool = True) -> None:
        writers = {name: plugin.load("v2t.writers", name, "render") for name in dict.fromkeys(formats)}
        self.folder = folder
        self.writable = writable
        self.clip_writers: dict[str, ModuleType] = {n: w for n, w in writers.items() if hasattr(w, "SUFFIX")}
        self.set_writers: dict[str, ModuleType] = {n: w for n, w in writers.items() if hasattr(w, "FILE_NAME")}
        self._safe: set[Path] = set()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> CaptionFolder:
        state = self.folder / STATE_FOLDER
        with contextlib.ExitStack() as stack:
            try:
                if self.writable:
                    state.mkdir(parents=True, exist_ok=True)
                    self.lock = stack.enter_context(FolderLock(state / "lock"))
                journal = stack.enter_context(Journal(state / "journal.jsonl", writable=self.writable))
            except OSError as error:
                raise MissingDependencyError(
                    f"cannot use the output folder {printable(str(self.folder))}: {error.strerror}",
                    code="OUTPUT_FOLDER",
                    hint="choose another -o",
                ) from error
            self.ledger = Ledger(journal)
            if self.writable:
                for place in {state, self.folder, *(self.folder / unescape_name(p) for p in self.ledger.folders())}:
                    sweep(place)
                self._take_over_rows()
                self._tend_sidecars()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    # ---- what is done already

    def state(self, clip: Clip, settings: str) -> str:
        """One of new, done, failed, changed (the video differs), settings (made with others), by_hand."""
        known = self.ledger.known.get(clip.id)
        if known is not None and known.by_hand:
            return "by_hand"
        if (known is None or known.status != "ok") and self._foreign_sidecar(clip, known):
            return "by_hand"
        if known is None:
            return "new"
        if not self.ledger.is_same_video(clip):
            return "changed"
        if known.status != "ok":
            return "failed" if known.settings == settings else "new"
        return "done" if known.settings == settings else "settings"

    # ---- saving

    def save(self, results: Iterable[tuple[Clip, Record]], settings: str) -> list[str]:
        """Journal a batch of records, then write their sidecars. Returns ids whose sidecar a person wrote meanwhile.

        Raises:
            MissingDependencyError: DISK_FULL; everything saved before is whole, this batch may be done again.
            PolicyError: a sidecar would land outside the folder.
        """
        entries, pending = [], []
        for clip, record in results:
            files, contents = {}, {}
            if record["status"] == "ok":
                for name, writer in self.clip_writers.items():
                    files[name] = self._sidecar(clip, name)
                    contents[name] = writer.render(record)
            keys = {name: text_key(data) for name, data in contents.items()}
            entries.append(clip_entry(record, settings, source_of(clip), files, keys))
            pending.append((clip.id, files, contents))
        self.ledger.append(entries)
        kept = []
        for clip_id, files, contents in pending:
            for name, data in contents.items():
                if not self._write_sidecar(self.ledger.known[clip_id], files[name], data):
                    kept.append(clip_id)
        self.lock.beat()
        return kept

    def write_sets(self, *, only_if_stale: bool = True) -> None:
        """Write the one-per-run files (`captions.jsonl`) from the journal: every clip exactly once, sorted by id."""
        for name, writer in self.set_writers.items():
            path = self.folder / writer.FILE_NAME
            if only_if_stale and not self.ledger.is_ahead and path.exists():
                continue
            data = b"".join(writer.render(self.ledger.record(clip_id)) for clip_id in sorted(self.ledger.known))
            key = text_key(data)
            if key != self.ledger.set_latest.get(name):
                # Before the file: after a crash in between, the file on disk is still one that we know as ours.
                self.ledger.append([{"kind": "set", "format": name, "key": key}])
            write_atomic(path, data)
        self.ledger.is_ahead = False

    # ---- sidecars and edits

    def sidecar_paths(self, clips: Iterable[Clip]) -> None:
        """Settle the sidecar names of a run: `a.mp4` and `a.mkv` in one folder become `a.mp4.txt` and `a.mkv.txt`."""
        stems: dict[str, list[Clip]] = {}
        for clip in clips:
            stems.setdefault(_stem(clip), []).append(clip)
        for stem, group in stems.items():
            for clip in group:
                for name, writer in self.clip_writers.items():
                    known = self.ledger.known.get(clip.id)
                    if known is None or name not in known.files:
                        path = (stem if len(group) == 1 else clip.path) + writer.SUFFIX
                        owner = self.ledger.owners.setdefault(path, clip.id)
                        if owner != clip.id:
                            self.ledger.owners[clip.path + writer.SUFFIX] = clip.id

    def _sidecar(self, clip: Clip, name: str) -> str:
        known, suffix = self.ledger.known.get(clip.id), self.clip_writers[name].SUFFIX
        if known is not None and name in known.files:
            return known.files[name]
        path = _stem(clip) + suffix
        return path if self.ledger.owners.get(path) == clip.id else clip.path + suffix

    def _foreign_sidecar(self, clip: Clip, known: Known | None) -> bool:
        """Take over a caption that lies there and is not ours; False when there is none."""
        for name, writer in self.clip_writers.items():
            path = self._sidecar(clip, name)
            data = _read(self.folder / unescape_name(path))
            if data is None or not hasattr(writer, "read") or (known and text_key(data) in known.keys):
                continue
            if self.writable:
                record = {"id": clip.id, "path": clip.path, "status": "ok", "caption": writer.read(data)}
                self._adopt([clip_entry({**record, "edited": True}, BY_HAND, {}, {name: path}, {name: text_key(data)})])
            return True
        return False

    def _tend_sidecars(self) -> None:
        """Write sidecars that are missing or behind their record, and take over those that a person changed."""
        adopted = []
        for clip_id, known in self.ledger.known.items():
            for name, path in known.files.items() if known.status == "ok" else ():
                writer = self.clip_writers.get(name)
                data = _read(self.folder / unescape_name(path)) if writer and hasattr(writer, "read") else None
                if writer is not None and data is not None and text_key(data) not in known.keys:
                    record = {**self.ledger.record(clip_id), "caption": writer.read(data), "edited": True}
                    adopted.append(clip_entry(record, BY_HAND, known.source, known.files, {name: text_key(data)}))
        self._adopt(adopted)
        entries, writes = [], []
        for clip_id, known in self.ledger.known.items():
            if known.status != "ok":
                continue
            missing = {name: self._new_path(clip_id, name) for name in self.clip_writers if name not in known.files}
            keys, record = dict(known.latest), self.ledger.record(clip_id) if missing else {}
            for name, writer in self.clip_writers.items():
                path = known.files.get(name) or missing[name]
                data = _read(self.folder / unescape_name(path))
                if data is not None and text_key(data) == known.latest.get(name):
                    continue
                record = record or self.ledger.record(clip_id)
                content = writer.render(record)
                keys[name] = text_key(content)
                writes.append((clip_id, path, content))
            if keys != known.latest or missing:
                entries.append(clip_entry(record, known.settings, known.source, {**known.files, **missing}, keys))
        self.ledger.append(entries)
        for clip_id, path, content in writes:
            self._write_sidecar(self.ledger.known[clip_id], path, content)

    def _new_path(self, clip_id: str, name: str) -> str:
        """Where a format that was not asked for before puts the sidecar of a finished clip."""
        record = self.ledger.record(clip_id)
        clip = Clip(clip_id, record["path"], "", start_s=record.get("start_s"), end_s=record.get("end_s"))
        path = _stem(clip) + self.clip_writers[name].SUFFIX
        return (
            path
            if self.ledger.owners.setdefault(path, clip_id) == clip_id
            else clip.path + self.clip_writers[name].SUFFIX
        )

    def _take_over_rows(self) -> None:
        """Take over rows of `captions.jsonl` (or its like) that a person changed or added."""
        for name, writer in self.set_writers.items():
            path = self.folder / writer.FILE_NAME
            data = _read(path)
            key = None if data is None else text_key(data)
            if key is None or key != self.ledger.set_latest.get(name):
                self.ledger.is_ahead = True
            if key is None or key in self.ledger.set_keys or not hasattr(writer, "read"):
                continue
            ours: dict[str, set[bytes]] = {}
            for record in self.ledger.records():
                ours.setdefault(record["id"], set()).add(writer.render(record))
            adopted = []
            for row in writer.read(path):
                if row["status"] == "ok" and writer.render(row) not in ours.get(row["id"], ()):
                    known = self.ledger.known.get(row["id"])
                    record = {"path": row["id"], **row, "edited": True}
                    # No keys: what the sidecars should hold is settled by `_tend_sidecars`, which comes next.
                    adopted.append(
                        clip_entry(record, BY_HAND, known.source if known else {}, known.files if known else {}, {})
                    )
            self._adopt(adopted)

    def _adopt(self, entries: list[dict[str, Any]]) -> None:
        for entry in entries:
            logger.info("%s: its caption was written by hand; kept", printable(entry["record"]["id"]))
        self.ledger.append(entries)

    def _write_sidecar(self, known: Known, relative: str, data: bytes) -> bool:
        path = self.folder / unescape_name(relative)
        self._check_inside(path.parent)
        present = _read(path)
        if present == data:
            return True
        if present is not None and text_key(present) not in known.keys:
            return False
        write_atomic(path, data, durable=False)  # the journal is flushed already and can write it again
        return True

    def _check_inside(self, parent: Path) -> None:
        if parent in self._safe:
            return
        if not parent.resolve().is_relative_to(self.folder.resolve()):
            raise PolicyError(
                f"{printable(str(parent))} leads out of the output folder",
                hint="remove that link or choose another -o",
            )
        self._safe.add(parent)


def _stem(clip: Clip) -> str:
    """The mirrored path without its ending; a part of a file carries its seconds."""
    stem = os.path.splitext(clip.path)[0]
    if clip.start_s is None and clip.end_s is None:
        return stem
    return f"{stem}_{clip.start_s or 0:g}-{'end' if clip.end_s is None else format(clip.end_s, 'g')}"


def _read(path: Path) -> bytes | None:
    """The content of a file of ours; None when it is absent or holds nothing (a power cut leaves NULs)."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    return data if data.strip(b"\0 \t\r\n") else None
