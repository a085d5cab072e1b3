"""The output folder of a captioning run: journal, records, sidecars, and the care that a person's edits need.

In: records of finished clips. Out: `DIR/a/b.txt` beside the mirrored path, the formats written once a run (see
`v2t.caption.sets`), and `DIR/.v2t` with the journal, the lock and the run's papers. The journal is the truth: a record
is in it, flushed, before any other file is written, and whatever else is missing or stale is made again from it when
the folder is next opened. A file that holds something we never wrote was edited by a person: its text is taken over
into the journal and the file is left.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from cineloop.address import is_url, shown
from cineloop.clip import Clip
from cineloop.errors import MissingDependencyError, PolicyError, UsageError
from cineloop.files import escape_name, sweep, text_key, unescape_name, write_atomic
from cineloop.journal import Journal
from cineloop.lock import FolderLock
from cineloop.log import logger, printable
from v2t import writers
from v2t.caption import shards
from v2t.caption.ledger import BY_HAND, Known, Ledger, Record, clip_entry, source_of
from v2t.caption.sets import SetFiles
from v2t.writers import strips

STATE_FOLDER = shards.STATE_FOLDER


class CaptionFolder:
    """An output folder, opened for one run. A context manager.

    Args:
        folder: made when absent (not when `writable` is False).
        formats: names of writers; "all" is every one.
        writable: False looks without locking or touching anything (`--dry-run`).
        shard: the shard to work on; None for the whole folder. Others write beside it then, so what is made from all
            of them (new formats, files of the whole) waits for the merge.
        absorb: called with the ledger of the whole before anything is compared with it (by the merge).

    Raises:
        UsageError: an unknown format; another run holds the folder or the shard; shards in it were not merged; a
            hand-edited file cannot be read.
        MissingDependencyError: the folder cannot be written, the disk is full, or a format needs a package.
    """

    def __init__(
        self,
        folder: Path,
        formats: Sequence[str],
        *,
        writable: bool = True,
        shard: shards.Shard | None = None,
        absorb: Callable[[Ledger], None] | None = None,
    ) -> None:
        loaded = writers.load(formats)
        self.folder = folder
        self.writable = writable
        self.shard = shard
        self.state_folder = shard.state if shard else folder / STATE_FOLDER
        self._absorb = absorb
        self.clip_writers: dict[str, ModuleType] = {n: w for n, w in loaded.items() if hasattr(w, "SUFFIX")}
        self._set_writers: dict[str, ModuleType] = {n: w for n, w in loaded.items() if hasattr(w, "NAME") and not shard}
        self._safe: set[Path] = set()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> CaptionFolder:
        with contextlib.ExitStack() as stack:
            try:
                self.ledger = self._open(stack)
            except OSError as error:
                raise MissingDependencyError(
                    f"cannot use the output folder {printable(str(self.folder))}: {error.strerror}",
                    code="OUTPUT_FOLDER",
                    hint="choose another -o",
                ) from error
            self.sets = SetFiles(self.folder, self.state_folder, self._set_writers, self.ledger)
            if self._absorb:
                self._absorb(self.ledger)
            elif not self.shard and shards.unmerged(self.folder, self.ledger.merged):
                raise UsageError(
                    f"{printable(str(self.folder))} holds shards that were not joined yet",
                    code="UNMERGED",
                    hint=f"v2t merge {printable(str(self.folder))}, then run again; or go on with --shard",
                )
            if self.writable:
                self.sets.beat = self.lock.beat
                if not self.shard:
                    folders = {self.folder / unescape_name(path) for path in self.ledger.folders()}
                    for place in {self.state_folder, self.folder, self.folder / strips.FOLDER, *folders}:
                        sweep(place)
                    self._adopt(self.sets.open())
                self._tend_sidecars()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _open(self, stack: contextlib.ExitStack) -> Ledger:
        """Takes the lock; what the journals say."""
        if self.shard:
            self.shard.refuse_other_counts()
        if self.writable:
            self.state_folder.mkdir(parents=True, exist_ok=True)
            self.lock = stack.enter_context(FolderLock(self.state_folder / shards.LOCK))
            if self.shard:
                self.shard.begin()
            else:
                shards.refuse_living(self.folder)
        journal = stack.enter_context(Journal(self.state_folder / shards.JOURNAL, writable=self.writable))
        if self.shard is None:
            return Ledger(journal)
        whole = stack.enter_context(Journal(self.folder / STATE_FOLDER / shards.JOURNAL, writable=False))
        return Ledger(journal, Ledger(whole), self.shard.holds)

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
        self.lock.beat()
        entries, pending = [], []
        for clip, record in results:
            files, contents = {}, {}
            if record["status"] == "ok":
                for name, writer in self.clip_writers.items():
                    files[name] = self._sidecar(clip, name)
                    contents[name] = writer.render(record)
            keys = {name: text_key(data) for name, data in contents.items()}
            file = shown(clip.file) if is_url(clip.file) else os.path.abspath(clip.file)
            source = {**source_of(clip), "file": escape_name(file)}  # formats that hold videos need it later
            entries.append(clip_entry(record, settings, source, files, keys))
            pending.append((clip.id, files, contents))
        self.ledger.append(entries)
        kept = []
        for clip_id, files, contents in pending:
            for name, data in contents.items():
                if not self._write_sidecar(self.ledger.known[clip_id], files[name], data):
                    kept.append(clip_id)
        return kept

    def write_sets(self, *, only_if_stale: bool = True, during: bool = False) -> None:
        """Write the run-wide formats from the journal (see `SetFiles.write_sets`)."""
        self.sets.write_sets(only_if_stale=only_if_stale, during=during)

    # ---- sidecars and edits

    def sidecar_paths(self, clips: Iterable[Clip]) -> None:
        """Settle the sidecar names of a run: `a.mp4` and `a.mkv` in one folder become `a.mp4.txt` and `a.mkv.txt`."""
        clips = list(clips)
        self.sets.know(clips)
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
            names = () if self.shard else [name for name in self.clip_writers if name not in known.files]
            missing = {name: self._new_path(clip_id, name) for name in names}
            keys, record = dict(known.latest), self.ledger.record(clip_id) if missing else {}
            for name, writer in self.clip_writers.items():
                path = known.files.get(name) or missing.get(name, "")
                if not path:
                    continue
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
