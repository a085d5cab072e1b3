"""Warping error on clips whose motion and whose change are known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cineloop.errors import ItemError
from cineloop.video.frames import Frames
from v2t_eval.audit.faults import plant
from v2t_eval.core.metric import load_metric
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.metrics.warping_error import in_both, masked_error, warp


def texture(size: int = 96, seed: int = 0) -> np.ndarray:
    """A smooth random picture uint8 (H, W, 3): flow is well defined everywhere."""
    noise = np.random.default_rng(seed).normal(0, 1, (size, size, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.clip(128 + smooth / smooth.std() * 40, 0, 255).astype(np.uint8)


def shifted(picture: np.ndarray, pixels: int) -> np.ndarray:
    return np.roll(picture, pixels, axis=1)


def clip(num: int = 6, step: int = 2, light: float = 0.0) -> Frames:
    """A picture that moves `step` pixels to the right from frame to frame, every second one brighter by `light`."""
    frames = [shifted(texture(), step * t).astype(np.float64) + light * (t % 2) for t in range(num)]
    return Frames.from_pixels(np.clip(np.stack(frames), 0, 255).astype(np.uint8), 8)


def value(frames: Frames) -> dict[str, float]:
    metric = load_metric("warping_error")()
    return dict(metric.measure(Sample(id="a", clip=SampleClip.from_frames(frames))))


def test_the_arithmetic_of_known_flows() -> None:
    picture = texture()
    flow = np.zeros((96, 96, 2), np.float32)
    flow[..., 0] = 3
    assert np.array_equal(warp(shifted(picture, 3), flow)[:, :-3], picture[:, :-3])
    kept = in_both(flow, -flow)
    assert kept[:, :93].all() and not kept[:, 93:].any()  # the last three columns have left the picture
    assert not in_both(flow, flow).any()  # back is not back
    assert in_both(flow, -flow + 0.4)[:, :93].all()  # |0.4, 0.4|² = 0.32 is below 0.01 (9 + 7) + 0.5
    bent = flow.copy()
    bent[:, 48:, 0] = 9
    assert not in_both(bent, -bent)[:, 46:49].any()  # an edge of motion
    brighter = np.clip(picture.astype(int) + 51, 0, 255).astype(np.uint8)
    plain = (picture < 204).all(2)
    assert masked_error(picture, brighter, plain) == pytest.approx(0.04)  # (51 / 255)²


def test_motion_is_no_error_and_flicker_is() -> None:
    moving, flickering = value(clip()), value(clip(light=25.5))
    assert moving["value"] < 5e-4 and moving["occluded"] < 0.2
    assert flickering["value"] == pytest.approx(0.01, rel=0.2)  # a tenth of the range, squared
    assert value(plant(clip(), "noise", 3))["value"] > 5 * moving["value"]


def test_swimming_textures_rise_with_their_strength() -> None:
    values = [value(plant(clip(num=4), "ripple", severity)) for severity in (1, 3, 5)]
    shown = [each["value"] + each["occluded"] for each in values]
    assert shown == sorted(shown) and values[2]["value"] > 3 * value(clip(num=4))["value"]


def test_a_frozen_clip_is_left_out_and_one_frame_is_refused() -> None:
    metric = load_metric("warping_error")()
    samples = {"moving": clip(), "frozen": plant(clip(), "freeze", 5)}
    metric.update([Sample(id=id, clip=SampleClip.from_frames(frames)) for id, frames in samples.items()])
    result = metric.compute()
    by_id = {item["id"]: item for item in result.items}
    assert by_id["frozen"]["value"] is None and by_id["frozen"]["raw"] == 0 and result.coverage == 0.5
    assert result.value == by_id["moving"]["value"] and result.counts == {"frozen": 1}
    with pytest.raises(ItemError) as error:
        value(clip(num=1))
    assert error.value.code == "TOO_SHORT"
