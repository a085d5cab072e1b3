"""VIF: which part of what can be seen in the reference video can still be seen in the clip (Sheikh and Bovik 2006).

In: a clip and its reference video. Out: the mean over frames of the visual information fidelity of their luma, in the
pixel domain over four scales, noise variance 2: the main feature of VMAF. It is not VMAF: that is a trained mix of VIF
with others, for which ffmpeg's libvmaf is the tool. 1 for equal clips, towards 0 for what is lost, above 1 where
contrast was raised.
Letters: T frames, H W pixels.
"""

from __future__ import annotations

from statistics import fmean

import numpy as np

from v2t_eval.metrics.paired import PairedMetric, luma

_SCALES, _NOISE, _EPS = 4, 2.0, 1e-10
LEAST = 41  # pixels: the smallest scale still holds its window


class Metric(PairedMetric):
    name = "vif"
    value_range = (0.0, float("inf"))
    least = LEAST
    detects = "blur, noise and compression, in the order in which people mind them"
    misses = "colour; motion, since each frame is compared by itself; raised contrast counts as a gain"

    def compare(self, clip: np.ndarray, reference: np.ndarray) -> float:
        return fmean([vif(a, b) for a, b in zip(luma(clip), luma(reference), strict=True)])


def vif(clip: np.ndarray, reference: np.ndarray) -> float:
    """VIF of two (H, W) pictures of levels 0 to 255, at least `LEAST` pixels a side."""
    a, b = clip.astype(np.float64), reference.astype(np.float64)  # (H, W)
    kept = shown = 0.0
    for scale in range(_SCALES):
        side = 2 ** (_SCALES - scale) + 1
        if scale:
            a, b = _smooth(a, side)[::2, ::2], _smooth(b, side)[::2, ::2]
        mean_a, mean_b = _smooth(a, side), _smooth(b, side)
        spread_a = np.maximum(_smooth(a * a, side) - mean_a**2, 0)
        spread_b = np.maximum(_smooth(b * b, side) - mean_b**2, 0)
        both = _smooth(a * b, side) - mean_a * mean_b
        gain = both / (spread_b + _EPS)
        noise = spread_a - gain * both
        flat_b, flat_a = spread_b < _EPS, spread_a < _EPS
        gain, noise = np.where(flat_b | flat_a, 0, gain), np.where(flat_b, spread_a, noise)
        spread_b = np.where(flat_b, 0, spread_b)
        noise = np.where(flat_a, 0, noise)
        noise, gain = np.where(gain < 0, spread_a, noise), np.maximum(gain, 0)
        noise = np.maximum(noise, _EPS)
        kept += float(np.log10(1 + gain**2 * spread_b / (noise + _NOISE)).sum())
        shown += float(np.log10(1 + spread_b / _NOISE).sum())
    return (kept + _EPS) / (shown + _EPS)


def _smooth(picture: np.ndarray, side: int) -> np.ndarray:
    """Gaussian mean, without the border: (H - side + 1, W - side + 1)."""
    import cv2

    kernel = cv2.getGaussianKernel(side, side / 5, cv2.CV_64F)
    edge = side // 2
    return cv2.sepFilter2D(picture, cv2.CV_64F, kernel, kernel)[edge:-edge, edge:-edge]
