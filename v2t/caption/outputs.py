"""The output folder of a captioning run: journal, records, sidecars, and the protection of manual edits.

In: records of finished clips. Out: `DIR/a/b.txt` at the mirrored path, the formats written once a run (see
`v2t.caption.sets`), and `DIR/.v2t` with the journal, the lock and the run's metadata. The journal is authoritative: a
record is in it, flushed, before any other file is written, and other files that are missing or stale are written again
from it when the folder is next opened. Captions are edited in their `.txt` files: text that we never wrote there is
imported into the journal. No changed sidecar of any format is ever overwritten.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from cineloop.clip import Clip, source_of
from cineloop.errors import PolicyError, UsageError
from cineloop.files import sweep, text_key, unescape_name, write_atomic
from cineloop.journal import Entry, Journal, Place
from cineloop.log import logger, printable
from cineloop.manifest import REJECTED, is_rejected
from cineloop.run_folder import RunFolder
from cineloop.store import StoredFolder
from v2t import writers
from v2t.caption import shards
from v2t.caption.ledger import BY_HAND, Ledger, clip_entry
from v2t.caption.sets import SetFiles
from v2t.caption.sidecar_checks import SidecarChecks
from v2t.caption.stored import refresh
from v2t.long.items import WorkItem
from v2t.writers import Record, html

STATE_FOLDER = shards.STATE_FOLDER
_SETS_EVERY_S, _BEAT_S = 15.0, 10.0
_NOBODY = ""  # owner of sidecar names that several clips of a run would share


class CaptionFolder(RunFolder):
    """An output folder, opened for one run. A context manager.

    `ledger_class` reads its journal; `v2t.edit` has one that knows more.

    Args:
        folder: created if missing (not if `writable` is False).
        formats: names of writers; "all" is every one.
        writable: False reads without locking or writing anything (`--dry-run`).
        shard: the shard to work on; None for the whole folder. Other shards are written concurrently, so what is made
            from all of them (new formats, files of the whole) waits for the merge.
        store: the folder is the copy of one on a store, where the journal is written first.

    Raises:
        UsageError: an unknown format; another run holds the folder or the shard; shards in it were not merged.
        MissingDependencyError: the folder cannot be written, the disk is full, or a format needs a package.
    """

    ledger_class: type[Ledger] = Ledger

    def __init__(
        self,
        folder: Path,
        formats: Sequence[str],
        *,
        writable: bool = True,
        shard: shards.Shard | None = None,
        store: StoredFolder | None = None,
    ) -> None:
        loaded = writers.load(formats)
        state = shard.state if shard else folder / STATE_FOLDER
        super().__init__(
            folder,
            state=str(state.relative_to(folder)),
            journal=shards.JOURNAL,
            lock=shards.LOCK,
            writable=writable,
            mirror=store.segments(state / shards.JOURNAL) if store else None,
            patient=shard is not None,
        )
        self.store, self.shard = store, shard
        self.clip_writers: dict[str, ModuleType] = {n: w for n, w in loaded.items() if hasattr(w, "SUFFIX")}
        # an edit is read whatever formats this run asks for
        self._readers = {n: w for n, w in (writers.load(["txt"]) | loaded).items() if hasattr(w, "read")}
        self._set_writers: dict[str, ModuleType] = {n: w for n, w in loaded.items() if hasattr(w, "NAME") and not shard}
        self._safe: set[Path] = set()
        self._sets_at = self._beat_at = time.monotonic()
        self._sets_every_s = _SETS_EVERY_S

    def __enter__(self) -> Self:
        if self.shard:  # before its lock makes another state folder
            self.shard.refuse_other_counts()
        return super().__enter__()

    def _open(self, stack: contextlib.ExitStack) -> None:
        if self.writable:
            self.shard.begin() if self.shard else shards.refuse_running(self.path)
        super()._open(stack)
        if self.shard:
            whole = stack.enter_context(Journal(self.path / STATE_FOLDER / shards.JOURNAL, writable=False))
            self.ledger = Ledger(self.journal, Ledger(whole), self.shard.holds)
        else:
            self.ledger = self.ledger_class(self.journal)
        earlier = {name for known in self.ledger.known.values() for name in known.files} - self.clip_writers.keys()
        self._earlier_writers = writers.load_known(earlier)
        self._sets = SetFiles(self.path, self.state, self._set_writers, self.ledger, self.beat)
        if not self.shard and shards.unmerged_journals(self.path, self.ledger.merged):
            raise UsageError(
                f"{printable(str(self.path))} holds shards that were not joined yet",
                code="UNMERGED",
                hint=f"v2t merge {printable(str(self.path))}, then run again; or continue with --shard",
            )
        if self.writable:
            if not self.shard:
                sidecars = (path for known in self.ledger.known.values() for path in known.files.values())
                folders = {Path(self._path(name)) for name in set(map(os.path.dirname, sidecars))}
                for place in {self.state, self.path, self.path / html.STRIPS, *folders}:
                    sweep(place)
                self._sets.open()
            self._update_sidecars()

    # ---- existing results

    def status(self, clip: Clip, settings: str) -> str:
        """One of new, done, failed, changed (the video differs), settings (made with others), by_hand."""
        known = self.ledger.known.get(clip.id)
        if known is not None and known.by_hand:
            return "by_hand"
        if known is None or known.status != "ok":  # `_update_sidecars` reads the edits of known captions
            for name, (path, _) in self._sidecars(clip).items():
                data = _read(self._path(path)) if name in self._readers else None
                if data is None or (known and text_key(data) in known.keys):
                    continue
                if self.writable:  # a caption that is not ours
                    record = {"id": clip.id, "path": clip.path, "status": "ok"}
                    self._adopt([self._by_hand(record, name, data, {}, {name: path})])
                return "by_hand"
        if known is None:
            return "new"
        if not self.ledger.is_same_video(clip):
            return "changed"
        if known.status != "ok":
            return "failed" if known.settings == settings else "new"
        return "done" if known.settings == settings else "settings"

    # ---- writing

    def append(self, entries: Iterable[Entry]) -> list[Place]:
        """Write entries to the journal, all or none, and learn them."""
        return self.ledger.append(list(entries))

    def write(self, clips: Iterable[WorkItem], settings: str) -> None:
        """Journal the records of clips (their `answer`), then write their sidecars; a file that a person wrote
        meanwhile is kept.

        Args:
            settings: key of those they were made with.

        Raises:
            MissingDependencyError: DISK_FULL; everything saved before is intact, this batch may be repeated.
            PolicyError: a sidecar would land outside the folder.
        """
        rows = []
        for item in clips:
            clip, record = item.clip, item.answer or {}
            old = self.ledger.record(clip.id) if clip.id in self.ledger.known else {}
            if old.get("tags"):  # a person's, of the clip: they outlive a new caption
                record = {**record, "tags": old["tags"]}
            rows.append((clip, record, settings, item.source or source_of(clip)))
        self._save(rows)

    def _save(self, rows: Iterable[tuple[Clip, Record, str, dict[str, Any]]], more: Entry | None = None) -> None:
        """Journal records with the key of their settings and their source, then write their sidecars; `more` is added
        to each entry. Raises as `write`."""
        entries, writes = [], []
        for clip, record, settings, source in rows:
            is_written = record["status"] == "ok" and not is_rejected(record)
            sidecars = self._sidecars(clip) if is_written else {}
            contents = {name: writer.render(record) for name, (_, writer) in sidecars.items()}
            files = {name: path for name, (path, _) in sidecars.items()}
            keys = {name: text_key(data) for name, data in contents.items()}
            entries.append(clip_entry(record, settings, source, files, keys) | (more or {}))
            writes += [(clip.id, files[name], data) for name, data in contents.items()]
        self.ledger.append(entries)
        for clip_id, path, data in writes:
            if not self._write_sidecar(clip_id, path, data):
                logger.warning("%s: a file of that name was written meanwhile; it is kept", printable(clip_id))

    def update(self) -> None:
        """Call it every second or so of a long run: keeps the lock, and now and then writes the run-wide formats."""
        now = time.monotonic()
        if now - self._beat_at > _BEAT_S:
            self._beat_at = now
            self.beat()
        if now - self._sets_at > self._sets_every_s:  # seldom enough to cost nothing in a folder of a million
            self._sets.write(during=True)
            self._sets_at = time.monotonic()
            self._sets_every_s = max(_SETS_EVERY_S, 20 * (self._sets_at - now))

    def close(self, *, is_complete: bool = False) -> None:
        """Write the run-wide formats; call it before the block ends. `is_complete`: every clip of a shard has its
        record, so the shard is marked as done."""
        self._sets.write()
        if self.shard and is_complete:
            self.shard.finish()
            if self.store:
                refresh(self.store, self.shard.state)
            if shards.are_done(self.path, self.shard.of):
                logger.info("all %d shards are done; v2t merge %s joins them", self.shard.of, printable(str(self.path)))

    # ---- sidecars and edits

    def _path(self, relative: str) -> str:
        return os.path.join(self.path, unescape_name(relative))

    def register(self, clips: list[Clip]) -> None:
        """Note the videos of a run and assign their sidecars' names: of `a.mp4` and `a.mkv` in one folder `a.mp4.txt`
        and `a.mkv.txt`.

        Raises:
            UsageError: code OWN_COPY, one of them is a copy that one of our formats made here.
        """
        self.ledger.clips = clips
        copying = [writer for writer in self._set_writers.values() if getattr(writer, "COPIES_VIDEOS", False)]
        places = [os.path.abspath(self.path / writer.NAME) + os.sep for writer in copying]
        for clip in clips if places else ():
            if any(os.path.abspath(clip.file).startswith(place) for place in places):
                raise UsageError(
                    f"{printable(clip.file)} is a copy that an earlier run made of a video",
                    code="OWN_COPY",
                    hint=f"give -o outside the folder of videos, or --exclude '*{Path(clip.file).parent.name}/*'",
                )
        if not self.clip_writers:
            return
        sharing = Counter(map(_stem, clips))
        for stem in (stem for stem, count in sharing.items() if count > 1):
            for writer in self.clip_writers.values():
                self.ledger.owners.setdefault(stem + writer.SUFFIX, _NOBODY)
        for clip in clips:
            self._sidecars(clip)

    def _sidecars(self, clip: Clip, *, assign: bool = True) -> dict[str, tuple[str, ModuleType]]:
        """Format → path and writer of a clip's sidecars: those of this run, and those of an earlier run's formats that
        are still there, so that they do not become outdated. A path has the whole name of the clip's file where the
        stem belongs to another clip. `assign` False leaves out formats that the clip has no file of yet."""
        known, owners = self.ledger.known.get(clip.id), self.ledger.owners
        files = known.files if known else {}
        earlier = sorted(self._earlier_writers.keys() & files.keys())
        sidecars = {name: (files[name], self._earlier_writers[name]) for name in earlier}
        sidecars = {name: sidecar for name, sidecar in sidecars.items() if os.path.exists(self._path(sidecar[0]))}
        for name, writer in self.clip_writers.items():
            if name not in files and not assign:
                continue
            path = files.get(name)
            if path is None:
                path = _stem(clip) + writer.SUFFIX
                if owners.setdefault(path, clip.id) != clip.id:
                    path = clip.path + writer.SUFFIX
                    owners.setdefault(path, clip.id)
            sidecars[name] = path, writer
        return sidecars

    def _by_hand(self, record: Record, name: str, data: bytes, source: dict[str, Any], files: dict[str, str]) -> Entry:
        caption = self._readers[name].read(data)
        record = {**record, "caption": caption, "edited": True}
        if is_rejected(record):  # what a person wrote anew is wanted
            del record["review"]
        if record.get("captions"):  # of several the first is that of the file
            record["captions"] = [caption, *record["captions"][1:]]
        return clip_entry(record, BY_HAND, source, files, {name: text_key(data)})

    def import_edits(self, clip_ids: Iterable[str]) -> list[str]:
        """Import what a person wrote into the sidecars of these clips since they were last compared; ids of those."""
        adopted = []
        for clip_id in clip_ids:
            known = self.ledger.known[clip_id]
            for name, path in known.files.items() if known.status in ("ok", REJECTED) else ():
                data = _read(self._path(path)) if name in self._readers else None
                if data is not None and text_key(data) not in known.keys:
                    adopted.append(self._by_hand(self.ledger.record(clip_id), name, data, known.source, known.files))
                    break
        self._adopt(adopted)
        return [entry["record"]["id"] for entry in adopted]

    def _update_sidecars(self) -> None:
        """Write missing or outdated sidecars, and import those that a person changed."""
        checks = SidecarChecks(self.lock, self.ledger.journal)
        adopted, stale = [], []
        for clip_id, known in self.ledger.known.items():
            if known.status not in ("ok", REJECTED):
                continue
            is_current = self.clip_writers.keys() <= known.files.keys()
            for name, path in known.files.items():  # of most clips no file has changed since an earlier run
                if checks.is_as_known(known, self._path(path)):
                    continue
                data = _read(self._path(path))
                key = None if data is None else text_key(data)
                if key is not None and key == known.latest.get(name):
                    continue
                is_current = False
                if data is not None and name in self._readers and key not in known.keys:
                    adopted.append(self._by_hand(self.ledger.record(clip_id), name, data, known.source, known.files))
            if not is_current and known.status == "ok":  # of a rejected clip there are no files to write
                stale.append(clip_id)
        self._adopt(adopted)
        entries, writes = [], []
        for clip_id in stale:
            known, record = self.ledger.known[clip_id], self.ledger.record(clip_id)
            clip = Clip(clip_id, record["path"], "", start_s=record.get("start_s"), end_s=record.get("end_s"))
            files, keys = dict(known.files), dict(known.latest)
            for name, (path, writer) in self._sidecars(clip, assign=not self.shard).items():
                data = _read(self._path(path)) if name in known.files else None
                if data and text_key(data) == known.latest.get(name):
                    continue
                content = writer.render(record)
                files[name], keys[name] = path, text_key(content)
                writes.append((clip_id, path, content))
            if (keys, files) != (known.latest, known.files):
                entries.append(clip_entry(record, known.settings, known.source, files, keys))
        self.ledger.append(entries)
        for each in writes:
            self._write_sidecar(*each)
        checks.save()

    def _adopt(self, entries: list[Entry]) -> None:
        for entry in entries:
            logger.info("%s: its caption was written by hand; kept", printable(entry["record"]["id"]))
        self.ledger.append(entries)

    def _write_sidecar(self, clip_id: str, relative: str, data: bytes) -> bool:
        path = Path(self._path(relative))
        if path.parent not in self._safe:
            if not path.parent.resolve().is_relative_to(self.path.resolve()):
                raise PolicyError(
                    f"{printable(str(path.parent))} leads out of the output folder",
                    hint="remove that link or choose another -o",
                )
            self._safe.add(path.parent)
        present = _read(path)
        if present is not None and present != data and text_key(present) not in self.ledger.known[clip_id].keys:
            return False
        if present != data:
            write_atomic(path, data, durable=False)  # it can be restored from the flushed journal
        return True


def _stem(clip: Clip) -> str:
    """The mirrored path without its ending; a part of a file carries its seconds."""
    stem = os.path.splitext(clip.path)[0]
    if clip.start_s is None and clip.end_s is None:
        return stem
    return f"{stem}_{clip.start_s or 0:g}-{'end' if clip.end_s is None else format(clip.end_s, 'g')}"


def _read(path: str | Path) -> bytes | None:
    """The content of a file of ours; None when it is absent or holds nothing (a power cut leaves NULs)."""
    try:
        with open(path, "rb", buffering=0) as file:
            data = file.read()
    except FileNotFoundError:
        return None
    return data if data.strip(b"\0 \t\r\n") else None
