"""Changes of shots by a moving edge: wipes, circles and other shapes, slides; from the pictures of a survey.

In: pictures (G, H, W) at an even rate. Out: spans of them. Within a window from one shot to the next:

- in a wipe of any shape each pixel shows the first shot up to a moment of its own and the second one from then on. The
  moments lie between the ends of the window, change smoothly over the picture, and are not the same everywhere, as
  those of a cut are;
- in a slide the next shot pushes the one before out: each picture is a part of both, laid side by side, farther on
  from picture to picture.

A camera that moves over one place gives neither: what it shows between is in none of the two ends. Letters: G pictures,
T of a window, H W their size, P pixels that change.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

_HALVES = (4, 6, 9, 12)  # of a window of 2 n + 1 pictures
_NEAR = 4  # pictures between two parts of one change
_CHANGED = 12.0  # grey levels
_LEAST_CHANGED = 0.5  # share of the picture
_MOST_OFF = 0.18  # of all change, that one moment for each pixel leaves
_MOST_AT_ONCE = 0.5  # share of the pixels that change from one picture to the next: more is a cut
_MOST_AT_ENDS = 0.1  # share of the pixels that change next to the ends: a camera goes on beyond them
_MOST_LONG = 0.22  # deviation of the moments, in windows: of a camera that goes on it is .29
_MOST_ROUGH = 0.5  # of moments against those around them, in deviations of all moments
_MOST_OFF_SLIDE = 0.25
_MOST_STEP, _MOST_BACK = 0.3, 0.07  # of a side, on and back, from one picture to the next
_MOST_OFF_MIDDLE = 0.4  # of the change, in the middle of a window: what is more off is not looked at any further


def wipes(pictures: np.ndarray, least_change: float) -> list[tuple[int, int]]:
    """(first, last) positions in uint8 (G, H, W) of each change that changes the picture by `least_change` grey levels
    or more on average; none overlaps another."""
    values = pictures.astype(np.float32)
    fits: list[tuple[float, int, int]] = []
    for half in _HALVES:
        for start in range(0, len(values) - 2 * half, max(1, half // 3)):
            part = values[start : start + 2 * half + 1]  # (T, H, W)
            change = float(np.abs(part[-1] - part[0]).mean())
            if change >= least_change and (span := _wipe_fit(part) or _slide_fit(part, change)):
                fits.append((span[0], start + span[1], start + span[2]))
    spans: list[tuple[int, int]] = []
    for _, first, last in sorted(fits):  # the best first: a window that holds two changes fits worse than one
        if not any(first <= other[1] and other[0] <= last for other in spans):
            spans.append((first, last))
    joined: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1] + _NEAR:
            first = joined.pop()[0]
        joined.append((first, last))
    return joined


def _wipe_fit(part: np.ndarray) -> tuple[float, int, int] | None:
    """Share of the change that is left unexplained, first and last position of a wipe within (T, H, W)."""
    import cv2

    change = np.abs(part[-1] - part[0])  # (H, W)
    changed, middle = change >= _CHANGED, part[len(part) // 2]
    rest = np.minimum(np.abs(middle - part[0]), np.abs(middle - part[-1])).mean()
    if changed.mean() < _LEAST_CHANGED or rest > _MOST_OFF_MIDDLE * change.mean():
        return None
    before, after = (np.abs(part[:, changed] - part[end][changed]) for end in (0, -1))  # (T, P)
    none = np.zeros((1, before.shape[1]))
    cost = np.concatenate([none, before.cumsum(0)]) + np.concatenate([after[::-1].cumsum(0)[::-1], none])  # (T + 1, P)
    off = float(cost.min(0).sum() / (len(part) * change[changed].sum()))
    if off > _MOST_OFF:
        return None
    moments = cost.argmin(0)  # (P,) of the first picture of the second shot
    shares = np.bincount(moments, minlength=len(part) + 1) / len(moments)
    spread = float(moments.std())
    if shares.max() > _MOST_AT_ONCE or shares[[1, -2]].sum() > _MOST_AT_ENDS or spread > _MOST_LONG * len(part):
        return None
    whole = np.zeros(changed.shape, np.float32)
    whole[changed] = moments
    around = cv2.blur(whole, (3, 3)) / np.maximum(cv2.blur(changed.astype(np.float32), (3, 3)), 1e-6)
    if float(np.abs(whole - around)[changed].mean()) > _MOST_ROUGH * max(1.0, spread):
        return None
    early, late = np.quantile(moments, [0.1, 0.9])  # the camera moves on, so that some pixels change outside of it
    first, last = early - (late - early) / 8, late + (late - early) / 8
    return off, max(0, int(first) - 1), min(len(part) - 1, int(np.ceil(last)))


def _slide_fit(part: np.ndarray, change: float) -> tuple[float, int, int] | None:
    """As `_wipe_fit`, of a slide in any of four directions."""
    best: tuple[float, int, int] | None = None
    aside = part.transpose(0, 2, 1)
    for turned in (part, part[:, ::-1], aside, aside[:, ::-1]):
        size, middle = turned.shape[1], turned[len(turned) // 2]
        both = np.concatenate([turned[0], turned[-1]])  # (2 H, W): the shots one below the other
        parts = sliding_window_view(both, size, axis=0).swapaxes(1, 2)  # (H + 1, H, W)
        if np.abs(parts[size // 6 : size - size // 6] - middle).mean((1, 2)).min() > _MOST_OFF_MIDDLE * change:
            continue
        off = np.stack([np.abs(turned - each).mean((1, 2)) for each in parts])  # (H + 1, T)
        share = float(off.min(0).mean()) / change
        places = off.argmin(0) / size  # (T,) from 0 to 1
        steps = np.diff(places)
        if share <= _MOST_OFF_SLIDE and steps.max() <= _MOST_STEP and steps.min() >= -_MOST_BACK:
            inside = np.flatnonzero((places > 0) & (places < 1))
            if len(inside) >= 2 and (best is None or share < best[0]):
                best = share, max(0, int(inside[0]) - 1), min(len(part) - 1, int(inside[-1]) + 1)
    return best
