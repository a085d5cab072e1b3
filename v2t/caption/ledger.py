"""State of an output folder's journal: for every clip its newest record, its source and its settings.

In: the journal's entries. Out: `ClipState` by clip id, and new entries. Kinds of entries: `clip` (a record, the
settings' key, the video's size, date and content, the sidecars and their contents' keys), `part` (the answer to one
segment of a long clip, see `v2t.caption.record`), `cuts` (where such a clip's scenes change), `settings` (what a key
means), `source` (a new date of the same content), `merged` (how much of another journal was taken over), `run` (a run
began: on which machine, with how many clips), `begun` (clips that were in hand when a run on a cluster died), `end` (on
a store: the run ended in order).
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from sys import intern
from typing import Any

from cineloop.clip import Clip
from cineloop.errors import ItemError
from cineloop.files import content_key, unescape_name
from cineloop.journal import Entry, Journal, Place
from cineloop.manifest import REJECTED, is_rejected
from cineloop.startup import pause_collector
from v2t.writers import Record

_NONE: dict[str, str] = {}  # for the clips without files: one for all, since a folder may hold millions; never changed
BY_HAND = ""  # instead of a settings key: a person wrote or changed this caption


@dataclass(slots=True)
class ClipState:
    """The journal's state of one clip."""

    place: Place  # of the newest record
    status: str  # ok, failed, or rejected by a person
    settings: str  # key of its settings, or BY_HAND
    source: dict[str, Any]  # size, mtime_ns, content of the video file
    files: dict[str, str]  # format -> path of the sidecar, relative to the folder
    latest: dict[str, str] = field(default_factory=dict)  # format -> key of its expected content
    earlier: frozenset[str] = frozenset()  # contents written for this clip before
    at: float = 0.0  # when the record was made, in seconds since 1970 by the clock of its maker
    journal: Journal | None = None  # of the record; None for the ledger's own
    has_failed_parts: bool = False
    is_complete: bool = False  # the caption covers all of the clip's parts

    @property
    def keys(self) -> frozenset[str]:
        """Contents ever written for this clip."""
        return self.earlier.union(self.latest.values())

    @property
    def by_hand(self) -> bool:
        """The caption was written or changed by a person."""
        return self.settings == BY_HAND

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """Precedence of two journals' records of one clip: a person's before a good one, then the newer."""
        return self.by_hand, self.status == "ok", self.at


class Ledger:
    """The state that results from a journal. Only small facts are in memory; records are read on demand.

    Args:
        whole: for the journal of a shard, the ledger of the whole folder.
        holds: which clips to know from `whole`; of the others only the names of their sidecars are kept.
    """

    def __init__(
        self, journal: Journal, whole: Ledger | None = None, holds: Callable[[str], bool] = lambda clip_id: True
    ) -> None:
        self.journal = journal
        self.known: dict[str, ClipState] = {}
        # clip id -> (start_s, end_s) -> where the newest entry of that part is; for clips that are not done with
        self.parts: dict[str, dict[tuple[float, float], tuple[Journal, Place]]] = {}
        self.cuts: dict[str, Entry] = {}  # clip id -> where its scenes change; for the same clips
        self.settings: dict[str, dict[str, Any]] = {}  # settings key -> the settings
        self.owners: dict[str, str] = {}  # sidecar path -> id of the clip it belongs to
        self.merged: dict[str, int] = {}  # journal -> bytes of it that were taken over
        self.clips: list[Clip] = []  # of the run
        self._later: list[Entry] = []
        self.begun: Counter[str] = Counter()  # clip id -> runs on a cluster that died while it was in hand
        with pause_collector():
            for entry, place in journal.replay():
                self._learn(entry, place)
        if whole is not None:
            self._join(whole, holds)

    def append(self, entries: list[Entry]) -> list[Place]:
        """Write entries, all or none, then update the state; first those that were put off."""
        entries, self._later = self._later + entries, []
        places = self.journal.append(entries) if entries else []
        for entry, place in zip(entries, places, strict=True):
            self._learn(entry, place)
        return places

    def record(self, clip_id: str) -> Record:
        known = self.known[clip_id]
        return (known.journal or self.journal).read(known.place)["record"]

    def records(self, beat: Callable[[], None]) -> Iterator[Record]:
        """The newest record of every clip in the order of ids; `beat` is called from time to time."""
        for number, clip_id in enumerate(sorted(self.known)):
            if number % 256 == 0:
                beat()
            known = self.known[clip_id]
            yield (known.journal or self.journal).read(known.place)["record"]

    @cached_property
    def _files(self) -> dict[str, str]:
        """Clip id → its video, of the clips of this run."""
        return {clip.id: clip.file for clip in self.clips}

    def find_video(self, record: Record) -> Path:
        """The file that a caption was made from, as it was then (see `v2t.writers.Rows.find_video`)."""
        source = self.known[record["id"]].source
        file = self._files.get(record["id"]) or unescape_name(source.get("file") or "")
        if record.get("start_s") is not None or record.get("end_s") is not None:
            raise ItemError("a part of a file is not a file", code="PART_OF_FILE", hint="cut it out of its file first")
        if not file or "://" in file:
            raise ItemError("its video is not on this machine", code="NOT_FOUND", hint="run again with its folder")
        try:
            status = os.stat(file)
            is_same = not source.get("content") or status.st_size == source["size"]
            if is_same and source.get("content") and status.st_mtime_ns != source["mtime_ns"]:
                is_same = content_key(Path(file)) == source["content"]
        except OSError as error:
            raise ItemError(f"its video cannot be read: {error.strerror}", code="NOT_FOUND") from error
        if not is_same:
            raise ItemError("its video has changed since it was captioned", code="CHANGED", hint="caption it again")
        return Path(file)

    def name_settings(self, key: str, values: dict[str, Any]) -> None:
        """Record the settings behind a key, so that a later run can list what differs."""
        if self.settings.get(key) != values:
            self.append([{"kind": "settings", "key": key, "values": values}])

    def is_same_video(self, clip: Clip) -> bool:
        """Whether the clip's file is still the one its record was made from; a new date alone changes nothing."""
        old = self.known[clip.id].source
        is_same = _is_same(clip, old)
        if is_same and clip.mtime_ns != old.get("mtime_ns") and self.journal.writable:
            # With the next entries: a new date costs no write of its own, and if lost only another look at the content.
            self._later.append({"kind": "source", "id": clip.id, "source": {**old, "mtime_ns": clip.mtime_ns}})
        return is_same

    def parts_of(self, clip: Clip, settings: str) -> dict[tuple[float, float], Entry]:
        """(start_s, end_s) -> entry of the clip's finished parts that were made with these settings from this video."""
        entries = {at: journal.read(place) for at, (journal, place) in self.parts.get(clip.id, {}).items()}
        sources = {str(entry["source"]): entry["source"] for entry in entries.values()}
        good = {text for text, source in sources.items() if _is_same(clip, source)}
        return {
            at: entry for at, entry in entries.items() if entry["settings"] == settings and str(entry["source"]) in good
        }

    def cuts_of(self, clip: Clip) -> list[float] | None:
        """Seconds of the clip's scene cuts, if an earlier run detected them in this very video."""
        entry = self.cuts.get(clip.id)
        if entry is None or [entry["start_s"], entry["end_s"]] != [clip.start_s, clip.end_s]:
            return None
        return entry["cuts_s"] if _is_same(clip, entry["source"]) else None

    def _join(self, whole: Ledger, holds: Callable[[str], bool]) -> None:
        self.settings = whole.settings | self.settings
        self.owners = whole.owners | self.owners
        for clip_id in filter(holds, whole.known):
            theirs, mine = whole.known[clip_id], self.known.get(clip_id)
            if mine and mine.rank >= theirs.rank:
                mine.earlier |= theirs.keys
                continue
            self.known[clip_id] = replace(
                theirs, earlier=theirs.earlier | (mine.keys if mine else set()), journal=whole.journal
            )
            if theirs.is_complete:
                self.parts.pop(clip_id, None)
                self.cuts.pop(clip_id, None)
        for clip_id in filter(holds, whole.parts.keys() | whole.cuts.keys()):
            if clip_id in self.known and self.known[clip_id].is_complete:
                continue
            self.parts[clip_id] = whole.parts.get(clip_id, {}) | self.parts.get(clip_id, {})
            if clip_id in whole.cuts:
                self.cuts.setdefault(clip_id, whole.cuts[clip_id])

    def _learn(self, entry: Entry, place: Place) -> None:
        kind = entry["kind"]
        if kind == "clip":
            record = entry["record"]
            clip_id = record["id"]
            old = self.known.get(clip_id)
            if self.begun:
                self.begun.pop(clip_id, None)
            files, earlier = entry["files"], frozenset(entry["written"]) if "written" in entry else frozenset()
            if old is not None:
                earlier |= old.keys
                files = old.files | files  # those of an earlier run's formats still exist
            has_failed_parts = any("error" in segment for segment in record.get("segments") or ())
            known = ClipState(
                place,
                REJECTED if is_rejected(record) else intern(record["status"]),
                intern(entry["settings"]),
                {intern(key): value for key, value in entry["source"].items()},
                files or _NONE,
                entry["keys"] or _NONE,
                earlier,
                entry.get("at", 0.0),
                has_failed_parts=has_failed_parts,
                is_complete=record["status"] == "ok" and not has_failed_parts,
            )
            self.known[clip_id] = known
            if known.is_complete:
                self.cuts.pop(clip_id, None)
                self.parts.pop(clip_id, None)  # of others finished parts are needed for a retry
            for path in files.values():
                self.owners[path] = clip_id
        elif kind == "part":
            self.parts.setdefault(entry["id"], {})[entry["start_s"], entry["end_s"]] = self.journal, place
        elif kind == "cuts":
            self.cuts[entry["id"]] = entry
        elif kind == "source" and entry["id"] in self.known:
            self.known[entry["id"]].source = entry["source"]
        elif kind == "begun":
            self.begun.update(entry["ids"])
        elif kind == "merged":
            self.merged[entry["path"]] = entry["size"]
        elif kind == "settings":
            self.settings[entry["key"]] = entry["values"]


def _is_same(clip: Clip, old: dict[str, Any]) -> bool:
    if (clip.size, clip.mtime_ns) == (old.get("size"), old.get("mtime_ns")):
        return True
    if clip.size != old.get("size") or not old.get("content") or clip.problem is not None:
        return False
    try:
        return content_key(Path(clip.file)) == old["content"]
    except OSError:
        return False


def clip_entry(
    record: Record,
    settings: str,
    source: dict[str, Any],
    files: dict[str, str],
    keys: dict[str, str],
    at: float | None = None,
) -> Entry:
    """The entry of one record.

    Args:
        settings: key of the settings it was made with, or BY_HAND.
        files: format -> path of its sidecar, relative to the folder.
        keys: format -> key of that sidecar's expected content.
        at: when it was made, in seconds since 1970; None for now.
    """
    at = round(time.time(), 3) if at is None else at
    head = {"kind": "clip", "at": at, "settings": settings, "source": source, "files": files, "keys": keys}
    return {**head, "record": record}


def cuts_entry(clip: Clip, source: dict[str, Any], cuts_s: list[float]) -> Entry:
    """The entry of a clip's cuts: detecting them takes as long as decoding all of it."""
    window = {"start_s": clip.start_s, "end_s": clip.end_s}
    return {"kind": "cuts", "id": clip.id, "source": source, **window, "cuts_s": cuts_s}


def run_entry(*, listed: int, clips: int) -> Entry:
    """The entry of a run that begins: `listed` clips in all, `clips` of them in its share."""
    host = socket.gethostname()
    return {"kind": "run", "at": round(time.time(), 3), "host": host, "listed": listed, "clips": clips}
