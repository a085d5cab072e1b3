"""The background's half of reading a clip back: which place it is, and what it looks like where the figure hides it.

In: frames uint8 (T, H, W, 3). Out: the place that explains most pixels, the cost of each pixel as part of a place (0:
the place paints this colour at this height; `CAP`: it never does), and the still picture behind the figure. The tables
are learned from nothing but the painter: each place is painted with many seeds and the colours counted by row; a
Gaussian of `SIGMA` levels stands for blur, noise and wrong shades.
Letters: T frames, H W pixels, P places, G rows of a band, B bins, C channels.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from cineloop.world import vocabulary as words
from cineloop.world.scenes.backdrops import MARGIN, paint

CAP = 8.0  # nats: what a pixel costs that nothing explains
SIGMA = 10.0  # levels of 255 by which a colour may be off
_SEEDS = 48  # paintings counted per place
_BITS = 5  # of each channel in the tables
_BINS = 1 << _BITS
_BAND = 4  # rows that share a table
_SEEN = 3.0  # nats: a pixel that costs less has been seen to be background
_SOFT = 0.9  # pixels: sigma of a soft picture
_SPECK = 6  # pixels: less than that is no figure
_LONG = 1.5  # nats that a pixel's being the same in e times as many frames is worth
_NEAR = 30.0  # levels within which pixels of two frames are the same thing


def _kernel() -> np.ndarray:
    """Gaussian over bins, (B, B), of peak 1."""
    bins = np.arange(_BINS) * (256 / _BINS)
    return np.exp(-((bins[:, None] - bins[None]) ** 2) / (2 * SIGMA**2)).astype(np.float32)


@cache
def tables(height: int) -> np.ndarray:
    """Cost of every colour in every band of every place at frames of `height` rows: float32 (P, H / G, B ** 3)."""
    kernel = _kernel()
    bands = -(-height // _BAND)
    out = np.empty((len(words.PLACES), bands, _BINS**3), np.float32)
    top = round(height * MARGIN)
    for number, place in enumerate(words.PLACES):
        counts = np.zeros((bands, _BINS**3), np.float32)
        for seed in range(_SEEDS):
            canvas = paint(place, 7919 * seed + number, height, height)[top : top + height]  # (H, 1.4 H, C)
            for picture, weight in ((canvas, 1.0), *((variant, 0.5) for variant in _variants(canvas))):
                codes = _codes(picture)
                for band in range(bands):
                    rows = codes[max(0, band * _BAND - 1) : (band + 1) * _BAND + 1]
                    counts[band] += weight * np.bincount(rows.ravel(), minlength=_BINS**3)
        share = (counts / counts.sum(axis=1, keepdims=True)).reshape(bands, _BINS, _BINS, _BINS)
        for axis in (1, 2, 3):
            share = np.moveaxis(np.tensordot(share, kernel, axes=(axis, 0)), -1, axis)
        # The root of the share: a rare thing (a flower, the sun) is rare, not impossible.
        out[number] = -np.log(np.sqrt(share) + np.exp(-CAP)).reshape(bands, -1)
    return np.clip(out, 0.0, CAP)


def _variants(canvas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A picture gone soft, and one with half as many colour samples, as in a video file: shades between two others."""
    height, width = canvas.shape[0] // 2 * 2, canvas.shape[1] // 2 * 2
    parts = cv2.cvtColor(canvas[:height, :width], cv2.COLOR_RGB2YCrCb)
    small = cv2.resize(parts[..., 1:], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    parts[..., 1:] = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
    return cv2.GaussianBlur(canvas, (0, 0), _SOFT), cv2.cvtColor(parts, cv2.COLOR_YCrCb2RGB)


def _codes(frames: np.ndarray) -> np.ndarray:
    """Number of the colour bin of each pixel, int32 (...,)."""
    coarse = (frames >> (8 - _BITS)).astype(np.int32)
    return (coarse[..., 0] << (2 * _BITS)) | (coarse[..., 1] << _BITS) | coarse[..., 2]


def _offsets(height: int) -> np.ndarray:
    return (np.arange(height, dtype=np.int32) // _BAND * _BINS**3)[:, None]  # (H, 1)


def costs(frames: np.ndarray, place: int) -> np.ndarray:
    """Cost per pixel under place number `place`: float32 (T, H, W), 0 to `CAP`."""
    height = frames.shape[1]
    return tables(height)[place].ravel()[_codes(frames) + _offsets(height)]


def explain(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How well each place explains some frames.

    Args:
        frames: uint8 (T, H, W, 3).

    Returns:
        cost: mean nats per pixel, (P,), in the order of `words.PLACES`;
        share: of the pixels that each place explains (cost below half of `CAP`), (P,).
    """
    height = frames.shape[1]
    all_tables = tables(height)
    codes = (_codes(frames) + _offsets(height)).ravel()
    levels = all_tables.reshape(len(all_tables), -1)[:, codes]  # (P, T·H·W)
    return levels.mean(axis=1), (levels < CAP / 2).mean(axis=1)


def still_picture(frames: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """The place without the figure.

    Args:
        frames: float32 (T, H, W, 3).
        cost: of each pixel as part of the place, (T, H, W).

    Returns:
        float32 (H, W, 3): where some frame shows the place, the mean of the frames that agree with the one that is
        most likely it (a likely colour, nothing strange around it, seen for long); elsewhere filled in from around.
    """
    num, height, width, _ = frames.shape
    red, green, blue = (np.ascontiguousarray(frames[..., c]) for c in range(3))  # (T, H, W)
    around = np.moveaxis(cv2.blur(np.ascontiguousarray(np.moveaxis(cost, 0, -1)), (7, 7)), -1, 0)  # (T, H, W)
    strange = cost + around
    best = np.full((height, width), np.inf, np.float32)
    picture = np.zeros((height, width, 3), np.float32)
    seen = np.zeros((height, width), bool)
    for pick in (strange.argmin(axis=0), *(np.full((height, width), t) for t in (0, num // 2, num - 1))):
        one = np.take_along_axis(frames, pick[None, :, :, None], axis=0)  # (1, H, W, 3)
        far = np.abs(red - one[..., 0]) + np.abs(green - one[..., 1]) + np.abs(blue - one[..., 2])
        near = (far < _NEAR).astype(np.float32)  # (T, H, W)
        count = near.sum(axis=0)
        score = np.take_along_axis(strange, pick[None], axis=0)[0] - _LONG * np.log(count)
        better = score < best
        best = np.where(better, score, best)
        mean = np.stack([(near * channel).sum(axis=0) for channel in (red, green, blue)], axis=-1) / count[..., None]
        picture = np.where(better[..., None], mean, picture)
        seen = np.where(better, np.take_along_axis(cost, pick[None], axis=0)[0] < _SEEN, seen)
    hidden = cv2.morphologyEx((~seen).astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    _, label, stats, _ = cv2.connectedComponentsWithStats(hidden, connectivity=8)
    hidden = (hidden * (stats[:, cv2.CC_STAT_AREA] > _SPECK)[label]).astype(np.uint8)
    if hidden.any():
        hidden = cv2.dilate(hidden, np.ones((3, 3), np.uint8))
        filled = cv2.inpaint(np.clip(picture, 0, 255).astype(np.uint8), hidden, 2, cv2.INPAINT_TELEA)
        picture = np.where(hidden[..., None] > 0, filled, picture)
    return picture.astype(np.float32)
