"""The rules of the simulated cluster, one by one; the array that runs for real is compared in tests/v2t/caption."""

from __future__ import annotations

import numpy as np
import pytest

from simulated_cluster import simulation as sim

CALM = sim.Cluster(
    nodes=4, clip_s=1.0, spread=0.5, batch=4, load_s=10.0, losses_per_day=0.0, slow_share=0.0, notice_s=0.0
)


def shares(clips: int, shards: int, cluster=CALM, seed: int = 1) -> list[np.ndarray]:
    seconds = sim.clip_seconds(cluster, clips, np.random.default_rng(seed))
    return np.array_split(seconds, shards)


def test_without_losses_a_run_takes_what_its_longest_shard_takes():
    work = shares(400, 4)
    out = sim.run_shards(CALM, work, seed=0)
    assert out.seconds == pytest.approx(10.0 + max(share.sum() for share in work))
    assert (out.records, out.unfinished, out.starts, out.redone_s, out.lost_nodes) == (400, 0, 4, 0.0, 0)
    assert out.node_s == pytest.approx(sum(share.sum() + 10.0 for share in work))
    queue = sim.run_queue(CALM, np.concatenate(work), seed=0)
    assert queue.records == 400 and queue.starts == 4 and queue.seconds <= out.seconds


def test_the_same_seed_is_the_same_run():
    cluster = sim.Cluster(nodes=8, losses_per_day=200.0, slow_share=0.3, load_s=20.0)
    work = shares(20_000, 32, cluster)
    assert sim.run_shards(cluster, work, seed=3) == sim.run_shards(cluster, work, seed=3)
    assert sim.run_shards(cluster, work, seed=3) != sim.run_shards(cluster, work, seed=4)
    whole = np.concatenate(work)
    assert sim.run_queue(cluster, whole, seed=3) == sim.run_queue(cluster, whole, seed=3)


@pytest.mark.parametrize("notice_s", [0.0, 120.0])
def test_losses_repeat_only_what_was_in_hand_and_lose_no_record(notice_s):
    cluster = sim.Cluster(nodes=8, losses_per_day=200.0, load_s=20.0, notice_s=notice_s, clip_s=0.5)
    work = shares(20_000, 32, cluster)
    for out in (sim.run_shards(cluster, work, seed=3), sim.run_queue(cluster, np.concatenate(work), seed=3)):
        assert out.records == 20_000 and out.unfinished == 0 and out.lost_nodes > 0
        if notice_s:  # every batch is shorter than the notice: all are saved
            assert out.redone_s == 0.0
        else:
            longest = max(share.max() for share in work) * cluster.batch * cluster.slow_factor
            assert 0 < out.redone_s <= out.lost_nodes * longest


def test_a_clip_that_kills_holds_its_shard_but_not_a_queue():
    work = shares(400, 4)
    work[1][50] *= -1
    out = sim.run_shards(CALM, work, seed=0)
    assert out.killed == CALM.attempts and out.starts == 3 + CALM.attempts
    assert out.unfinished == len(work[1]) - 48  # from its batch of four on
    queue = sim.run_queue(CALM, np.concatenate(work), seed=0)
    assert (queue.records, queue.killed) == (400, 1 + CALM.attempts)  # once in its batch


def test_a_stop_ends_a_start_at_the_batch_that_was_saved():
    work = shares(400, 4)
    out = sim.run_shards(CALM, work, seed=0, stops={2: [sim.Stop(8, drains=True), sim.Stop(20, drains=False)]})
    assert out.by_shard is not None
    assert out.by_shard[2] == [8, 20, 72] and [len(each) for each in out.by_shard] == [1, 1, 3, 1]


def test_more_shards_than_nodes_even_out_slow_nodes_and_cost_starts():
    cluster = sim.Cluster(nodes=16, losses_per_day=0.0, slow_share=0.2, load_s=5.0, clip_s=0.5)
    seconds = sim.clip_seconds(cluster, 50_000, np.random.default_rng(0))
    one, many = (sim.run_shards(cluster, np.array_split(seconds, n), seed=1) for n in (16, 160))
    queue = sim.run_queue(cluster, seconds, seed=1)
    assert queue.seconds < many.seconds < one.seconds
    assert (one.starts, many.starts, queue.starts) == (16, 160, 16)
