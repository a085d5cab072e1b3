"""Frames scaled one after another: each as by itself, whatever came before."""

from __future__ import annotations

import av
import numpy as np
import pytest

from cineloop.video.scaler import Scaler

# Height and width of films upright, of television, of the cinema, and of the web.
SHAPES = [(1920, 1080), (1280, 720), (576, 720), (480, 720), (1080, 1998), (800, 1920), (1080, 2560), (360, 640)]


def frame(seed: int, size: tuple[int, int], format: str):
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    return av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=format)


@pytest.mark.parametrize(("size", "format"), [((24, 40), "bgr24"), ((24, 40), "gray"), (None, "gray")])
def test_each_frame_is_scaled_as_by_itself_and_keeps_its_pixels(size, format):
    kinds = [((96, 160), "yuv420p"), ((96, 160), "yuv420p"), ((64, 48), "yuv444p10le"), ((96, 160), "yuva420p")]
    frames = [frame(seed, *kind) for seed, kind in enumerate(kinds)]
    alone = [Scaler(size, format)(each).copy() for each in frames]
    scaler = Scaler(size, format)
    for one, many in zip(alone, [scaler(each) for each in frames], strict=True):
        assert one.dtype == np.uint8 and np.array_equal(one, many)


@pytest.mark.parametrize("format", ["bgr24", "gray"])
@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_a_scaled_frame_lies_in_one_piece_whatever_its_shape(height, width, format):
    """FFmpeg pads the lines of a picture whose width is no multiple of its alignment; OpenCV's flow refuses those."""
    pixels = Scaler((144, max(32, round(144 * width / height))), format)(av.VideoFrame(width, height, "yuv420p"))
    assert pixels.flags.c_contiguous
