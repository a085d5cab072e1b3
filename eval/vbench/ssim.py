"""SSIM of two grey pictures (Wang et al. 2004), as scikit-image computes it with a Gaussian window.

In: two pictures of levels 0 to 255. Out: the mean of the SSIM map without its border of 5 pixels. Window 11 x 11,
sigma 1.5, constants .01 and .03, population covariance. Letters: T frames, H W pixels.
"""

from __future__ import annotations

import numpy as np

from cineloop.errors import ItemError
from v2t_eval.core.sample import Sample
from v2t_eval.metrics.paired import luma

SIDE, SIGMA = 11, 1.5


def ssim(first: np.ndarray, second: np.ndarray) -> float:
    """SSIM in [-1, 1] of two float (H, W) pictures; exactly the same with the two exchanged.

    Raises:
        ItemError: TOO_SMALL, a side below 11 pixels.
    """
    import cv2

    if min(first.shape) < SIDE:
        raise ItemError(f"SSIM's window has {SIDE} pixels a side, the picture {first.shape}", code="TOO_SMALL")
    kernel = cv2.getGaussianKernel(SIDE, SIGMA, cv2.CV_64F)

    def smooth(picture: np.ndarray) -> np.ndarray:
        return cv2.sepFilter2D(picture, cv2.CV_64F, kernel, kernel, borderType=cv2.BORDER_REFLECT)

    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)  # (H, W)
    mean_a, mean_b = smooth(a), smooth(b)
    both = mean_a * mean_b
    square = mean_a * mean_a + mean_b * mean_b
    spread = (smooth(a * a) + smooth(b * b)) - square
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = ((2 * both + c1) * (2 * (smooth(a * b) - both) + c2)) / ((square + c1) * (spread + c2))
    edge = SIDE // 2
    return float(values[edge:-edge, edge:-edge].mean())


def grey_frames(sample: Sample) -> np.ndarray:
    """uint8 (T, H, W) of the sample's clip, luma of Rec. 601, computed once for all metrics."""
    return sample.once("grey frames", lambda: luma(sample.frames.pixels))


def difference(first: np.ndarray, second: np.ndarray) -> int:
    """Sum over pixels and channels of the absolute difference of two uint8 arrays of one shape."""
    import cv2

    return int(cv2.norm(np.ascontiguousarray(first), np.ascontiguousarray(second), cv2.NORM_L1))


def frame_difference(sample: Sample, first: int, second: int) -> int:
    """`difference` of two frames of the sample's clip, computed once for all metrics."""
    pixels = sample.frames.pixels
    return sample.once(("difference", first, second), lambda: difference(pixels[first], pixels[second]))


def likeness(total: int, num: int) -> float:
    """(255 - mean) / 255 of `num` differences that sum to `total`: one exact fraction, rounded once."""
    return (255 * num - total) / (255 * num)
