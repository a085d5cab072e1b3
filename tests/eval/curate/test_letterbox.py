"""Bars are cropped, the dark of a scene is not: at night, on a stage, under a lamp."""

from __future__ import annotations

import numpy as np
import pytest

from cineloop.video.limits import Limits
from cineloop.video.open_file import LastFile
from planted_films import shot, write
from v2t_eval.curate.step import Window
from v2t_eval.curate.steps.letterbox import Step
from v2t_eval.frames.survey import survey

SIZE = (270, 480)


def measured(path) -> dict:
    with LastFile() as last, last.open(path) as opened:
        seen = survey(opened, Limits(), threads=1)
    return dict(Step().measure(Window(seen, 0.0, seen.info.duration_s)))


def dark(num: int = 72) -> np.ndarray:
    return np.full((num, *SIZE, 3), 4, np.uint8)


def lit(kind: str) -> np.ndarray:
    """A night scene: black around a lit thing."""
    import cv2

    frames, picture = dark(), shot(1, 72, SIZE)
    for n, frame in enumerate(frames):
        mask = np.zeros(SIZE, np.uint8)
        if kind == "lamp":
            cv2.circle(mask, (230, 130), 110, 255, -1)
            mask = cv2.GaussianBlur(mask, (0, 0), 20)
        elif kind == "window":  # off the middle
            mask[20:252, 60:360] = 255
        elif kind == "face":
            cv2.ellipse(mask, (240, 135), (90, 115), 5.0, 0, 360, 255, -1)
        elif kind == "moving":
            mask[40:230, 20 + 3 * n : 180 + 3 * n] = 255
        elif kind == "stage":  # lit from the left side to the right one, above a dark floor
            mask[60:150] = 255
        elif kind == "dusk":  # a sky that fades upwards, a ground that fades downwards
            mask[:] = np.interp(np.arange(SIZE[0]), [50, 120, 150, 220], [0, 255, 255, 0]).astype(np.uint8)[:, None]
        frame[:] = np.maximum(frame, (picture[n] * (mask[..., None] / 255.0)).astype(np.uint8))
    return frames


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lamp", "window", "face", "moving", "stage", "dusk"])
def test_the_dark_of_a_scene_is_no_bar(tmp_path, kind):
    assert measured(write(tmp_path / "night.mp4", lit(kind))) == {"bars": 0.0, "crop": None}


@pytest.mark.slow
@pytest.mark.parametrize("crf", [18, 35])
@pytest.mark.parametrize(("bars", "want"), [
    ((36, 36, 0, 0), [0, 36, 480, 198]), ((0, 0, 60, 60), [60, 0, 360, 270]), ((36, 34, 0, 0), [0, 36, 480, 200]),
    ((30, 30, 60, 60), [60, 30, 360, 210]),
])  # fmt: skip
def test_straight_bars_of_one_width_are_cropped_and_the_reason_is_given(tmp_path, bars, want, crf):
    top, bottom, left, right = bars
    frames = shot(2, 72, SIZE)
    frames[:24] //= 5  # a dark part of the film
    frames[:, :top] = frames[:, SIZE[0] - bottom :] = 0
    frames[:, :, :left] = frames[:, :, SIZE[1] - right :] = 0
    found = measured(write(tmp_path / "bars.mp4", frames, crf=crf))
    assert np.abs(np.array(found["crop"]) - want).max() <= 2 and found["bars"] > 0.2
    names = [name for name, size in zip(("top", "bottom", "left", "right"), bars, strict=True) if size]
    assert found["crop_reason"].startswith("dark bars: ") and all(name in found["crop_reason"] for name in names)
