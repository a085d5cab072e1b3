"""One file per output format, loaded by file name (`--format txt,jsonl`); "all" names every one.

A format of one file per clip defines `SUFFIX` and `render(record) -> bytes`; `txt`, the one where people edit captions,
also `read(data) -> str`. A format of one file or folder per run defines
- `NAME`: what it is called in the output folder;
- `write(rows, target, place)`: writes everything to `target`, a private path (`v2t.caption.sets` moves it to its
  `place` atomically, so a reader sees the whole set or the previous one);
- a folder also `OWN`: a pattern of our names in it; other files there are kept;
- `COPIES_VIDEOS = True` where writing takes long; `LINKS_FILES = True` where the file shows others beside it, and is
  worth nothing on an object store.
Records are those of `v2t.caption`. Captions are untrusted text: each format documents in its docstring how it
handles characters it cannot represent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from cineloop import plugin
from cineloop.errors import ItemError, MissingDependencyError, UsageError
from cineloop.log import logger, printable
from cineloop.manifest import is_rejected

Record = dict[str, Any]
EVERY = "all"
_SYMBOL = "(?:render|write)"  # every writer defines one or both


def names() -> list[str]:
    """Every format."""
    return plugin.choices("v2t.writers", _SYMBOL)


def load(formats: Sequence[str]) -> dict[str, ModuleType]:
    """The writers of some formats by name, each once, in the order asked for; a file's path stands for its name.

    Raises:
        UsageError: no such format, or two of one name. MissingDependencyError: a package it needs is not installed.
    """
    wanted = [name for each in formats for name in (names() if each == EVERY else [each])]
    writers = {}
    for name in dict.fromkeys(wanted):
        called = Path(name).stem if plugin.is_file(name) else name
        if called in writers or (called != name and called in names()):
            raise UsageError(f"two formats are called {called!r}", hint="rename the file of yours")
        writers[called] = plugin.load("v2t.writers", name, _SYMBOL, files=True)
    return writers


def load_known(formats: Iterable[str]) -> dict[str, ModuleType]:
    """The writers of formats that an earlier run wrote, without those that cannot be loaded now."""
    writers: dict[str, ModuleType] = {}
    for name in sorted(formats):
        with contextlib.suppress(UsageError, MissingDependencyError):
            writers |= load([name])
    return writers


@dataclass
class Rows:
    """Input of a run-wide format: records in the order of their ids, read one at a time.

    Attributes:
        records: an iterator over all records, failed ones too; may be called again.
        find_video: the file a record was made from, as it was then; raises ItemError when there is none.
        left_out: id -> error of clips that a format cannot hold; the run reports them.
    """

    records: Callable[[], Iterator[Record]]
    find_video: Callable[[Record], Path]
    left_out: dict[str, ItemError] = field(default_factory=dict)

    def with_captions(self) -> Iterator[Record]:
        """The captioned records; those that a person rejected are left out."""
        for record in self.records():
            if is_rejected(record):
                self.leave_out(record, ItemError("a person rejected it", code="REJECTED", hint="v2t edit shows it"))
            elif record["status"] == "ok":
                yield record

    def with_videos(self) -> Iterator[tuple[Record, Path]]:
        """The captioned records whose video is available, with it; the others are left out."""
        for record in self.with_captions():
            try:
                video = self.find_video(record)
            except ItemError as error:
                self.leave_out(record, error)
                continue
            yield record, video

    def leave_out(self, record: Record, error: ItemError) -> None:
        self.left_out[record["id"]] = error

    def warn_left_out(self, name: str) -> None:
        """One line on what is not in the format of this name."""
        if self.left_out:
            clip_id, error = next(iter(self.left_out.items()))
            logger.warning(
                "%d captioned clips are not in %s; the first is %s: %s, %s",
                *(len(self.left_out), name, printable(clip_id), error.code, error),
            )
