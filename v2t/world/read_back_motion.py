"""What the figure does: where it is from frame to frame, what it is at the end, and the action that explains both.

In: how much each pixel differs from the still picture, a `Match` for the first frame. Out: a `Path` and from it a
`Motion`. The centre of what differs is followed from frame to frame, relative to the first frame's, so that neither a
pose nor a wrong shade does harm; size and colour at the end come from painting the figure again.
Letters: T frames, H W pixels, K colours, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from v2t.world import vocabulary as words
from v2t.world.read_back_figure import COLORS, KINDS, Match, fit, phases

SPEED_EDGE = 0.205  # frame widths a second: between the fastest slow and the slowest fast
GROWN, SHRUNK = 1.3, 0.72  # of the scale at the start
_TRAVEL = 0.06  # of the frame: less is standing
_HOP = 0.09  # of the frame's height: less is no hop
_HOP_KINDS = 0.23  # between a jump's height and a bounce's
_GONE = 0.07  # of the figure's area: less has vanished
_SCALES = (0.45, 0.7, 1.0, 1.35, 1.75)


@dataclass(frozen=True, eq=False)
class Path:
    """Where the figure is: `x`, `y` its centre in pixels, `area` pixels that differ, `wide`, `high` their spread (T,)."""

    x: np.ndarray
    y: np.ndarray
    area: np.ndarray
    wide: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Motion:
    """What happens. `kind`: travel, hop, grow, shrink, vanish, recolor or still.

    `pace` in frame widths (heights for up and down) a second while it travels, `rise` of a hop in frame heights,
    `scale` at the end relative to the start; `start_s` and `end_s` of it; `certainty` how far the decision lies from
    the next one (0 at the border, 1 far off).
    """

    kind: str
    certainty: float
    direction: str | None = None
    pace: float | None = None
    rise: float = 0.0
    scale: float = 1.0
    to_color: int | None = None
    to_color_certainty: float = 0.0
    start_s: float | None = None
    end_s: float | None = None


def path(different: np.ndarray, match: Match) -> Path:
    """Follow the figure.

    Args:
        different: (T, H, W), 0 to 1: how much each pixel differs from the still picture.
        match: where the figure is in the first frame.
    """
    num, height, width = different.shape
    ys, xs = np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32)
    out = np.zeros((5, num))
    cx, cy = match.x, match.y
    offset_x = offset_y = 0.0
    for t in range(num):
        reach = (0.8 if t == 0 else 1.1) * match.scale + 3.0
        near_y = np.clip((reach - np.abs(ys - cy)) / 3.0 + 1.0, 0.0, 1.0)
        near_x = np.clip((reach - np.abs(xs - cx)) / 3.0 + 1.0, 0.0, 1.0)
        seen = different[t] * near_y[:, None] * near_x[None]
        rows, columns = seen.sum(1), seen.sum(0)
        total = float(rows.sum())
        if total > 2.0 and total > 0.1 * out[2, 0]:
            mean_x, mean_y = float(columns @ xs) / total, float(rows @ ys) / total
            if t == 0:
                offset_x, offset_y = match.x - mean_x, match.y - mean_y
            cx, cy = mean_x + offset_x, mean_y + offset_y
            out[3, t] = np.sqrt(float(columns @ (xs - mean_x) ** 2) / total)
            out[4, t] = np.sqrt(float(rows @ (ys - mean_y) ** 2) / total)
        out[:3, t] = cx, cy, total
    return Path(*out)


def color_at(frame: np.ndarray, picture: np.ndarray, match: Match, step: float) -> np.ndarray | None:
    """The colour (C,) with which the figure of `match` fits a frame best, by its plain parts; None out of the frame."""
    drawn = match.drawn(step=step)
    side, top, left = 2 * drawn.reach + 1, round(match.y) - drawn.reach, round(match.x) - drawn.reach
    y0, y1, x0, x1 = max(0, top), min(frame.shape[0], top + side), max(0, left), min(frame.shape[1], left + side)
    if y1 <= y0 or x1 <= x0:
        return None
    mine, theirs = np.s_[y0 - top : y1 - top, x0 - left : x1 - left], np.s_[y0:y1, x0:x1]
    plain = drawn.tint[mine] * (drawn.tint[mine] > 0.85)
    tint = plain if plain.sum() > 12 else drawn.tint[mine] * (drawn.cover[mine] > 0.8)
    left_over = frame[theirs] - picture[theirs] * (1 - drawn.cover[mine])[..., None] - drawn.base[mine]
    return np.einsum("hw,hwc->c", tint, left_over) / max(float((tint**2).sum()), 1e-3)


def motion(frames: np.ndarray, picture: np.ndarray, found: Path, match: Match, times_s: np.ndarray) -> Motion:
    """The action that explains a path and the last frames.

    Args:
        frames: float32 (T, H, W, C).
        picture: float32 (H, W, C), the place without the figure.
        found: the figure's path.
        match: the figure in the first frame.
        times_s: (T,).
    """
    height, width, _ = picture.shape
    x, y = found.x / width, found.y / height
    going = np.array([np.median(x[-2:]) - np.median(x[:2]), np.median(y[-2:]) - np.median(y[:2])])
    left = float(found.area[-2:].mean() / max(found.area[0], 1e-6))
    recolor = None if np.abs(going).max() > 2 * _TRAVEL else _recolor(frames, picture, match, times_s)
    if recolor is not None:
        return recolor
    if left < _GONE and not _is_small(frames[-1], picture, found, match):
        when = _half_way(found.area / max(found.area[0], 1e-6), times_s, 1.0, 0.0)
        return Motion(kind="vanish", certainty=1.0 - left / _GONE, scale=0.0, start_s=when, end_s=when)
    if np.abs(going).max() >= _TRAVEL:
        across = abs(going[0]) * width >= abs(going[1]) * height
        way, along = (going[0], x) if across else (going[1], y)
        direction = ("right" if way > 0 else "left") if across else ("down" if way > 0 else "up")
        pace, stop = pace_of(along, times_s)
        sure = min(1.0, abs(way) / _TRAVEL - 1.0)
        first = float(times_s[0])
        return Motion(kind="travel", certainty=sure, direction=direction, pace=pace, start_s=first, end_s=stop)
    rise = float(np.median([y[0], y[-1]]) - y.min())
    if rise > _HOP:
        up = np.flatnonzero(y < y[0] - 0.3 * rise)
        when = float(times_s[up[0]]), float(times_s[up[-1]])
        return Motion(kind="hop", certainty=min(1.0, rise / _HOP - 1.0), rise=rise, start_s=when[0], end_s=when[1])
    scale = end_scale(frames[-1], picture, found, match)
    if scale > GROWN or scale < SHRUNK:
        kind, sure = ("grow", (scale - GROWN) / 0.3) if scale > GROWN else ("shrink", (SHRUNK - scale) / 0.2)
        when = _half_way(np.sqrt(found.area / max(found.area[0], 1e-6)), times_s, 1.0, scale)
        return Motion(kind=kind, certainty=min(1.0, sure), scale=scale, start_s=when, end_s=when)
    return Motion(kind="still", certainty=1.0 - max(rise, 0.0) / _HOP, scale=scale)


def _is_small(frame: np.ndarray, picture: np.ndarray, found: Path, match: Match) -> bool:
    """Whether the figure is still there, shrunk and its wings folded."""
    if len(phases(match.kind)) < 4:
        return False
    here = float(found.x[-1]), float(found.y[-1])
    fits = [fit(frame, picture, match.drawn(_SCALES[0], s), COLORS[match.color], *here, 2) for s in phases(match.kind)]
    gain, share, *_ = max(fits)
    return gain > 3.0 and share > 0.3


def _half_way(track: np.ndarray, times_s: np.ndarray, before: float, after: float) -> float:
    """The second at which a quantity is half way from `before` to `after`."""
    share = (track - before) / (after - before)
    return float(times_s[int(np.argmax(share > 0.5))])


def _recolor(frames: np.ndarray, picture: np.ndarray, match: Match, times_s: np.ndarray) -> Motion | None:
    """A change of colour on the spot, or None.

    What the new colour shares with the place was taken for the place when the still picture was made; so that is filled
    in anew from around the figure.
    """
    drawn = match.drawn()
    height, width, _ = picture.shape
    place = np.float32([[1, 0, round(match.x) - drawn.reach], [0, 1, round(match.y) - drawn.reach]])
    mask = cv2.warpAffine((drawn.cover > 0.02).astype(np.uint8), place, (width, height), flags=cv2.INTER_NEAREST)
    clean = cv2.inpaint(np.clip(picture, 0, 255).astype(np.uint8), mask, 2, cv2.INPAINT_TELEA).astype(np.float32)
    beat = 1.2 if words.KINDS[KINDS[match.kind]][1] in ("fly", "swim", "sail") else 0.0  # as in `motion.track`
    colors = [color_at(f, clean, match, beat * t) for f, t in zip(frames, times_s - times_s[0], strict=True)]
    seen = np.array([c for c in colors if c is not None])
    if len(seen) < len(frames):
        return None
    last, first = np.median(seen[-2:], axis=0), np.median(seen[:2], axis=0)
    far = np.linalg.norm(COLORS - last, axis=1)  # (K,)
    order = np.argsort(far)
    moved = float(np.linalg.norm(last - first))
    best = {}
    for color in (*(int(k) for k in order[:3]), match.color):
        fits = [
            fit(frames[-1], clean, match.drawn(step=s), COLORS[color], match.x, match.y) for s in phases(match.kind)
        ]
        best[color] = max(fits)[:2]
    to_color = max(best, key=lambda k: best[k][0])
    gain, share = best[to_color]
    if to_color == match.color or moved < 0.5 * np.linalg.norm(COLORS[to_color] - COLORS[match.color]):
        return None
    if share < 0.4 or gain < 12.0 or gain < best[match.color][0] + 6.0:
        return None
    when = _half_way((seen - first) @ (last - first), times_s, 0.0, float((last - first) @ (last - first)))
    rest = min(far[k] for k in range(len(COLORS)) if k != to_color)
    sure = float(np.clip(1.0 - far[to_color] / max(rest, 1e-6), 0.0, 1.0))
    certain = min(1.0, (share - 0.4) / 0.2)
    return Motion(
        kind="recolor", certainty=certain, to_color=to_color, to_color_certainty=sure, start_s=when, end_s=when
    )


def end_scale(frame: np.ndarray, picture: np.ndarray, found: Path, match: Match) -> float:
    """Scale of the figure in the last frame relative to the first, by painting it at several."""
    by_area = float(np.sqrt(found.area[-1] / max(found.area[0], 1e-6)))
    by_spread = float(found.high[-1] / max(found.high[0], 1e-6))
    if max(abs(by_area - 1), abs(by_spread - 1)) < 0.12:
        return (by_area + by_spread) / 2
    best = (-np.inf, 1.0)
    guesses = {float(np.clip(round(guess, 1), 0.4, 2.0)) for guess in (by_area, by_spread)}
    for scale in sorted({*_SCALES, *guesses}):
        for step in phases(match.kind):
            gain, *_ = fit(frame, picture, match.drawn(scale, step), COLORS[match.color], found.x[-1], found.y[-1])
            best = max(best, (gain, scale))
    return best[1]


def pace_of(along: np.ndarray, times_s: np.ndarray) -> tuple[float, float]:
    """Speed (units a second, >= 0) and the second it ends: a straight way and then rest, fitted by least squares."""
    best, speed, end = np.inf, 0.0, float(times_s[-1])
    t = times_s - times_s[0]
    for stop in t[(t >= 0.6) | (t == t[-1])]:
        basis = np.minimum(t, stop)
        centred = basis - basis.mean()
        slope = float(centred @ along) / float(centred @ centred)
        error = float((((along - along.mean()) - slope * centred) ** 2).sum())
        if error < best:
            best, speed, end = error, abs(slope), float(times_s[0] + stop)
    return speed, end


def hop_name(kind: int | None, rise: float) -> str:
    """`jump` or `bounce`: who can do only one of them does that one; otherwise the height tells."""
    name = None if kind is None else KINDS[kind]
    if name in words.JUMPERS:
        return "jump"
    if name in words.BOUNCERS:
        return "bounce"
    return "bounce" if rise > _HOP_KINDS else "jump"
