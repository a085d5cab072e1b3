"""Near copies of training clips: which are found, and what is not taken for one."""

from __future__ import annotations

import numpy as np
import pytest

from cineloop.video.frames import Frames
from metric_samples import frames, sample
from v2t_eval.core.metric import load_metric
from v2t_eval.core.sample import Sample, SampleClip


def clip(id: str, pixels: np.ndarray, fps: float = 4.0) -> Sample:
    return Sample(id=id, clip=SampleClip.from_frames(Frames.from_pixels(np.ascontiguousarray(pixels), fps)))


@pytest.mark.slow
def test_copies_of_every_kind_are_found_with_their_original() -> None:
    import cv2

    first = frames(0).pixels
    height, width = first.shape[1:3]
    cropped = np.stack(
        [cv2.resize(frame[3:-3, 3:-3], (width, height), interpolation=cv2.INTER_AREA) for frame in first]
    )
    noisy = np.clip(first + np.random.default_rng(0).normal(0, 3, first.shape), 0, 255).astype(np.uint8)
    made = [
        clip("recoded", noisy),
        clip("mirrored", first[:, :, ::-1]),
        clip("faster", first, fps=6.0),
        clip("cropped", cropped),
        clip("other", frames(3).pixels),
    ]
    metric = load_metric("near_copies")()
    metric.prepare()
    metric.update(made)
    metric.update([sample(i) for i in range(3)], reference=True)
    result = metric.compute()
    by_id = {item["id"]: item for item in result.items}
    for id in ("recoded", "mirrored", "faster", "cropped"):
        assert by_id[id]["value"] == 1.0 and by_id[id]["copy_of"] == "s00", by_id[id]
        assert by_id[id]["mirrored"] == (id == "mirrored")
    assert by_id["other"]["value"] == 0.0 and "copy_of" not in by_id["other"]
    assert by_id["other"]["distance"] > by_id["recoded"]["distance"] and by_id["faster"]["distance"] < 1e-6
    assert result.value == pytest.approx(0.8) and result.counts == {"copies": 4, "training_clips": 3}
    assert result.figures["distance"].n == 5


@pytest.mark.slow
def test_without_training_clips_there_is_no_figure() -> None:
    metric = load_metric("near_copies")()
    metric.prepare()
    metric.update(sample(0))
    result = metric.compute()
    assert not result.figures and result.coverage == 0
