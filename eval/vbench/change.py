"""Difference of two frames' pixels, in integers.

In: frames of a clip. Out: sums of absolute differences of levels. Whole numbers add up to the same in any order, so a
clip shown backwards or in a mirror has the same sums to the bit.
"""

from __future__ import annotations

import numpy as np

from v2t_eval.sample import Sample


def difference(first: np.ndarray, second: np.ndarray) -> int:
    """Sum over pixels and channels of the absolute difference of two uint8 arrays of one shape."""
    import cv2

    return int(cv2.norm(np.ascontiguousarray(first), np.ascontiguousarray(second), cv2.NORM_L1))


def frame_difference(sample: Sample, first: int, second: int) -> int:
    """`difference` of two frames of the sample's clip, computed once for all metrics."""
    pixels = sample.frames.pixels
    return sample.shared(("difference", first, second), lambda: difference(pixels[first], pixels[second]))


def likeness(total: int, num: int) -> float:
    """(255 - mean) / 255 of `num` differences that sum to `total`: one exact fraction, rounded once."""
    return (255 * num - total) / (255 * num)
