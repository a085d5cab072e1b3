"""Sampling as arithmetic: properties that hold for every clip from one frame to an hour."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cineloop.errors import ItemError, UsageError
from cineloop.video.sample import SAMPLERS, SampleSpec, choose, motion_energy, positions_at

HOUR = 3600.0


@st.composite
def timelines(draw) -> tuple[np.ndarray, float]:
    """(times (N,), duration): constant or variable rate, one frame to an hour."""
    num = draw(st.integers(1, 400))
    if draw(st.booleans()):
        fps = draw(st.sampled_from([0.11, 1.0, 8.0, 24000 / 1001, 25.0, 30000 / 1001, 60.0, 240.0]))
        times = np.arange(num) / fps
    else:
        seed = draw(st.integers(0, 2**32 - 1))
        steps = np.random.default_rng(seed).exponential(1.0, num) ** 3 + 1e-3
        times = np.concatenate([[0.0], np.cumsum(steps)[:-1]])
        times *= min(1.0, HOUR / max(times[-1], 1e-9))
    last = float(times[-1] - times[-2]) if num > 1 else 0.04
    return times, float(times[-1]) + last


@st.composite
def questions(draw):
    times, duration = draw(timelines())
    spec = SampleSpec(
        sampler=draw(st.sampled_from(SAMPLERS)),
        num_frames=draw(st.integers(1, 64)),
        fps=draw(st.sampled_from([0.05, 0.5, 1.0, 2.0, 7.3, 1e9])),
        segment_s=draw(st.sampled_from([0.5, 4.0, 60.0])),
        max_frames=draw(st.integers(1, 300)),
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    keys = times[np.sort(rng.choice(len(times), rng.integers(0, len(times) + 1), replace=False))]
    grid = np.sort(rng.uniform(0, duration, rng.integers(0, 200)))
    energy = rng.exponential(1.0, len(grid)) * (rng.random(len(grid)) < 0.3)
    return times, duration, spec, dict(keyframe_times_s=keys, motion_times_s=grid, motion_energy=energy)


@pytest.mark.slow
@given(questions())
def test_every_sampler_covers_the_clip_and_repeats_nothing(question):
    times, duration, spec, extra = question
    picked = choose(spec, times, duration, **extra)
    assert picked.dtype == np.int64 and 1 <= len(picked) <= min(len(times), spec.max_frames)
    assert picked[0] >= 0 and picked[-1] < len(times) and (np.diff(picked) > 0).all()
    if len(picked) > 1:
        assert picked[0] == 0 and times[-1] - times[picked[-1]] <= 1.0 + 1e-6
    if spec.sampler in ("uniform", "keyframe", "motion"):
        assert len(picked) == min(spec.num_frames, spec.max_frames, len(times))


@given(timelines(), st.integers(2, 64))
def test_uniform_leaves_no_gap_wider_than_its_step(clip, num):
    times, duration = clip
    picked = choose(SampleSpec(num_frames=num), times, duration)
    targets = np.linspace(times[0], times[-1], num)
    # Every target's own frame, or one at most as far as the collisions before it push.
    assert set(positions_at(times, targets)) <= set(picked) or len(picked) == min(num, len(times))
    if len(times) >= num and np.ptp(np.diff(times)) < 1e-9:
        step = (times[-1] - times[0]) / (num - 1)
        assert np.diff(times[picked]).max() <= step + np.diff(times).max() + 1e-6


@given(timelines(), st.floats(0, 1), st.floats(0.01, 1), st.sampled_from(SAMPLERS))
def test_a_window_stays_a_window(clip, start, length, sampler):
    times, duration = clip
    begin, end = start * duration * 0.99, min(duration, start * duration * 0.99 + length * duration + 1e-3)
    spec = SampleSpec(sampler=sampler, num_frames=8, fps=4.0, start_s=begin, end_s=end)
    energy = np.ones_like(times)
    picked = choose(spec, times, duration, keyframe_times_s=times, motion_times_s=times, motion_energy=energy)
    ends = np.append(times[1:], duration)  # a frame is on screen until the next one
    assert (ends[picked] > begin - 1e-5).all()
    assert (times[picked] < end + 1e-5).all()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_frame_two_frames_an_hour(sampler):
    extra = dict(keyframe_times_s=np.zeros(1), motion_times_s=np.zeros(0), motion_energy=np.zeros(0))
    spec = SampleSpec(sampler=sampler, num_frames=32, fps=2.0, max_frames=32)
    assert choose(spec, np.zeros(1), 0.04, **extra).tolist() == [0]
    assert choose(
        SampleSpec(sampler=sampler, num_frames=32, fps=50.0), np.array([0, 0.04]), 0.08, **extra
    ).tolist() == [0, 1]
    hour = np.arange(30 * 3600) / 30
    picked = choose(spec, hour, HOUR, **extra)
    assert len(picked) == 32 and picked[0] == 0 and hour[picked[-1]] > HOUR - 1
    assert np.diff(hour[picked]).max() < HOUR / 15  # nothing after minute six lost (book, item 6)


def test_fps_starts_at_the_start_and_steps_evenly():
    times = np.arange(300) / 30  # 10 s
    picked = choose(SampleSpec(sampler="fps", fps=3.0), times, 10.0)
    assert picked.tolist() == list(range(0, 300, 10))  # offset 0, not 3 (book, item 16)
    ten_minutes = np.arange(18000) / 30
    assert len(choose(SampleSpec(sampler="fps", fps=1.0), ten_minutes, 600.0)) == 600
    slow = choose(SampleSpec(sampler="fps", fps=0.03), times, 10.0)
    assert slow.tolist() == [0, 299]  # the end is seen although a step is 33 s


def test_segment_grows_with_the_clip():
    for seconds, segments in ((3, 1), (4, 1), (5, 2), (40, 10)):
        times = np.arange(25 * seconds) / 25
        picked = choose(SampleSpec(sampler="segment", num_frames=4, segment_s=4.0), times, float(seconds))
        assert len(picked) == 4 * segments


def test_keyframe_without_any_cut_still_gives_frames():
    times = np.arange(250) / 25
    for keys in (np.zeros(0), np.zeros(1)):  # one shot: detectors return nothing (book, item 9)
        picked = choose(SampleSpec(sampler="keyframe", num_frames=5), times, 10.0, keyframe_times_s=keys)
        assert picked[0] == 0 and picked[-1] == 249 and np.diff(picked).max() <= 63
    many = np.concatenate([np.arange(100) / 100, [5.0]])  # cuts crowd into the first second
    times = np.arange(1000) / 100
    picked = times[choose(SampleSpec(sampler="keyframe", num_frames=5), times, 10.0, keyframe_times_s=many)]
    assert 5.0 in picked and picked[-1] == times[-1]


def test_motion_goes_where_things_move_and_keeps_the_rest():
    times = np.arange(1000) / 25  # 40 s, all motion within seconds 30 to 32
    energy = ((times >= 30) & (times < 32)).astype(float)
    picked = times[
        choose(SampleSpec(sampler="motion", num_frames=32), times, 40.0, motion_times_s=times, motion_energy=energy)
    ]
    assert ((picked >= 29.9) & (picked <= 32)).sum() >= 14
    assert np.diff(picked).max() <= 40 / 15 and picked[0] == 0 and picked[-1] == times[-1]
    still = choose(
        SampleSpec(sampler="motion", num_frames=8), times, 40.0, motion_times_s=times, motion_energy=0 * times
    )
    assert still.tolist() == choose(SampleSpec(num_frames=8), times, 40.0).tolist()


def test_motion_energy_knows_no_resolution_and_sees_loops():
    turn = np.linspace(0, 2 * np.pi, 33)  # ends where it began (book, item 17)
    small = np.stack([np.full((9, 16), 128 + 100 * np.sin(a)) for a in turn]).astype(np.uint8)
    big = small.repeat(4, axis=1).repeat(4, axis=2)
    assert motion_energy(small) == pytest.approx(motion_energy(big))
    assert motion_energy(small).sum() == pytest.approx(400 / 255, rel=0.05)
    assert motion_energy(small[:1]).tolist() == [0.0] and len(motion_energy(small[:0])) == 0
    halves = motion_energy(small[::2]).sum()
    assert halves == pytest.approx(motion_energy(small).sum(), rel=0.1)


def test_wrong_questions_are_refused():
    for wrong in (
        dict(sampler="random"),
        dict(num_frames=0),
        dict(num_frames=True),
        dict(max_frames=0),
        dict(sampler="fps"),
        dict(sampler="fps", fps=0.0),
        dict(fps=float("nan")),
        dict(segment_s=-1.0),
        dict(start_s=-0.1),
        dict(start_s=2.0, end_s=2.0),
    ):
        with pytest.raises(UsageError):
            SampleSpec(**wrong)
    for spec in (SampleSpec(start_s=10.0), SampleSpec(start_s=99.0)):
        with pytest.raises(ItemError) as caught:
            choose(spec, np.arange(10) / 1.0, 10.0)
        assert caught.value.code == "NO_FRAMES"
    with pytest.raises(UsageError):
        choose(SampleSpec(sampler="keyframe"), np.arange(3.0), 3.0)
    with pytest.raises(UsageError):
        choose(SampleSpec(sampler="motion"), np.arange(3.0), 3.0)
