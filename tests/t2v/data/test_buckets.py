"""Buckets: every clip counted, reasons named, batches of one bucket that depend on the sample number alone."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cineloop.errors import UsageError
from cineloop.training.loader import spans
from t2v.data.buckets import Bucket, BucketBatches, BucketConfig, Extent, assign

CONFIG = BucketConfig(
    sizes=((480, 832), (832, 480), (720, 1280)), lengths=(1, 17, 33), max_upscale=1.2, max_dropped=0.5
)


def only(extent: Extent, config: BucketConfig = CONFIG) -> Bucket:
    return next(bucket for bucket, clips in assign([extent], config).members.items() if clips)


def test_size_by_aspect_then_area_and_length_by_what_is_there():
    assert only(Extent(40, 1080, 1920)) == (33, 720, 1280)
    assert only(Extent(32, 480, 854)) == (17, 480, 832)  # 720p would blow it up 1.5 times
    assert only(Extent(17, 1920, 1080)) == (17, 832, 480)
    assert only(Extent(16, 1080, 1920)) == (1, 720, 1280)


def test_what_fits_nowhere_is_named_and_counted():
    extents = [Extent(33, 720, 1280)] * 3 + [Extent(33, 90, 160), Extent(3, 720, 1280)]
    config = BucketConfig(sizes=((720, 1280),), lengths=(17, 33), max_dropped=0.4)
    result = assign(extents, config)
    assert set(result.dropped) == {3, 4}
    table = result.table(2)
    assert "dropped: too short, and the shortest bucket has 17 frames" in table and "40" not in table.split("\n")[0]
    lines = {line.split("  ")[0]: line.split() for line in table.splitlines()}
    assert lines["33×720×1280"][1:] == ["3", "60.0%", "100%", "100%", "2", "1.50"]
    assert lines["17×720×1280"][1:3] == ["0", "0.0%"] and lines["17×720×1280"][-1] == "empty"
    with pytest.raises(UsageError, match="2 of 5 clips fit no bucket, allowed are 39.0%: 1 .*too small.*; 1 too short"):
        assign(extents, BucketConfig(sizes=((720, 1280),), lengths=(17, 33), max_dropped=0.39))
    with pytest.raises(UsageError, match="an image, and the shortest bucket has 17 frames"):
        assign([Extent(1, 720, 1280)], BucketConfig(sizes=((720, 1280),), max_dropped=1.0))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"lengths": (16,)}, "4k \\+ 1, got 16 \\(nearest: 17\\)"),
        ({"lengths": (17,), "frame_step": 6}, "6k \\+ 1, got 17 \\(nearest: 19\\)"),
        ({"sizes": ((64, 60),)}, "multiples of 16, got 60"),
        ({"max_upscale": 0.5}, "max_upscale"),
    ],
)
def test_the_models_rule_is_checked(bad, says):
    with pytest.raises(ValueError, match=says):
        BucketConfig(**bad)


counts = st.lists(st.integers(0, 23), min_size=1, max_size=4).filter(any)


def batches_of(numbers: list[int], batch_size: int, equal_tokens: bool) -> BucketBatches:
    first, members = 0, []
    for row, number in enumerate(numbers):
        if number:
            members.append((Bucket(1 + 4 * row, 64, 64), tuple(range(first, first + number))))
        first += number
    return BucketBatches(tuple(members), batch_size, seed=3, equal_tokens=equal_tokens)


@pytest.mark.slow
@given(counts, st.integers(1, 6), st.booleans())
def test_every_clip_is_seen_equally_often(numbers, batch_size, equal_tokens):
    batches = batches_of(numbers, batch_size, equal_tokens)
    seen: Counter[int] = Counter()
    passes = 12
    for step in range(sum(batches.steps_before(passes))):
        bucket, clips = batches(step * batch_size, batch_size)
        members = dict(batches.members)[bucket]
        assert set(clips) <= set(members)
        seen.update(clips)
    shares = batches.shares()
    for row, (_, clips) in enumerate(batches.members):
        times = [seen[clip] for clip in clips]
        assert max(times) - min(times) <= 1
        assert passes - batch_size * shares[row] / len(clips) - 1 < min(times) and max(times) <= passes


@pytest.mark.slow
@given(counts, st.booleans())
def test_micro_batches_processes_and_resume_give_the_same_clips(numbers, equal_tokens):
    batches = batches_of(numbers, 12, equal_tokens)
    whole = [batches(step * 12, 12) for step in range(9)]
    for world, micro in ((1, 4), (2, 3), (3, 2)):
        parts: dict[int, list[int]] = {step: [] for step in range(5, 9)}
        for rank in range(world):
            for start, count in spans(5, 9, 12, micro, rank, world):  # as if resumed at step 5
                bucket, clips = batches(start, count)
                assert bucket == whole[start // 12][0]
                parts[start // 12] += clips
        assert all(parts[step] == whole[step][1] for step in parts)


def test_equal_tokens_fills_small_buckets():
    members = ((Bucket(1, 64, 64), tuple(range(50))), (Bucket(17, 64, 128), tuple(range(50, 90))))
    batches = BucketBatches(members, batch_size=3, equal_tokens=True)
    sizes = {bucket: len(clips) for bucket, clips in (batches(3 * step, 3) for step in range(20))}
    assert sizes == {Bucket(1, 64, 64): 30, Bucket(17, 64, 128): 3}
    cost = {bucket: size * bucket.tokens() for bucket, size in sizes.items()}
    assert max(cost.values()) == min(cost.values())


def test_samples_of_two_steps_are_refused():
    with pytest.raises(ValueError, match="not of one step"):
        batches_of([4], 4, False)(2, 4)
    with pytest.raises(UsageError, match="no bucket holds a clip"):
        BucketBatches((), 4)
