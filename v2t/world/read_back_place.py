"""How likely each pixel is in each place of the world: the background's half of reading a clip back.

In: frames uint8 (T, H, W, 3). Out: a cost per pixel (0: the place paints this colour at this height; `CAP`: it never
does) and the place that explains most. The tables are learned from nothing but the painter: each place is painted with
many seeds and the colours counted by row; a Gaussian of `SIGMA` levels stands for blur, noise and wrong shades.
Letters: T frames, H W pixels, P places, G rows of a band, C channels.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from v2t.world import vocabulary as words
from v2t.world.backdrops import MARGIN, paint

CAP = 8.0  # nats: what a pixel costs that nothing explains
SIGMA = 10.0  # levels of 255 by which a colour may be off
_SEEDS = 48  # paintings counted per place
_BITS = 5  # of each channel in the tables
_BINS = 1 << _BITS
_BAND = 4  # rows that share a table


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
            codes = _codes(canvas)
            for band in range(bands):
                rows = codes[band * _BAND : (band + 1) * _BAND]
                counts[band] += np.bincount(rows.ravel(), minlength=_BINS**3)
        share = (counts / counts.sum(axis=1, keepdims=True)).reshape(bands, _BINS, _BINS, _BINS)
        for axis in (1, 2, 3):
            share = np.moveaxis(np.tensordot(share, kernel, axes=(axis, 0)), -1, axis)
        # The root of the share: a rare thing (a flower, the sun) is rare, not impossible.
        out[number] = -np.log(np.sqrt(share) + np.exp(-CAP)).reshape(bands, -1)
    return np.clip(out, 0.0, CAP)


def _codes(frames: np.ndarray) -> np.ndarray:
    """Number of the colour bin of each pixel, int32 (...,)."""
    coarse = (frames >> (8 - _BITS)).astype(np.int32)
    return (coarse[..., 0] << (2 * _BITS)) | (coarse[..., 1] << _BITS) | coarse[..., 2]


def costs(frames: np.ndarray, place: int) -> np.ndarray:
    """Cost per pixel under place number `place`: float32 (T, H, W), 0 to `CAP`."""
    height = frames.shape[1]
    table = tables(height)[place].ravel()
    offset = (np.arange(height, dtype=np.int32) // _BAND * _BINS**3)[:, None]  # (H, 1)
    return table[_codes(frames) + offset]


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
    offset = (np.arange(height, dtype=np.int32) // _BAND * _BINS**3)[:, None]
    codes = (_codes(frames) + offset).ravel()
    found = all_tables.reshape(len(all_tables), -1)[:, codes]  # (P, T·H·W)
    return found.mean(axis=1), (found < CAP / 2).mean(axis=1)
