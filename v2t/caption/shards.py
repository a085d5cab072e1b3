"""Shards: one folder captioned by several processes, each with its share of the clips and its own state.

In: a shared output folder, a share such as `2/4` (the second of four), all clips. Out: a `Shard`.
A clip belongs to shard `sha256(id) mod n`, the same on every machine, so shards are disjoint and together complete for
any n. Each shard has its own lock, journal and run metadata in `OUT/.v2t/shard-2-of-4/`, so a killed shard resumes with
the same command; files of the whole (`captions.jsonl`) are made from
all of them by `v2t merge` (`v2t.caption.merge`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cineloop.clip import Clip
from cineloop.cluster.journals import journals as workers
from cineloop.documents import read_json
from cineloop.errors import UsageError
from cineloop.files import text_key, write_atomic
from cineloop.journal import Journal
from cineloop.lock import FolderLock, describe
from cineloop.log import printable
from v2t.caption.ledger import Ledger

STATE_FOLDER = ".v2t"
JOURNAL = "journal.jsonl"
LOCK = "lock"
_DONE = "done.json"
_FOLDER = re.compile(r"shard-(\d+)-of-(\d+)")
_MAX_SHARDS = 100_000


def shard_of(clip_id: str, of: int) -> int:
    """The shard of a clip, 1 to `of`: SHA-256 of its id in UTF-8, first eight bytes as a number, mod `of`, plus 1."""
    return 1 + int.from_bytes(hashlib.sha256(clip_id.encode("utf-8")).digest()[:8], "big") % of


def parse(share: str) -> tuple[int, int]:
    """`2/4` as (2, 4).

    Raises:
        UsageError: anything else.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", share)
    index, of = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= index <= of <= _MAX_SHARDS:
        raise UsageError(f"--shard must look like 2/4 (the second of four), not {printable(share)!r}")
    return index, of


def holder(share: str) -> Callable[[str], bool]:
    """Whether a clip belongs to a share, by its id. Raises UsageError as `parse`."""
    index, of = parse(share)
    return lambda clip_id: shard_of(clip_id, of) == index


class Shard:
    """One shard of an output folder.

    Args:
        share: such as "2/4"; see `parse`.
        listing: all clips, of all shards, sorted by id.

    Attributes:
        clips: those of the shard.
        state: folder of its lock, journal and run metadata.
    """

    def __init__(self, output: Path, share: str, listing: Sequence[Clip]) -> None:
        self.output = output
        self.index, self.of = parse(share)
        self.holds = holder(share)  # by a clip's id
        self.state = output / STATE_FOLDER / f"shard-{self.index}-of-{self.of}"
        self.clips = [clip for clip in listing if self.holds(clip.id)]
        self._listing = {"listed": len(listing), "listing": text_key("\0".join(c.id for c in listing).encode("utf-8"))}

    def begin(self) -> None:
        """Mark the shard as running; call it with the shard's lock held.

        Raises:
            UsageError: code LOCKED; a run or merge holds the whole folder.
        """
        # Take our lock before checking theirs (same order in a run of the whole): two runs cannot miss each other.
        _refuse_holder(self.output / STATE_FOLDER)
        (self.state / _DONE).unlink(missing_ok=True)

    def finish(self) -> None:
        """Mark the shard as finished: every clip has its record."""
        facts = {"clips": len(self.clips), **self._listing}
        write_atomic(self.state / _DONE, json.dumps(facts).encode())

    def refuse_other_counts(self) -> None:
        """Raise UsageError OTHER_SHARDS when the folder holds shards of another count that were not merged."""
        if places(self.output).keys() <= {self.of}:
            return
        with Journal(self.output / STATE_FOLDER / JOURNAL, writable=False) as journal:
            left = unmerged_journals(self.output, Ledger(journal).merged)
        for path in left:
            match = _FOLDER.fullmatch(path.parent.name)
            if match and int(match[2]) != self.of:
                folder = printable(str(self.output))
                raise UsageError(
                    f"{folder} holds shards of {match[2]}, and this run is one of {self.of}",
                    code="OTHER_SHARDS",
                    hint=f"continue with --shard .../{match[2]}, or join them first: v2t merge {folder}",
                )


def places(output: Path) -> dict[int, dict[int, Path]]:
    """The shards an output folder holds: count of shards → number of the shard → its folder."""
    shards: dict[int, dict[int, Path]] = {}
    state = output / STATE_FOLDER
    for path in sorted(state.iterdir()) if state.is_dir() else []:
        if match := _FOLDER.fullmatch(path.name):
            shards.setdefault(int(match[2]), {})[int(match[1])] = path
    return shards


def journals(output: Path) -> list[Path]:
    """The journals of all shards, and of the workers of a cluster whose run did not end well."""
    every = [place / JOURNAL for _, group in sorted(places(output).items()) for _, place in sorted(group.items())]
    return [*(path for path in every if path.exists()), *workers(output / STATE_FOLDER)]


def facts_of(place: Path) -> dict[str, Any]:
    """What a shard recorded when its run finished; {} while it is running or was killed."""
    try:
        facts = read_json(place / _DONE)
    except (FileNotFoundError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def are_done(output: Path, of: int) -> bool:
    """Whether the runs of all `of` shards finished."""
    shards = places(output).get(of, {})
    return len(shards) == of and all(facts_of(place) for place in shards.values())


def unmerged_journals(output: Path, merged: Mapping[str, int]) -> list[Path]:
    """Journals of shards that hold more than was merged. `merged`: path below `.v2t` → merged bytes."""
    return [path for path in journals(output) if path.stat().st_size != merged.get(merge_name(output, path), 0)]


def merge_name(output: Path, journal: Path) -> str:
    """The name of a shard's journal in the journal of the whole."""
    return journal.relative_to(output / STATE_FOLDER).as_posix()


def refuse_running(output: Path) -> None:
    """Raise UsageError LOCKED when a process works on a shard of the folder."""
    for group in places(output).values():
        for place in group.values():
            _refuse_holder(place)


def _refuse_holder(state: Path) -> None:
    if owner := FolderLock(state / LOCK).holder():
        raise UsageError(
            f"another process works on {printable(str(state))}: {describe(owner)}",
            code="LOCKED",
            hint="wait for it, or end it; what is finished is saved",
        )
