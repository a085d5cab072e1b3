"""The formats that are written once a run: one file or one folder for all clips, whole or as it was before.

In: the ledger of an output folder and the writers asked for. Out: `DIR/captions.jsonl`, `DIR/webdataset/` and so on. A
set is written under `DIR/.v2t/making` and moved to its place in one go; a folder that is there already is first moved
to `.v2t/old`, and moved back when a crash came between the two moves. `.v2t/sets.json` remembers, for each format, the
keys of what we wrote and which records it was made from. A set that holds something we never wrote was changed by a
person: captions are taken over where the format can be read back, and a file that would be lost is put aside under
another name.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from cineloop.clip import Clip
from cineloop.documents import read_json
from cineloop.errors import ItemError, MissingDependencyError, UsageError
from cineloop.files import content_key, open_file, raise_if_full, sync, unescape_name, write_atomic
from cineloop.log import logger, printable
from v2t.caption.ledger import BY_HAND, Ledger, Record, clip_entry
from v2t.writers import Rows

_KEPT_KEYS = 8
_TEXTS = {".txt", ".json", ".jsonl"}


class SetFiles:
    """The run-wide formats of one open output folder.

    Args:
        folder: the output folder.
        state: its `.v2t`.
        writers: format -> writer module with `NAME` and `write`.
        ledger: what is known of its clips.
    """

    def __init__(self, folder: Path, state: Path, writers: dict[str, ModuleType], ledger: Ledger) -> None:
        self.folder = folder
        self.writers = writers
        self.ledger = ledger
        self.beat: Callable[[], None] = lambda: None
        self._state = state
        self._memory: dict[str, dict[str, Any]] = {}
        self._seen: dict[str, str] = {}  # format -> glance at its place when we last knew what it holds
        self._files: dict[str, str] = {}  # clip id -> its video, of the clips of this run

    # ---- opening

    def open(self) -> list[dict[str, Any]]:
        """Mend what a crash left, and look for edits. Returns journal entries of captions that a person changed.

        Raises:
            UsageError: a changed file cannot be read.
        """
        shutil.rmtree(self._state / "making", ignore_errors=True)
        try:
            self._memory = read_json(self._state / "sets.json")
        except FileNotFoundError:
            self._memory = {}
        entries = []
        for name, writer in self.writers.items():
            place = self.folder / writer.NAME
            self._settle(writer)
            if not place.exists() or place.is_symlink():
                continue
            if not place.is_dir() and not place.is_file():
                raise UsageError(f"{printable(str(place))} is not a regular file, move it away", code="EDITED_FILE")
            key, known = set_key(place, writer), self._memory.get(name, {})
            if key not in known.get("keys", ()) and not _is_blank(place):
                if hasattr(writer, "read"):
                    entries += self._edits(writer, place)
                self._memory[name] = {**known, "made_from": ""}
                if not hasattr(writer, "read") or not hasattr(writer, "render"):
                    continue  # not seen by us: put aside before the next one is written
            elif key != known.get("keys", [""])[-1]:
                self._memory[name] = {**known, "made_from": ""}  # an older one of ours was put back
            self._seen[name] = _glance(place, writer)
        return entries

    def know(self, clips: list[Clip]) -> None:
        """Remember where the videos of this run are.

        Raises:
            UsageError: code OWN_COPY, one of them is a copy that a format of ours made here.
        """
        for clip in clips:
            self._files[clip.id] = clip.file
        places = [os.path.abspath(self.folder / writer.NAME) + os.sep for writer in self.writers.values()]
        for clip in clips:
            if any(os.path.abspath(clip.file).startswith(place) for place in places):
                raise UsageError(
                    f"{printable(clip.file)} is a copy that an earlier run made of a video",
                    code="OWN_COPY",
                    hint=f"give -o outside the folder of videos, or --exclude '*{Path(clip.file).parent.name}/*'",
                )

    # ---- writing

    def write_sets(self, *, only_if_stale: bool = True, during: bool = False) -> None:
        """Write every format whose records have changed since: every clip exactly once, in the order of ids.

        Args:
            only_if_stale: False writes all anew.
            during: in the middle of a run: leave out the formats that copy videos.
        """
        made_from = self._made_from()
        for name, writer in self.writers.items():
            if during and getattr(writer, "COPIES_VIDEOS", False):
                continue
            place = self.folder / writer.NAME
            is_there = self._seen.get(name) == _glance(place, writer) != ""
            if only_if_stale and is_there and self._memory.get(name, {}).get("made_from") == made_from:
                continue
            try:
                rows = Rows(self._records, self._video)
                self._write_set(name, writer, rows, made_from)
            except OSError as error:
                raise_if_full(error, place)
                raise MissingDependencyError(
                    f"cannot write {printable(str(place))}: {error.strerror or error}", code="OUTPUT_FOLDER"
                ) from error
            finally:
                shutil.rmtree(self._state / "making", ignore_errors=True)
            if not during:
                _tell(name, rows)

    def _write_set(self, name: str, writer: ModuleType, rows: Rows, made_from: str) -> None:
        place, making = self.folder / writer.NAME, self._state / "making" / writer.NAME
        making.parent.mkdir(exist_ok=True)
        writer.write(rows, making, place)
        _sync(making)
        if os.path.lexists(place) and self._seen.get(name) != _glance(place, writer):
            self._put_aside(place)
        # Before the move: after a crash in between, what is at the place is still known as ours.
        keys = [*self._memory.get(name, {}).get("keys", ()), set_key(making, writer)][-_KEPT_KEYS:]
        self._remember(name, keys, made_from="")
        if making.is_dir():
            if place.exists():
                (self._state / "old").mkdir(exist_ok=True)
                os.replace(place, self._state / "old" / writer.NAME)
            os.replace(making, place)
            self._settle(writer)
        else:
            os.replace(making, place)
        sync(self.folder)
        self._seen[name] = _glance(place, writer)
        self._remember(name, keys, made_from)

    def _settle(self, writer: ModuleType) -> None:
        """End the exchange of a folder: what a person put beside ours moves along, the old one goes."""
        old, place = self._state / "old" / writer.NAME, self.folder / writer.NAME
        if not old.exists():
            return
        if not place.exists():  # a crash came between the two moves
            os.replace(old, place)
            return
        for entry in old.iterdir():
            if not re.fullmatch(writer.OWN, entry.name) and not (place / entry.name).exists():
                os.replace(entry, place / entry.name)
        shutil.rmtree(old)

    def _put_aside(self, place: Path) -> None:
        number = 1
        while True:
            aside = place.with_name(f"{place.stem}.by-hand{number if number > 1 else ''}{place.suffix}")
            if not os.path.lexists(aside):
                break
            number += 1
        os.replace(place, aside)
        logger.warning("%s was changed since we wrote it; kept as %s", printable(str(place)), printable(aside.name))

    def _remember(self, name: str, keys: list[str], made_from: str) -> None:
        self._memory[name] = {"keys": keys, "made_from": made_from}
        write_atomic(self._state / "sets.json", json.dumps(self._memory).encode("ascii"))

    # ---- what a set is made from

    def _made_from(self) -> str:
        """Which records a set written now would hold: it changes with every new one."""
        newest = max((known.place for known in self.ledger.known.values()), default=(0, 0))
        return f"{len(self.ledger.known)}:{newest[0]}:{newest[1]}"

    def _records(self) -> Iterator[Record]:
        for number, clip_id in enumerate(sorted(self.ledger.known)):
            if number % 256 == 0:
                self.beat()
            yield self.ledger.record(clip_id)

    def _video(self, record: Record) -> Path:
        """The file that a caption was made from, as it was then (see `Rows.find_video`)."""
        known = self.ledger.known[record["id"]]
        file = self._files.get(record["id"]) or unescape_name(known.source.get("file") or "")
        if record.get("start_s") is not None or record.get("end_s") is not None:
            raise ItemError("a part of a file is no file", code="PART_OF_FILE", hint="cut it out of its file first")
        if not file or "://" in file:
            raise ItemError("its video is not on this machine", code="NOT_FOUND", hint="run again with its folder")
        path = Path(file)
        try:
            status, source = path.stat(), known.source
            is_same = not source.get("content") or status.st_size == source["size"]
            if is_same and source.get("content") and status.st_mtime_ns != source["mtime_ns"]:
                is_same = content_key(path) == source["content"]
        except OSError as error:
            raise ItemError(f"its video cannot be read: {error.strerror}", code="NOT_FOUND") from error
        if not is_same:
            raise ItemError("its video has changed since it was captioned", code="CHANGED", hint="caption it again")
        return path

    # ---- edits

    def _edits(self, writer: ModuleType, place: Path) -> list[dict[str, Any]]:
        """Entries for the rows of a changed file whose caption we never wrote."""
        is_whole = hasattr(writer, "render")
        ours: dict[str, set[Any]] = {}
        for record in self.ledger.records():
            ours.setdefault(record["id"], set()).add(writer.render(record) if is_whole else _shown(record["caption"]))
        entries = []
        for row in writer.read(place):
            shown = writer.render(row) if is_whole else _shown(row["caption"])
            known = self.ledger.known.get(row["id"])
            if row["status"] != "ok" or shown in ours.get(row["id"], ()) or (known is None and not is_whole):
                continue
            old = {} if is_whole or known is None else self.ledger.record(row["id"])
            record = {"path": row["id"], **old, **row, "edited": True}
            # No keys: what the sidecars should hold is settled by the output folder, which looks at them next.
            entries.append(clip_entry(record, BY_HAND, known.source if known else {}, known.files if known else {}, {}))
        return entries


def _tell(name: str, rows: Rows) -> None:
    if rows.left_out:
        clip_id, error = next(iter(rows.left_out.items()))
        logger.warning(
            "%d captioned clips are not in %s; the first is %s: %s, %s",
            *(len(rows.left_out), name, printable(clip_id), error.code, error),
        )


def _shown(caption: str | None) -> str:
    """A caption as a table of cells keeps it: spreadsheets write line breaks their own way."""
    return " ".join((caption or "").replace("\0", "\ufffd").split())


def set_key(place: Path, writer: ModuleType) -> str:
    """Short hash of a written set: a file's content; of a folder our names in it, texts by content, others by size."""
    digest = hashlib.blake2b(digest_size=12)
    if place.is_dir():
        for path in sorted(path for path in place.rglob("*") if path.is_file()):
            name = path.relative_to(place)
            if re.fullmatch(writer.OWN, name.parts[0]):
                digest.update(f"{name}\0{path.stat().st_size if path.suffix not in _TEXTS else ''}\0".encode())
                if path.suffix in _TEXTS:
                    _feed(digest, path)
    else:
        _feed(digest, place)
    return digest.hexdigest()


def _is_blank(place: Path) -> bool:
    """Whether a file holds nothing (a power cut leaves NULs)."""
    if place.is_dir():
        return False
    with open_file(place) as file:
        return not file.read(1 << 16).strip(b"\0 \t\r\n")


def _feed(digest: Any, path: Path) -> None:
    with open_file(path) as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)


def _glance(place: Path, writer: ModuleType) -> str:
    """Size and date of a set's file, or of our files at the top of its folder; "" when there is none."""
    if place.is_symlink():
        return "a link"
    try:
        if not place.is_dir():
            return _stat(place)
        ours = sorted(p for p in place.iterdir() if p.is_file() and re.fullmatch(writer.OWN, p.name))
        return " ".join(["folder", *(f"{path.name} {_stat(path)}" for path in ours)])
    except FileNotFoundError:
        return ""


def _stat(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def _sync(making: Path) -> None:
    """Wait until a set is on the disk; hard links to videos are there already."""
    paths = sorted(making.rglob("*")) if making.is_dir() else [making]
    for path in paths:
        if path.is_file() and path.stat().st_nlink == 1:
            sync(path)
    if making.is_dir():
        for folder in [path for path in paths if path.is_dir()] + [making]:
            sync(folder)
