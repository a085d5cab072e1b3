"""Pieces of VBench against the numbers of the reference (parity case A11) and against plain loops."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cineloop.errors import ItemError, UsageError
from cineloop.video.frames import Frames
from v2t_eval.core.inputs import prompt_and_index
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.metrics import dynamic_degree as dynamic
from v2t_eval.metrics.subject_consistency import consistency
from v2t_eval.vbench.flow import open_flow, pair_motion
from v2t_eval.vbench.interpolate import open_interpolator
from v2t_eval.vbench.long import pieces, scene_cuts
from v2t_eval.vbench.picks import middle_indices, pairs_apart, sampled_indices, triples_apart
from v2t_eval.vbench.ssim import difference, likeness, ssim
from v2t_eval.vbench.still import frozen, static_by, static_parameters

RNG = np.random.default_rng


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture with detail at several sizes, uint8 (H, W, 3)."""
    import cv2

    rough = [cv2.GaussianBlur(RNG(seed).normal(size=(height, width, 3)), (0, 0), s) * s for s in (1.5, 4, 9)]
    found = sum(rough)
    return np.clip(127 + 45 * found / found.std(), 0, 255).astype(np.uint8)


def sliding(num: int, step: int, side: int = 64, seed: int = 0) -> np.ndarray:
    """A picture that moves `step` pixels to the left each frame, uint8 (T, H, W, 3)."""
    wide = texture(side, side + step * num, seed)
    return np.stack([wide[:, step * t : step * t + side] for t in range(num)])


@given(st.integers(1, 40), st.integers(1, 200))
def test_middle_picks_are_frames_in_order(num, total):
    picked = middle_indices(num, total)
    assert len(picked) == num and picked == sorted(picked) and 0 <= picked[0] and picked[-1] < total


def test_d8_rounding_to_even_and_two_frames_that_always_move():
    assert [dynamic.num_required_pairs(n, compat=True) for n in (18, 22, 2)] == [4, 6, 0]  # 4.5, 5.5 and .5 to even
    assert [dynamic.num_required_pairs(n, compat=False) for n in (18, 22, 2)] == [5, 6, 1]
    assert dynamic.parameters((64, 64), 20, 40, compat=True).interval == 2  # 2.5 to even
    assert dynamic.parameters((64, 64), 20, 40, compat=False).interval == 3
    assert (
        dynamic.is_dynamic([0.0], 1.5, 0) and not dynamic.is_dynamic([0.0], 1.5, 1) and not dynamic.is_dynamic([], 1, 0)
    )


def test_a11_flicker_of_even_frames():
    frames = np.stack([np.full((4, 6, 3), level, np.uint8) for level in range(0, 60, 10)])
    total = sum(difference(a, b) for a, b in pairwise(frames))
    assert likeness(total, 5 * frames[0].size) == pytest.approx(0.9607843, abs=1e-7)


def test_differences_are_whole_numbers_of_any_frames():
    a, b = (RNG(seed).integers(0, 256, (37, 41, 3), dtype=np.uint8) for seed in (1, 2))
    assert difference(a, b) == int(np.abs(a.astype(int) - b).sum()) == difference(a[:, ::-1], b[:, ::-1])


def test_a11_consistency():
    angles = np.radians([0, 10, 25, 45, 70, 100])
    total, num = consistency(np.stack([np.cos(angles), np.sin(angles)], 1) * 7)
    assert num == 5 and total / num == pytest.approx(0.7603002, abs=1e-7)


def test_consistency_of_what_cannot_be_compared():
    with pytest.raises(ItemError) as one:
        consistency(np.ones((1, 4)))
    with pytest.raises(ItemError) as zero:
        consistency(np.zeros((3, 4)))
    assert (one.value.code, zero.value.code) == ("TOO_SHORT", "MODEL_ERROR")


@pytest.mark.parametrize(("fps", "step"), [(4, 1), (8, 1), (16, 2), (20, 2), (24, 3), (30, 4), (60, 7)])
def test_pairs_lie_a_fixed_time_apart_in_either_direction(fps, step):
    times = np.arange(33) / fps
    pairs = pairs_apart(times, 8)
    assert pairs == [(t, t + step) for t in range(33 - step)]
    assert sorted((32 - b, 32 - a) for a, b in pairs) == pairs  # shown backwards
    assert triples_apart(times, 8) == [(t, t + step, t + 2 * step) for t in range(33 - 2 * step)]


def test_picks_of_short_and_uneven_clips():
    assert pairs_apart([0.0], 8) == [] and triples_apart([0, 0.1], 8) == [] and sampled_indices([0.0], 8) == [0]
    assert pairs_apart(np.arange(2) / 24, 8) == [(0, 1)] and pairs_apart(np.arange(3) / 24, 8) == [(0, 2)]
    assert triples_apart(np.arange(3) / 24, 8) == [(0, 1, 2)]
    uneven = np.array([0, 0.04, 0.13, 0.25, 0.26, 0.4])
    assert sampled_indices(uneven, 8) == [0, 2, 3, 5] and pairs_apart(uneven, 0)[:2] == [(0, 1), (1, 2)]
    doubled = np.arange(16) / 16
    assert [i // 2 for i in sampled_indices(doubled, 8)] == sampled_indices(np.arange(8) / 8, 8)


def test_ssim_is_that_of_scikit_image():
    """Window by window, as the formula stands in scikit-image (Gaussian weights, population covariance, crop of 5)."""
    a, b = texture(19, 23, 1)[..., 0], texture(19, 23, 2)[..., 0]
    span = np.arange(-5, 6)
    line = np.exp(-(span**2) / (2 * 1.5**2))
    weights = np.outer(line, line) / line.sum() ** 2
    found = []
    for y in range(5, 14):
        for x in range(5, 18):
            p, q = (picture[y - 5 : y + 6, x - 5 : x + 6].astype(float) for picture in (a, b))
            mp, mq = (weights * p).sum(), (weights * q).sum()
            vp, vq, c = (
                (weights * p * p).sum() - mp**2,
                (weights * q * q).sum() - mq**2,
                (weights * p * q).sum() - mp * mq,
            )
            c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
            found.append((2 * mp * mq + c1) * (2 * c + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    assert ssim(a, b) == pytest.approx(np.mean(found), abs=1e-10)
    assert ssim(a, a) == 1.0 and ssim(a, b) == ssim(b, a)
    with pytest.raises(ItemError, match="11 pixels"):
        ssim(a[:10], b[:10])


@pytest.mark.parametrize("name", ["dis", "farneback"])
def test_flow_finds_a_known_shift(name):
    frames = sliding(2, 3)
    found = open_flow(name).between(frames[0], frames[1])
    assert np.abs(found[16:-16, 16:-16] - [-3, 0]).mean() < 0.25 and found.dtype == np.float32
    assert np.abs(open_flow(name).between(frames[0], frames[0])).max() < (0.01 if name == "dis" else 0.5)


def test_flow_of_a_pair_is_shared_and_its_greatest_parts_are_told():
    sample = Sample(id="a", clip=SampleClip.from_frames(Frames.from_pixels(sliding(2, 3), 8)))
    moved = pair_motion(sample, open_flow("dis"), 0, 1)
    length = np.sort(np.linalg.norm(open_flow("dis").between(*sample.frames.pixels).astype(float), axis=-1).ravel())
    assert moved.top2 == pytest.approx(length[-int(64 * 64 * 0.02) :].mean())
    assert moved.top5 == pytest.approx(length[-int(64 * 64 * 0.05) :].mean()) and moved.mean == pytest.approx(
        length.mean()
    )
    assert pair_motion(sample, open_flow("dis"), 0, 1) is moved


def test_unknown_and_too_small():
    with pytest.raises(UsageError, match="choices: dis, farneback"):
        open_flow("pwc")
    with pytest.raises(UsageError, match="torchscript:FILE"):
        open_interpolator("amt")
    with pytest.raises(UsageError, match="raft:FILE"):
        open_flow("raft")
    tiny = np.zeros((2, 8, 8, 3), np.uint8)
    with pytest.raises(ItemError) as small:
        open_flow("dis").between(tiny[0], tiny[1])
    assert small.value.code == "TOO_SMALL"


def test_the_middle_frame_is_better_than_a_blend():
    before, true, after = sliding(3, 4)
    drawn = open_interpolator("dis").middle(before, after)
    blend = ((before.astype(int) + after) // 2).astype(np.uint8)
    assert difference(drawn, true) < 0.4 * difference(blend, true)
    assert np.array_equal(open_interpolator("dis").middle(true, true), true)


def test_static_filter():
    assert static_parameters((256, 512), 16) == (3.0, 2) and static_parameters((480, 720), 20) == (5.625, 2)  # 2.5
    still, size = [1.0] * 15, (256, 256)
    assert static_by(still, (1, 1), size) and static_by([*still[2:], 9, 9], (1, 1), size)
    assert not static_by([*still[3:], 9, 9, 9], (1, 1), size)
    assert static_by(still, (12, 12), size) and not static_by(still, (12.1, 0), size)  # 2 * 3 px * 2


def test_frozen_through_a_codec_but_not_with_a_small_thing_that_moves(tmp_path):
    import av

    from cineloop.video.encode import encode

    still = np.repeat(texture(64, 96)[None], 9, 0)
    moving = still.copy()
    for t in range(9):
        moving[t, 30:33, 3 * t : 3 * t + 3] = 255
    recolored = np.stack([np.full((32, 32, 3), c, np.uint8) for c in ((120, 60, 200), (60, 115, 70))])
    there_and_back = np.concatenate([still[:4], moving[4:5], still[:4]])
    assert frozen(still) and frozen(still[:1]) and not frozen(moving) and not frozen(there_and_back)
    assert not frozen(recolored)
    for name, pixels in (("still", still), ("moving", moving)):
        encode(pixels, tmp_path / f"{name}.mp4", 8, crf=30)
        with av.open(str(tmp_path / f"{name}.mp4")) as file:
            decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])
        assert frozen(decoded) == (name == "still")


def test_names_of_videos():
    assert prompt_and_index("videos/a cat eats-3.mp4") == ("a cat eats", 3)
    assert prompt_and_index("a man-made lake-0_003.mp4") == ("a man-made lake", 0)
    assert prompt_and_index("a cat-2-Scene-1_000.mp4") == ("a cat", 2) == prompt_and_index("a cat-2.mp4")
    with pytest.raises(UsageError, match="PROMPT-INDEX"):
        prompt_and_index("a cat.mp4")


def test_pieces_of_long_clips():
    assert pieces(48, 16) == [(0, 16), (16, 32), (32, 48)]
    assert pieces(40, 16) == [(0, 16), (16, 32), (24, 40)]  # the last one borrows frames
    assert pieces(10, 16) == [(0, 10)] and pieces(40, 16, [22]) == [(0, 16), (6, 22), (22, 38), (24, 40)]


def test_scenes_are_cut_where_the_picture_changes():
    pixels = np.concatenate([np.repeat(texture(48, 64, s)[None] // 2 + 100 * s, 20, 0) for s in (0, 1)])
    assert scene_cuts(Frames.from_pixels(pixels.astype(np.uint8), 8)) == [20]
    assert scene_cuts(Frames.from_pixels(sliding(40, 1, 48), 8)) == []
