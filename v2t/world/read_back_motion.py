"""What the figure does: where it is from frame to frame, what it is at the end, and the action that explains both.

In: the nats each pixel gains as part of the figure, a `Match` for the first frame. Out: a `Path` and from it a
`Motion`. Positions are the centre of what looks like the figure, taken relative to the first frame's, so that parts
hidden by a like-coloured background do no harm.
Letters: T frames, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from v2t.world import vocabulary as words
from v2t.world.read_back_figure import COLORS, Match, phases, slide, template

SPEED_EDGE = 0.205  # frame widths a second: between the fastest slow and the slowest fast
_TRAVEL = 0.06  # of the frame: less is standing
_HOP = 0.09  # of the frame's height: less is no hop
_SEEN = 40.0  # nats: less is no figure
_HOP_KINDS = 0.23  # between a jump's height and a bounce's
_SCALES = (0.35, 0.45, 0.55, 0.65, 0.8, 1.0, 1.2, 1.4, 1.55, 1.75, 1.95)
COLOR_NAMES = tuple(words.COLORS)


@dataclass(frozen=True)
class Path:
    """Where the figure is: `x`, `y` its centre in pixels, `area` pixels that look like it, each (T,)."""

    x: np.ndarray
    y: np.ndarray
    area: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Motion:
    """What happens. `kind` of motion: travel, hop, grow, shrink, vanish, recolor or still.

    `speed` in frame widths (heights for up and down) a second while it moves, `scale` at the end relative to the
    start, `visible` share of the figure left at the end, `certainty` how far the decision lies from the next one
    (0 at the border, 1 far off).
    """

    kind: str
    direction: str | None = None
    speed: float | None = None
    height: float | None = None
    scale: float | None = None
    visible: float = 1.0
    to_color: int | None = None
    to_color_certainty: float = 0.0
    certainty: float = 1.0


def path(likeness: np.ndarray, match: Match) -> Path:
    """Follow the figure.

    Args:
        likeness: (T, H, W), 0 to 1: how much each pixel looks like the figure and not like the place.
        match: where it is in the first frame.
    """
    num, height, width = likeness.shape
    ys, xs = np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32)
    x, y, area = np.full(num, match.x), np.full(num, match.y), np.zeros(num)
    cx, cy, radius = match.x, match.y, 0.75 * match.scale + 5.0
    offset_x = offset_y = 0.0
    for t in range(num):
        reach = radius * 1.5 if t else radius
        near_y = np.clip((reach - np.abs(ys - cy)) / 3.0 + 1.0, 0.0, 1.0)
        near_x = np.clip((reach - np.abs(xs - cx)) / 3.0 + 1.0, 0.0, 1.0)
        seen = likeness[t] * near_y[:, None] * near_x[None]
        area[t] = total = float(seen.sum())
        if total > 4.0 and total > 0.12 * area[0]:
            mean_x, mean_y = float(seen.sum(0) @ xs) / total, float(seen.sum(1) @ ys) / total
            if t == 0:
                offset_x, offset_y = match.x - mean_x, match.y - mean_y
            cx, cy = mean_x + offset_x, mean_y + offset_y
        x[t], y[t] = cx, cy
    return Path(x=x, y=y, area=area)


@dataclass(frozen=True)
class End:
    """The last frame explained: scale relative to the first, colour, nats gained there, and by each colour (K,)."""

    scale: float
    color: int
    gain: float
    by_color: np.ndarray


def end(gain_of: list[np.ndarray], match: Match, x: float, y: float) -> End:
    """Which scale and colour explain the figure at the end; `gain_of` holds (R, H, W) per colour of the world."""
    own, gains = gain_of[match.color], []
    for scale in _SCALES:
        poses = [template(match.kind, match.scale * scale, match.facing, step) for step in phases(match.kind)]
        gains.append(max(float(slide(own, drawn, round(x), round(y), 3).max()) for drawn in poses))
    best = int(np.argmax(gains))
    poses = [template(match.kind, match.scale, match.facing, step) for step in phases(match.kind)]
    here = round(match.x), round(match.y)
    by_color = np.array([max(slide(g, drawn, *here, 1).max() for drawn in poses) for g in gain_of])
    return End(_SCALES[best], int(by_color.argmax()), gains[best], by_color)


def motion(found: Path, last: End, match: Match, times_s: np.ndarray, size: tuple[int, int]) -> Motion:
    """The action that explains a path and an end; `size` is (height, width) in pixels."""
    height, width = size
    x, y = found.x / width, found.y / height
    going_x, going_y = float(np.median(x[-2:]) - np.median(x[:2])), float(np.median(y[-2:]) - np.median(y[:2]))
    left = last.gain / max(match.gain, 1e-6)
    recolored = float(last.by_color[last.color])
    margin = float(last.by_color[last.color] - last.by_color[match.color]) / max(match.gain, 1e-6)
    stays = max(abs(going_x), abs(going_y)) < _TRAVEL
    if last.color != match.color and margin > 0.08 and recolored > _SEEN and stays:
        rest = np.delete(last.by_color, last.color)
        sure = float(last.by_color[last.color] - rest.max()) / max(last.by_color[last.color], 1e-6)
        return Motion(kind="recolor", to_color=last.color, to_color_certainty=sure, certainty=min(1.0, margin))
    if last.gain < _SEEN or left < 0.04:
        return Motion(
            kind="vanish", visible=max(0.0, left), certainty=1.0 - max(0.0, last.gain) / max(_SEEN, 0.04 * match.gain)
        )
    if not stays:
        along_x = abs(going_x) * width >= abs(going_y) * height
        way = going_x if along_x else going_y
        direction = ("right" if way > 0 else "left") if along_x else ("down" if way > 0 else "up")
        speed = pace(x if along_x else y, times_s)
        return Motion(kind="travel", direction=direction, speed=speed, scale=last.scale, certainty=abs(way) / _TRAVEL)
    if last.scale >= 1.3:
        return Motion(kind="grow", scale=last.scale, certainty=(last.scale - 1.3) / 0.3)
    if last.scale <= 0.7:
        return Motion(kind="shrink", scale=last.scale, certainty=(0.7 - last.scale) / 0.2)
    rise = float(np.median([y[0], y[-1]]) - y.min())
    if rise > _HOP:
        return Motion(kind="hop", height=rise, scale=last.scale, certainty=min(1.0, rise / _HOP - 1.0))
    return Motion(kind="still", scale=last.scale, certainty=1.0 - max(rise, 0.0) / _HOP)


def pace(along: np.ndarray, times_s: np.ndarray) -> float:
    """Speed (units a second, >= 0) while moving: a straight way and then rest, fitted by least squares."""
    best, speed = np.inf, 0.0
    t = times_s - times_s[0]
    for stop in t[2:]:
        basis = np.stack([np.ones_like(t), np.minimum(t, stop)], axis=1)  # (T, 2)
        weights, *_ = np.linalg.lstsq(basis, along, rcond=None)
        error = float(((basis @ weights - along) ** 2).sum())
        if error < best:
            best, speed = error, abs(float(weights[1]))
    return speed


def hop_name(kind: str | None, height: float) -> str:
    """`jump` or `bounce`: who can do only one of them does that one; otherwise the height tells."""
    if kind in words.JUMPERS:
        return "jump"
    if kind in words.BOUNCERS:
        return "bounce"
    return "bounce" if height > _HOP_KINDS else "jump"


def color_distance(a: int, b: int) -> float:
    """Distance of two colours of the world in levels."""
    return float(np.linalg.norm(COLORS[a] - COLORS[b]))
