"""The nearest clip of a second set, and the one that is copied."""

from __future__ import annotations

import numpy as np
import pytest

from planted_films import picture
from v2t_eval.core.measurement import Evidence
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.near.across import nearest_across
from v2t_eval.near.overlay import SIZE
from v2t_eval.near.vectors import CopyPictures, CopyVectors


def frames(seed: int, x: int = 0) -> np.ndarray:
    """Five pictures in which a square moves; `x`: where it begins."""
    made = np.stack([picture(seed, SIZE)] * 5)
    for n, frame in enumerate(made):
        frame[20:26, x + 15 * n : x + 6 + 15 * n] = (250, 40, 40)
    return made


def evidence(pixels: np.ndarray) -> Evidence:
    """Brightness as it is measured, and for embedding the mean colours of a grid: the tower's weights are retrained."""
    from cineloop.video.frames import Frames

    sample = Sample(id="a", clip=SampleClip.from_frames(Frames.from_pixels(pixels, 1)))
    grids = [each.reshape(5, 6, 9, 8, 12, 3).mean((0, 2, 4)).ravel() for each in (pixels, pixels[:, :, ::-1])]
    vectors = CopyVectors(model="")
    vectors.prepare()
    vector, mirrored = (grid - grid.mean() for grid in grids)
    return {**vectors.measure(sample), **CopyPictures().measure(sample), "vector": vector, "mirrored": mirrored}


def test_copies_are_named_and_like_clips_are_not() -> None:
    training = [evidence(frames(seed)) for seed in (1, 2, 3)]
    brighter = np.clip(frames(2).astype(int) + 4, 0, 255).astype(np.uint8)
    own = [
        evidence(each) for each in (brighter, np.ascontiguousarray(frames(3)[:, :, ::-1]), frames(1, x=12), frames(9))
    ]
    copy, mirror, like, other = nearest_across(own, training, 0.001)
    assert (copy.place, copy.copied, copy.is_mirrored) == (1, 1, False) and copy.cosine == pytest.approx(1, abs=0.01)
    assert (mirror.place, mirror.copied, mirror.is_mirrored) == (2, 2, True)
    assert (like.place, like.copied) == (0, -1) and like.cosine > 0.99  # near, and yet another clip
    assert other.copied == -1 and other.cosine < like.cosine


def test_many_clips_in_parts_are_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    training = [evidence(frames(seed)) for seed in range(4)]
    own = [evidence(frames(seed, x=4)) for seed in (3, 1, 7)]
    singly = [nearest_across([each], training, 0.001)[0] for each in own]
    monkeypatch.setattr("v2t_eval.near.across._ROWS", 2)
    for one, several in zip(singly, nearest_across(own, training, 0.001), strict=True):
        assert (one.place, one.copied) == (several.place, several.copied)
        assert one.cosine == pytest.approx(several.cosine, abs=1e-6)
