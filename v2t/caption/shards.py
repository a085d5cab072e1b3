"""One folder captioned by many processes: which clips are whose, and who works on what.

In: an output folder that all of them see, a share such as `2/4` or `auto/64`, the clips. Out: `Block`s to work on.
A clip belongs to shard `sha256(id) mod n`, the same on every machine, so shards are disjoint and together complete
for any n. `2/4` is the second of four; with `auto/64` each worker takes the next of 64 blocks that nobody holds, and
takes over those whose holder is gone. Each holder writes to a journal of its own, `OUT/.v2t/shard-2-of-4/TURN/`; files
of the whole (`captions.jsonl`) are made from all of them by `v2t merge` (`v2t.caption.merge`).
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cineloop.clip import Clip
from cineloop.documents import read_json
from cineloop.errors import UsageError
from cineloop.files import text_key, write_atomic
from cineloop.lease import Lease, holder, turns
from cineloop.lock import FolderLock, describe
from cineloop.log import logger, printable

STATE_FOLDER = ".v2t"
JOURNAL = "journal.jsonl"
_PLACE = re.compile(r"shard-(\d+)-of-(\d+)")
_AUTO_BLOCKS = 64
_MAX_BLOCKS = 100_000
_POLL_S = 10.0


def shard_of(clip_id: str, of: int) -> int:
    """The shard of a clip, 1 to `of`: SHA-256 of its id in UTF-8, first eight bytes as a number, mod `of`, plus 1."""
    return 1 + int.from_bytes(hashlib.sha256(clip_id.encode("utf-8")).digest()[:8], "big") % of


@dataclass(frozen=True, kw_only=True)
class Share:
    """What part of a folder a process works on: shard `index` of `of`, or any of them that is free (index None)."""

    of: int
    index: int | None

    @classmethod
    def parse(cls, text: str) -> Share:
        """`2/4`, `auto/64` or `auto`.

        Raises:
            UsageError: anything else.
        """
        match = re.fullmatch(r"(?:(\d+)|auto)(?:/(\d+))?", text)
        of = int(match[2] or _AUTO_BLOCKS) if match else 0
        index = int(match[1]) if match and match[1] else None
        if not match or not 1 <= of <= _MAX_BLOCKS or (index is not None and not (match[2] and 1 <= index <= of)):
            raise UsageError(
                f"--shard must look like 2/4 (the second of four) or auto/{_AUTO_BLOCKS}, not {printable(text)!r}"
            )
        return cls(of=of, index=index)


class Block:
    """One shard of an output folder; a context manager that holds it.

    Attributes:
        clips: those of the shard.
        state: folder of journal and papers, while it is held.
        before: journals to know of, oldest first: that of the whole, and those of earlier holders.
    """

    def __init__(
        self, output: Path, index: int, of: int, clips: list[Clip], listing: dict[str, Any], lease_s: float
    ) -> None:
        self.output, self.index, self.of, self.clips, self._listing = output, index, of, clips, listing
        self.place = output / STATE_FOLDER / f"shard-{index}-of-{of}"
        self.lease = Lease(self.place, lease_s)
        self.state = self.place
        self.before = [output / STATE_FOLDER / JOURNAL, *(turn / JOURNAL for turn in turns(self.place))]
        self.is_finished = False

    def __enter__(self) -> Block:
        refuse_other_counts(self.output, self.of)
        self.lease = Lease(self.place, self.lease.lease_s)
        with ExitStack() as stack:
            stack.enter_context(self.lease)
            # First our sign, then a look for theirs; who works on the whole does it the same way round.
            if owner := FolderLock(self.output / STATE_FOLDER / "lock").holder():
                raise UsageError(
                    f"a run or merge holds {printable(str(self.output))}: {describe(owner)}",
                    code="LOCKED",
                    hint="wait for it",
                )
            self._held = stack.pop_all()
        self.state = self.lease.turn
        self.before = [self.before[0], *(turn / JOURNAL for turn in self.lease.before)]
        return self

    def __exit__(self, *exc: object) -> None:
        self._held.close()

    def holds(self, clip_id: str) -> bool:
        """Whether a clip belongs to this shard."""
        return shard_of(clip_id, self.of) == self.index

    def is_done(self, settings: str) -> bool:
        """Whether a holder finished just these clips with these settings."""
        return facts_of(self.place).get("key") == self._key(settings)

    def finish(self, settings: str) -> None:
        """Note that every clip of the shard has its record."""
        self.is_finished = True
        facts = {"clips": len(self.clips), **self._listing, "key": self._key(settings)}
        write_atomic(self.state / "done.json", json.dumps(facts).encode())

    def _key(self, settings: str) -> str:
        lines = [settings, *(f"{clip.id}\0{clip.size}\0{clip.mtime_ns}" for clip in self.clips)]
        return text_key("\n".join(lines).encode("utf-8"))


def split(output: Path, share: Share, listing: Sequence[Clip], lease_s: float) -> list[Block]:
    """The blocks that a share may work on, none of them held yet.

    Args:
        output: the common folder.
        share: see `Share`.
        listing: all clips, of all shards, sorted by id.
        lease_s: seconds without a heartbeat after which a holder counts as gone.
    """
    groups: list[list[Clip]] = [[] for _ in range(share.of)]
    for clip in listing:
        groups[shard_of(clip.id, share.of) - 1].append(clip)
    key = text_key("\0".join(clip.id for clip in listing).encode("utf-8"))
    facts = {"listed": len(listing), "listing": key}
    return [
        Block(output, index, share.of, group, facts, lease_s)
        for index, group in enumerate(groups, 1)
        if share.index in (None, index)
    ]


def held(blocks: list[Block], share: Share, settings: str, stopped: Callable[[], bool]) -> Generator[Block, None, None]:
    """The blocks to work on, each held while it is the current one. Close the iterator when leaving it early.

    With a fixed share that is its one shard. Otherwise every block that is not done and that nobody holds, until all
    are done; while others still work it waits, for they may die.

    Args:
        blocks: of `split`.
        share: the same as there.
        settings: key of the settings; a block done with others is not done.
        stopped: asked between blocks; once true the iterator ends.

    Raises:
        UsageError: code LOCKED, another process holds the fixed shard. OTHER_SHARDS: see `refuse_other_counts`.
    """
    if share.index is not None:
        with blocks[0] as block:
            yield block
        return
    left = random.sample(blocks, len(blocks))  # workers that start together go separate ways
    while left and not stopped():
        waiting = []
        for block in left:
            if stopped():
                return
            if block.is_done(settings):
                continue
            with ExitStack() as stack:
                try:
                    stack.enter_context(block)
                except UsageError as error:
                    if error.code != "LOCKED":
                        raise
                    waiting.append(block)
                    continue
                yield block
            if not block.is_finished:
                waiting.append(block)
        if waiting and waiting == left:
            logger.info("waiting for %d of %d blocks that others work on", len(waiting), share.of)
            _pause(min(_POLL_S, left[0].lease.lease_s / 4), stopped)
        left = waiting


def places(output: Path) -> dict[int, dict[int, Path]]:
    """The shards an output folder holds: count of shards → number of the shard → its folder."""
    found: dict[int, dict[int, Path]] = {}
    state = output / STATE_FOLDER
    for path in sorted(state.iterdir()) if state.is_dir() else []:
        if match := _PLACE.fullmatch(path.name):
            found.setdefault(int(match[2]), {})[int(match[1])] = path
    return found


def journals(output: Path) -> list[Path]:
    """The journals of all holders of all shards, those of one shard in order."""
    return [
        turn / JOURNAL
        for of, group in sorted(places(output).items())
        for _, place in sorted(group.items())
        for turn in turns(place)
        if (turn / JOURNAL).exists()
    ]


def facts_of(place: Path) -> dict[str, Any]:
    """What the newest holder of a shard noted when it had finished; {} when it has not."""
    every = turns(place)
    try:
        facts = read_json(every[-1] / "done.json") if every else {}
    except (FileNotFoundError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def are_done(output: Path, of: int) -> bool:
    """Whether all `of` shards have a holder that finished."""
    found = places(output).get(of, {})
    return len(found) == of and all(facts_of(place) for place in found.values())


def unmerged(output: Path, merged: Mapping[str, int]) -> list[Path]:
    """Journals of shards that hold more than was merged. `merged`: path below `.v2t` → bytes that were."""
    return [path for path in journals(output) if path.stat().st_size != merged.get(merge_name(output, path), 0)]


def merge_name(output: Path, journal: Path) -> str:
    """What the journal of the whole calls the journal of a shard."""
    return journal.relative_to(output / STATE_FOLDER).as_posix()


def refuse_living(output: Path) -> None:
    """Raise UsageError LOCKED when a process works on a shard of the folder."""
    for group in places(output).values():
        for place in group.values():
            if owner := holder(place):
                raise UsageError(
                    f"another process works on {printable(str(place))}: {describe(owner)}",
                    code="LOCKED",
                    hint="wait for it, or end it; what is finished is saved",
                )


def refuse_other_counts(output: Path, of: int) -> None:
    """Raise UsageError OTHER_SHARDS when the folder holds shards of another count that were not merged."""
    others = [count for count in places(output) if count != of]
    if not others:
        return
    from cineloop.journal import Journal
    from v2t.caption.ledger import Ledger

    with Journal(output / STATE_FOLDER / JOURNAL, writable=False) as journal:
        left = unmerged(output, Ledger(journal).merged)
    for path in left:
        match = _PLACE.fullmatch(path.parent.parent.name)
        if match and int(match[2]) != of:
            raise UsageError(
                f"{printable(str(output))} holds shards of {match[2]}, and this run is one of {of}",
                code="OTHER_SHARDS",
                hint=f"go on with --shard .../{match[2]}, or join them first: v2t merge {printable(str(output))}",
            )


def _pause(seconds: float, stopped: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while not stopped() and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.25))
