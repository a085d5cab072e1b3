"""State of a captioning run over many processes, from its journals alone (`v2t cluster status`).

In: an output folder, also while processes write into it. Out: a `Status`: clips that are done, failed, in hand, lost
and waiting; speed; time left; the same for each shard and node. A shard is

- finished: each of its clips has a record;
- running: a process holds its lock (on a store: wrote within ten minutes), and its other clips are in hand;
- lost: its process was killed, and its other clips go on when it is started again;
- stopped: its process ended in order before it was finished;
- waiting: it was never started.

The worker of a cluster has no share: its clips are those it has begun with.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cineloop.errors import NothingMatchedError
from cineloop.journal import Entry, Journal, Place
from cineloop.lock import FolderLock
from cineloop.log import plural, printable
from cineloop.store import is_store
from v2t.caption import shards, stored
from v2t.caption.ledger import Ledger
from v2t.caption.merge import winners_of

FINISHED, RUNNING, LOST, STOPPED, WAITING = "finished", "running", "lost", "stopped", "waiting"


@dataclass(kw_only=True)
class ShardStatus:
    """One journal's part of the run; `clips` is its share, 0 where it has none of its own or that is unknown."""

    name: str
    node: str = ""
    state: str = WAITING
    starts: int = 0
    clips: int = 0
    done: int = 0
    failed: int = 0
    per_s: float = 0.0  # records a second since it was last started; 0 where it does not run

    @property
    def left(self) -> int:
        return max(0, self.clips - self.done - self.failed)

    @property
    def is_share(self) -> bool:
        """Whether it is a numbered shard, with a share of its own."""
        return bool(re.fullmatch(r"\d+/\d+", self.name))


@dataclass(kw_only=True)
class Status:
    """The whole run."""

    output: str
    clips: int
    done: int
    failed: int
    shards: list[ShardStatus]

    @property
    def in_hand(self) -> int:
        """Clips without a record whose process runs."""
        return sum(shard.left for shard in self.shards if shard.state == RUNNING)

    @property
    def lost(self) -> int:
        """Clips without a record whose process was killed."""
        return sum(shard.left for shard in self.shards if shard.state == LOST)

    @property
    def waiting(self) -> int:
        """Clips without a record that no process has begun with, or whose process ended in order."""
        return max(0, self.clips - self.done - self.failed - self.in_hand - self.lost)

    @property
    def per_s(self) -> float:
        """Records a second of all that runs."""
        return sum(shard.per_s for shard in self.shards)

    @property
    def left_s(self) -> float | None:
        """Seconds until all that runs is finished; None: unknown. A shard's clips are its own, so the slowest decides;
        workers share theirs."""
        running = [shard for shard in self.shards if shard.per_s]
        own = [shard.left / shard.per_s for shard in running if shard.is_share]
        left = (self.clips - self.done - self.failed) / self.per_s if running and not own else None
        return max(own, default=left)

    @property
    def retry(self) -> list[int]:
        """Numbers of the shards that do not run and have clips left, or failed ones."""
        shares = {i: shard for i, shard in enumerate(self.shards, 1) if shard.is_share}
        return [i for i, shard in shares.items() if shard.state != RUNNING and
                (shard.state != FINISHED or shard.failed)]  # fmt: skip

    @property
    def nodes(self) -> dict[str, dict[str, float]]:
        """By machine: what its shards have made, and how fast they are."""
        nodes: dict[str, dict[str, float]] = {}
        for shard in (shard for shard in self.shards if shard.node):
            node = nodes.setdefault(shard.node, {"running": 0, "done": 0, "failed": 0, "per_s": 0.0})
            node["running"] += shard.state == RUNNING
            node["done"] += shard.done
            node["failed"] += shard.failed
            node["per_s"] = round(node["per_s"] + shard.per_s, 3)
        return nodes

    def to_dict(self) -> dict[str, Any]:
        names = ("output", "clips", "done", "failed", "in_hand", "lost", "waiting", "per_s", "left_s", "retry", "nodes")
        return {**{name: getattr(self, name) for name in names}, "shards": [asdict(shard) for shard in self.shards]}

    def line(self) -> str:
        counts = {name: getattr(self, name) for name in ("done", "failed", "in_hand", "lost", "waiting")}
        parts = [f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items()]
        parts += [f"{self.per_s:.1f} clips/s"] if self.per_s else []
        parts += [f"about {duration(self.left_s)} left"] if self.left_s else []
        return f"{self.output}: {plural(self.clips, 'clip')}: {', '.join(parts)}"


def status_of(output: Path | str) -> Status:
    """Read the journals of an output folder or of one on a store; nothing is written.

    Raises:
        NothingMatchedError: no captioning run wrote into it. MissingDependencyError: STORE.
    """
    if is_store(output):
        with stored.reading(str(output)) as copy:
            stored.mark_writers(copy)
            return replace(status_of(copy.folder), output=copy.url)
    output = Path(output)
    state = output / shards.STATE_FOLDER
    ledgers: dict[Path, _RunLedger] = {}
    for path in sorted(state.rglob(shards.JOURNAL)):
        with Journal(path, writable=False) as journal:  # closed again: there may be thousands
            ledgers[path.parent] = _RunLedger(journal)
    if not ledgers:
        raise NothingMatchedError(f"{printable(str(output))} is not the output folder of a captioning run")
    good = {clip_id: known.status == "ok" for clip_id, (_, known) in winners_of(ledgers.values()).items()}
    runs = [run for ledger in ledgers.values() for run in ledger.runs]
    listed = max(runs, key=lambda run: (run["listed"] > 0, run["at"]))["listed"] if runs else 0  # a worker lists none
    places = shards.places(output)
    numbered = {place for group in places.values() for place in group.values()}
    others = [place for place in ledgers if place not in numbered and place != state]
    rows = []
    if places:  # those of the latest division
        of = max(places, key=lambda count: max(place.stat().st_mtime for place in places[count].values()))
        rows = [ShardStatus(name=f"{index}/{of}") for index in range(1, of + 1)]
        for index, place in places[of].items():
            _fill(rows[index - 1], place, ledgers.get(place))
        for clip_id, is_good in good.items():
            row = rows[shards.shard_of(clip_id, of) - 1]
            row.done += is_good
            row.failed += not is_good
    for place in others or ([] if places else [state]):
        row = ShardStatus(name=place.relative_to(state).as_posix())
        _fill(row, place, ledgers[place])
        row.done = sum(known.status == "ok" for known in ledgers[place].known.values())
        row.failed = len(ledgers[place].known) - row.done
        if place in others:
            row.clips = len(ledgers[place].known) + len(ledgers[place].open)
        else:
            row.clips = max(listed, len(good))
            row.state = FINISHED if row.state == STOPPED and not row.left else row.state
        rows.append(row)
    done = sum(good.values())
    return Status(
        output=printable(str(output)), clips=max(listed, len(good)), done=done, failed=len(good) - done, shards=rows
    )


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3 h 5 min`, `4 d 2 h`."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


class _RunLedger(Ledger):
    """A ledger that also keeps the starts of runs, counts the records since the last, and knows what was only begun."""

    def __init__(self, journal: Journal) -> None:
        self.runs: list[Entry] = []
        self.open: set[str] = set()  # ids that a worker began with
        self.num_new, self.last_at = 0, 0.0
        super().__init__(journal)

    def _learn(self, entry: Entry, place: Place) -> None:
        super()._learn(entry, place)
        if entry["kind"] == "run":
            self.runs.append(entry)
            self.num_new = 0
        elif entry["kind"] == "clip":
            self.num_new += 1
            self.last_at = entry.get("at", 0.0)
            self.open.discard(entry["record"]["id"])
        elif entry["kind"] == "part":
            self.open.discard(entry["id"])
        elif entry["kind"] == "begun":
            self.open.update(entry["ids"])


def _fill(row: ShardStatus, place: Path, ledger: _RunLedger | None) -> None:
    """What the files of a shard say of its process."""
    lock, facts = place / shards.LOCK, shards.facts_of(place)
    owner = FolderLock(lock).holder()
    if owner:
        row.state = RUNNING
    elif facts:
        row.state = FINISHED
    else:  # a process that ends in order empties its lock
        row.state = LOST if lock.exists() and lock.stat().st_size else STOPPED
    row.clips = facts.get("clips", 0)
    if ledger and ledger.runs:
        last = ledger.runs[-1]
        row.node, row.starts, row.clips = last["host"], len(ledger.runs), last["clips"]
        if owner and ledger.num_new:  # both times are by the clock of that node
            row.per_s = round(ledger.num_new / max(ledger.last_at - last["at"], 0.001), 3)
