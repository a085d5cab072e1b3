"""Simulate a captioning run on many nodes: shards or one queue, lost spot machines, slow nodes, clips that kill.

    python scripts/simulate_cluster.py [--clips 1000000] [--nodes 64] [--shards 64,256,1024] [--seeds 20] [--json]

Discrete events, the same for the same seed. The rules, which the tests compare with an array that runs for real:

1. A shard's clips are done in batches, in order; a batch is saved whole at its end, and what is saved is never redone.
2. A node is lost after a time drawn from an exponential. With notice, the batch in hand is saved if it ends in time (a
   drain); without, it is done again. Its place is filled by a new node after a while.
3. A shard whose node was lost waits for the next free node, which loads the model first.
4. A failed clip has a record, and costs what others cost.
5. A clip that kills its process kills each process that comes to it. A shard is given up after some of these, with all
   clips behind it; a queue repeats the batch clip by clip, writes the clip off after some kills, and goes on.
6. Shards are given to free nodes in order. A queue gives each free node the next batch, longest clips first, and no
   node ends while others work.

Times of clips are lognormal; some nodes are slow. A node is paid from its start until no work is left for it.
"""

from __future__ import annotations

import argparse
import heapq
import json
import statistics
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The machines. `clip_s` is the mean time of a clip on a whole node, with lognormal spread `spread`."""

    nodes: int = 64
    clip_s: float = 0.25
    spread: float = 0.8
    batch: int = 16
    load_s: float = 60.0  # of a start, until the first clip begins
    losses_per_day: float = 1.0  # of a node
    notice_s: float = 120.0  # before a loss; 0 gives no notice
    replace_s: float = 300.0  # until a lost node's place is filled
    slow_share: float = 0.05  # of the nodes
    slow_factor: float = 2.0  # their time for a clip
    killers: int = 0  # clips that kill their process
    attempts: int = 3  # kills until a shard is given up, or a clip written off


@dataclass(frozen=True)
class Stop:
    """A process ended by force after so many records of its shard: with notice after the batch in hand, or at once."""

    records: int
    drains: bool


@dataclass(kw_only=True)
class Outcome:
    """What became of a run; seconds of nodes, counts of clips."""

    seconds: float = 0.0
    node_s: float = 0.0
    records: int = 0
    unfinished: int = 0
    redone_s: float = 0.0  # work that was lost
    starts: int = 0
    lost_nodes: int = 0
    killed: int = 0
    by_shard: list[list[int]] | None = None  # records of each start of each shard


@dataclass
class _Node:
    free_at: float
    lost_at: float
    factor: float
    is_loaded: bool = False


class _Run:
    """Nodes and counts of one simulation."""

    def __init__(self, cluster: Cluster, rng: np.random.Generator) -> None:
        self.cluster, self.rng, self.outcome = cluster, rng, Outcome()

    def node(self, at: float) -> _Node:
        """A new node that appears at a time."""
        per_s = self.cluster.losses_per_day / 86400
        lost_at = at + (self.rng.exponential(1 / per_s) if per_s else np.inf)
        return _Node(at, lost_at, self.cluster.slow_factor if self.rng.random() < self.cluster.slow_share else 1.0)

    def replaced(self, node: _Node, ended_at: float) -> _Node:
        """The node that takes the place of a lost one."""
        self.outcome.lost_nodes += 1
        return self.node(max(ended_at, node.lost_at) + self.cluster.replace_s)


def clip_seconds(cluster: Cluster, count: int, rng: np.random.Generator) -> np.ndarray:
    """Seconds of clips, (count,), and which kill as negative numbers."""
    seconds = rng.lognormal(np.log(cluster.clip_s) - cluster.spread**2 / 2, cluster.spread, count)
    seconds[rng.choice(count, cluster.killers, replace=False)] *= -1
    return seconds


def run_shards(
    cluster: Cluster, shares: Sequence[np.ndarray], seed: int, stops: Mapping[int, Sequence[Stop]] | None = None
) -> Outcome:
    """Simulate independent processes, one for each shard (rules 1 to 6).

    Args:
        cluster: the machines.
        shares: seconds of each shard's clips in order, negative where a clip kills.
        seed: of losses and slow nodes.
        stops: shard → what ends its first starts, besides losses.
    """
    run = _Run(cluster, np.random.default_rng(seed))
    out, order = run.outcome, 0
    free = [(0.0, number, run.node(0.0)) for number in range(cluster.nodes)]
    ready = [(0.0, shard, shard) for shard, share in enumerate(shares) if len(share)]
    heapq.heapify(ready)
    saved, kills, forced = [0] * len(shares), [0] * len(shares), {s: deque(each) for s, each in (stops or {}).items()}
    out.by_shard = [[] for _ in shares]
    while ready:
        ready_at, _, shard = heapq.heappop(ready)
        at, number, node = heapq.heappop(free)
        begin = max(at, ready_at)
        if node.lost_at <= begin:
            heapq.heappush(free, (begin + cluster.replace_s, number, run.replaced(node, begin)))
            heapq.heappush(ready, (ready_at, shard, shard))
            continue
        share, first = shares[shard], saved[shard]
        edges = np.append(np.arange(first, len(share), cluster.batch), len(share))  # of the batches
        seconds = np.add.reduceat(np.abs(share), edges[:-1]) * node.factor
        ends = begin + cluster.load_s + np.cumsum(seconds)
        ended_at, count, is_lost = _ended(cluster, share, edges, ends, node, forced.get(shard))
        out.starts += 1
        out.node_s += ended_at - begin
        saved[shard] = int(edges[count])
        out.by_shard[shard].append(saved[shard] - first)
        out.redone_s += max(0.0, ended_at - (ends[count - 1] if count else begin + cluster.load_s))
        out.seconds = max(out.seconds, ended_at)
        order += 1
        node.free_at = ended_at
        if is_lost:
            node = run.replaced(node, ended_at)
            heapq.heappush(free, (node.free_at, cluster.nodes + order, node))
        else:
            heapq.heappush(free, (ended_at, number, node))
        if saved[shard] < len(share):
            if not is_lost and count < len(ends) and (share[edges[count] : edges[count + 1]] < 0).any():
                kills[shard] += 1
                out.killed += 1
            if kills[shard] < cluster.attempts:
                heapq.heappush(ready, (ended_at, len(shares) + order, shard))
    out.records = sum(saved)
    out.unfinished = sum(map(len, shares)) - out.records
    return out


def _ended(
    cluster: Cluster, share: np.ndarray, edges: np.ndarray, ends: np.ndarray, node: _Node, forced: deque[Stop] | None
) -> tuple[float, int, bool]:
    """When a start of a shard ends, how many batches it saved, whether its node was lost."""
    total = len(ends)
    if forced:
        stop = forced.popleft()
        count = int(np.searchsorted(edges[1:] - edges[0], stop.records, side="right"))
        return float(ends[count - 1]), count, False
    killing = np.flatnonzero(np.minimum.reduceat(share, edges[:-1]) < 0)
    last = int(killing[0]) if len(killing) else total  # batches that can be saved
    finish = float(ends[min(last, total - 1)])
    if node.lost_at >= finish:
        return finish, last, False
    count = int(np.searchsorted(ends[:last], node.lost_at, side="right"))
    dead_at = node.lost_at + cluster.notice_s
    if cluster.notice_s and count < last and ends[count] <= dead_at:  # drained
        return float(ends[count]), count + 1, True
    return dead_at, count, True


def run_queue(cluster: Cluster, seconds: np.ndarray, seed: int) -> Outcome:
    """Simulate one queue for all nodes, as Ray's pools are (rules 2, 4, 5, 6); `seconds` as of a share."""
    run = _Run(cluster, np.random.default_rng(seed))
    out = run.outcome
    sorted_s = seconds[np.argsort(-np.abs(seconds), kind="stable")]
    queue: deque[np.ndarray] = deque(np.split(sorted_s, range(cluster.batch, len(sorted_s), cluster.batch)))
    kills: dict[float, int] = {}
    free = [(0.0, number, run.node(0.0)) for number in range(cluster.nodes)]
    order, began = cluster.nodes, dict.fromkeys(range(cluster.nodes), 0.0)
    while queue:
        at, number, node = heapq.heappop(free)
        order += 1
        if node.lost_at <= at:
            out.node_s += at - began.pop(number)
            new = run.replaced(node, at)
            began[order] = new.free_at
            heapq.heappush(free, (new.free_at, order, new))
            continue
        begin = at if node.is_loaded else at + cluster.load_s
        out.starts += not node.is_loaded
        node.is_loaded = True
        batch = queue.popleft()
        end = begin + float(np.abs(batch).sum()) * node.factor
        if end > node.lost_at + cluster.notice_s or (not cluster.notice_s and end > node.lost_at):
            out.redone_s += max(0.0, node.lost_at + cluster.notice_s - begin)
            queue.appendleft(batch)
            end = node.lost_at + cluster.notice_s
        elif (batch < 0).any():
            out.killed += 1
            out.redone_s += end - begin
            node.is_loaded = False
            if len(batch) > 1:
                queue.extendleft(batch[i : i + 1] for i in range(len(batch)))
            else:
                key = float(batch[0])
                kills[key] = kills.get(key, 0) + 1
                if kills[key] < cluster.attempts:
                    queue.appendleft(batch)
                else:
                    out.records += 1
        else:
            out.records += len(batch)
        out.seconds = max(out.seconds, end)
        heapq.heappush(free, (end, number, node))
    # Nodes wait for the last batch: an engine with a queue ends as a whole.
    out.node_s += sum(max(0.0, out.seconds - start) for start in began.values())
    return out


def summary(outcomes: Sequence[Outcome], ideal_s: float) -> dict[str, float]:
    """Means over seeds; `efficiency` is the time that the clips need over the time paid."""
    means = {
        f.name: statistics.fmean(getattr(o, f.name) for o in outcomes) for f in fields(Outcome) if f.name != "by_shard"
    }
    hours = {"hours": means.pop("seconds") / 3600, "node_hours": means.pop("node_s") / 3600}
    return {**hours, "efficiency": ideal_s / 3600 / hours["node_hours"], **means}


def main() -> int:
    """Print a table: shards by number, and the queue."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1_000_000)
    parser.add_argument("--shards", default="64,256,1024")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--price", type=float, default=1.0, help="dollars an hour of a node")
    parser.add_argument("--json", action="store_true")
    plain = Cluster()
    for field in fields(Cluster):
        default = getattr(plain, field.name)
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(default), default=default)
    args = parser.parse_args()
    cluster = replace(plain, **{field.name: getattr(args, field.name) for field in fields(Cluster)})
    rows: dict[str, dict[str, float]] = {}
    for name in [*args.shards.split(","), "queue"]:
        outcomes = []
        for seed in range(args.seeds):
            rng = np.random.default_rng([seed, args.clips])
            seconds = clip_seconds(cluster, args.clips, rng)
            if name == "queue":
                outcomes.append(run_queue(cluster, seconds, seed))
            else:
                share = rng.integers(0, int(name), args.clips)
                outcomes.append(run_shards(cluster, [seconds[share == i] for i in range(int(name))], seed))
        rows[name] = summary(outcomes, args.clips * cluster.clip_s)
        rows[name]["dollars"] = rows[name]["node_hours"] * args.price
    if args.json:
        print(json.dumps({"cluster": asdict(cluster), "clips": args.clips, "rows": rows}, indent=2))
        return 0
    print(f"{args.clips} clips, {args.seeds} seeds, {cluster}")
    print(f"{'shards':>7} {'hours':>7} {'node h':>8} {'dollars':>8} {'effic.':>6} {'redone h':>8} {'starts':>7} "
          f"{'lost':>6} {'unfinished':>10}")  # fmt: skip
    for name, row in rows.items():
        print(
            f"{name:>7} {row['hours']:7.2f} {row['node_hours']:8.1f} {row['dollars']:8.0f} {row['efficiency']:6.3f} "
            f"{row['redone_s'] / 3600:8.2f} {row['starts']:7.0f} {row['lost_nodes']:6.1f} {row['unfinished']:10.1f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
