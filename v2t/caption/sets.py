"""Run-wide formats: one file or one folder for all clips, replaced atomically.

In: the ledger of an output folder and the writers asked for. Out: `DIR/captions.jsonl`, `DIR/webdataset/` and so on. A
set is written under `DIR/.v2t/making` and moved to its place; an existing folder is first moved to `.v2t/old`, and
moved back after a crash between the two moves. `.v2t/sets.json` stores, for each format, the keys of what we wrote and
which records it was made from. A set is always regenerated from the journal; one that holds something we never wrote
was edited and is renamed to `NAME.by-hand` first. Captions are edited in their `.txt` files (`v2t.caption.outputs`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

from cineloop.documents import read_json
from cineloop.errors import MissingDependencyError
from cineloop.files import open_file, raise_if_full, replace_whole, sync_tree, write_atomic
from cineloop.log import logger, printable
from v2t.caption.ledger import Ledger
from v2t.writers import Rows, load_known

_TEXTS = {".txt", ".json", ".jsonl"}


class SetFiles:
    """The run-wide formats of one open output folder."""

    def __init__(
        self, folder: Path, state: Path, writers: dict[str, ModuleType], ledger: Ledger, beat: Callable[[], None]
    ) -> None:
        self.folder = folder
        self.writers = writers
        self.ledger, self._beat = ledger, beat
        self._state = state
        self._earlier_writers: dict[str, ModuleType] = {}  # of formats that only earlier runs were asked for
        self._memory: dict[str, dict[str, Any]] = {}
        self._seen: dict[str, str] = {}  # format -> size and date of its place when its content was last known

    def open(self) -> None:
        """Clean up after a crash."""
        shutil.rmtree(self._state / "making", ignore_errors=True)
        try:
            self._memory = read_json(self._state / "sets.json")
        except FileNotFoundError:
            self._memory = {}
        self._earlier_writers = load_known(self._memory.keys() - self.writers.keys())
        for writer in self.writers.values():
            self._finish_exchange(writer)

    # ---- writing

    def write(self, *, during: bool = False) -> None:
        """Write every format whose records have changed since: every clip exactly once, in the order of ids.

        Formats of earlier runs are kept up to date too where their files are still there and as we wrote them, but for
        those that copy videos.

        Args:
            during: in the middle of a run: leave out the formats that copy videos.

        Raises:
            MissingDependencyError: DISK_FULL; OUTPUT_FOLDER, it cannot be written.
        """
        # Identifies the records of a set written now: it changes with every new one.
        newest = max(map(attrgetter("place"), self.ledger.known.values()), default=(0, 0))
        made_from = f"{len(self.ledger.known)}:{newest[0]}:{newest[1]}"
        for name, writer in (self.writers if during else self.writers | self._earlier_writers).items():
            copies = getattr(writer, "COPIES_VIDEOS", False)
            if during and copies:
                continue
            place = self.folder / writer.NAME
            try:
                if name not in self.writers and (
                    self._memory[name]["made_from"] == made_from or not self._is_ours(name, writer)
                ):
                    continue
                if name not in self.writers and copies:
                    logger.warning("%s is older than the captions; --format %s writes it again", writer.NAME, name)
                    continue
                if self._is_ours(name, writer) and self._memory[name]["made_from"] == made_from:
                    continue
                rows = Rows(lambda: self.ledger.records(self._beat), self.ledger.find_video)
                self._write_set(name, writer, rows, made_from)
            except OSError as error:
                raise_if_full(error, place)
                raise MissingDependencyError(
                    f"cannot write {printable(str(place))}: {error.strerror or error}", code="OUTPUT_FOLDER"
                ) from error
            finally:
                shutil.rmtree(self._state / "making", ignore_errors=True)
            if not during:
                rows.warn_left_out(name)

    def _write_set(self, name: str, writer: ModuleType, rows: Rows, made_from: str) -> None:
        place, making = self.folder / writer.NAME, self._state / "making" / writer.NAME
        making.parent.mkdir(exist_ok=True)
        writer.write(rows, making, place)
        sync_tree(making)
        if os.path.lexists(place) and not self._is_ours(name, writer):
            _rename_edited(place)
        # Before the move: after a crash in between, the content of the place is still known as ours.
        key = set_key(making, writer)
        self._remember(name, [*self._memory.get(name, {}).get("keys", ()), key], made_from="")
        replace_whole(making, place, self._state / "old" / writer.NAME)
        self._finish_exchange(writer)
        self._seen[name] = _stamp(place, writer)
        self._remember(name, [key], made_from)

    def _is_ours(self, name: str, writer: ModuleType) -> bool:
        """Whether the content of a set's place was written by us; False if it is empty."""
        place = self.folder / writer.NAME
        glance = _stamp(place, writer)
        if glance and glance != self._seen.get(name) and not place.is_symlink() and (place.is_dir() or place.is_file()):
            if set_key(place, writer) in self._memory.get(name, {}).get("keys", ()):
                self._seen[name] = glance
        return glance != "" and glance == self._seen.get(name)

    def _finish_exchange(self, writer: ModuleType) -> None:
        """Finish replacing a folder: a person's additional files move along, the old folder is removed."""
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

    def _remember(self, name: str, keys: list[str], made_from: str) -> None:
        self._memory[name] = {"keys": keys, "made_from": made_from}
        write_atomic(self._state / "sets.json", json.dumps(self._memory).encode("ascii"))


def _rename_edited(place: Path) -> None:
    number = 1
    while True:
        aside = place.with_name(f"{place.stem}.by-hand{number if number > 1 else ''}{place.suffix}")
        if not os.path.lexists(aside):
            break
        number += 1
    os.replace(place, aside)
    logger.warning(
        "%s was edited; it is kept as %s and written again. Edits are read only from the .txt files",
        printable(str(place)),
        printable(aside.name),
    )


def set_key(place: Path, writer: ModuleType) -> str:
    """Short hash of a written set: a file's content; of a folder our names in it, texts by content, others by size."""
    digest = hashlib.blake2b(digest_size=12)
    is_folder = place.is_dir()
    for path in sorted(path for path in place.rglob("*") if path.is_file()) if is_folder else [place]:
        is_text = not is_folder or path.suffix in _TEXTS
        if is_folder:
            name = path.relative_to(place)
            if not re.fullmatch(writer.OWN, name.parts[0]):
                continue
            digest.update(f"{name}\0{'' if is_text else path.stat().st_size}\0".encode())
        if is_text:
            with open_file(path) as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


def _stamp(place: Path, writer: ModuleType) -> str:
    """Size and date of a set's file, or of our files at the top of its folder; "" when there is none."""
    if place.is_symlink():
        return "a link"
    try:
        ours = [place]
        if is_folder := place.is_dir():
            ours = sorted(p for p in place.iterdir() if p.is_file() and re.fullmatch(writer.OWN, p.name))
        stats = [(path.name, path.stat()) for path in ours]
    except FileNotFoundError:
        return ""
    texts = [f"{name} {status.st_size} {status.st_mtime_ns}" for name, status in stats]
    return " ".join(["folder", *texts] if is_folder else texts)
