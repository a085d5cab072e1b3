"""Which frames a rater on Qwen-VL sees and in which size: known values of qwen-vl-utils' formulas."""

from __future__ import annotations

import numpy as np
import pytest

from cineloop.errors import ItemError
from v2t_eval.raters import qwen


@pytest.mark.parametrize(
    ("num", "file_fps", "fps", "shown"),
    [(81, 16, 2, 10), (121, 24, 2, 10), (16, 8, 2, 4), (12, 24, 2, 4), (3, 8, 2, 2), (2, 8, 2, 2), (49, 8, 2, 12),
     (48000, 24, 2, 768), (36, 8, 2, 8), (44, 8, 2, 12)],
)  # fmt: skip
def test_the_number_of_frames(num: int, file_fps: float, fps: float, shown: int) -> None:
    """12.25 of 49 frames are rounded to 12; 9 and 11 lie half-way and go to the even half, 8 and 12."""
    assert qwen.num_frames_at(num, file_fps, fps) == shown
    places = qwen.even_places(num, shown)
    assert (places[0], places[-1], len(places)) == (0, num - 1, shown)


def test_a_single_frame_is_refused() -> None:
    with pytest.raises(ItemError) as error:
        qwen.num_frames_at(1, 8, 2)
    assert error.value.code == "TOO_SHORT"


@pytest.mark.parametrize(
    ("size", "most", "fitted"),
    [
        ((480, 832), 240 * 320, (196, 364)),  # VideoReward: below its 76,800 pixels
        ((64, 64), 240 * 320, (336, 336)),  # grown to 100,352, which is more than those: the code's own limits clash
        ((480, 832), 768 * 28 * 28, (476, 840)),
        ((720, 1280), 768 * 28 * 28, (560, 1008)),
        ((30, 2000), 768 * 28 * 28, (56, 2604)),
    ],
)
def test_the_size_of_frames(size: tuple[int, int], most: int, fitted: tuple[int, int]) -> None:
    assert qwen.fitting_size(*size, 28, qwen.MIN_PIXELS, most) == fitted
    assert fitted[0] % 28 == fitted[1] % 28 == 0


def test_resizing_keeps_levels_and_an_equal_size_keeps_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 28, 56, 3)).astype(np.uint8)
    assert np.array_equal(qwen.resize_frames(pixels, (28, 56)).numpy(), pixels.transpose(0, 3, 1, 2))
    flat = np.full((1, 30, 30, 3), 200, np.uint8)
    assert (qwen.resize_frames(flat, (56, 84)).numpy() == 200).all()
