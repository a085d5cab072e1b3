"""What the figure does: where it is from frame to frame, what it is at the end, and the action that explains both.

In: how much each pixel differs from the still picture, a `Match` for the first frame. Out: a `Path` and from it a
`ActorMotion`. The centre of what differs is followed from frame to frame, relative to the first frame's, so that
neither a pose nor a wrong shade does harm; size and colour at the end come from painting the figure again.
Letters: T frames, H W pixels, K colours, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from cineloop.world import vocabulary as words
from cineloop.world.referee.figure import COLORS, KINDS, Look, Match, Template, phases

SPEED_EDGE = 0.205  # frame widths a second: between the fastest slow and the slowest fast
GROWN, SHRUNK = 1.3, 0.72  # of the scale at the start
_TRAVEL = 0.1  # of the frame: less is standing
_UNSURE = (0.155, 0.285)  # speeds between slow and fast are measured again
_HOP = 0.09  # of the frame's height: less is no hop
_HOP_KINDS = 0.23  # between a jump's height and a bounce's
_GONE = 0.07  # of the figure's area: less has vanished
_SHAKEN = 0.008  # of the frame's width: how far a figure that shakes is off its mean, as a standard deviation
_TURNED = 1.15  # by which a figure must fit better turned than upright, in half of the frames looked at
_LEAN = 0.16  # radians
_ANGLES = np.arange(12) * np.pi / 6  # radians
_LAGS = {False: (0.0,), True: (0.0, 0.6, -0.6)}  # of the step, for what is never quite still
_SCALES = (0.45, 0.7, 1.0, 1.35, 1.75)


@dataclass(frozen=True, eq=False)
class Path:
    """Where the figure is, each (T,): centre in pixels, `area` that differs, how far it spreads."""

    x: np.ndarray
    y: np.ndarray
    area: np.ndarray
    wide: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, kw_only=True)
class ActorMotion:
    """What happens. `kind`: travel, hop, grow, shrink, vanish, recolor, spin, shake or still.

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


def paths(different: np.ndarray, matches: list[Match]) -> list[Path]:
    """Follow figures; what differs belongs to the one whose centre is nearer.

    Args:
        different: (T, H, W), 0 to 1: how much each pixel differs from the still picture.
        matches: where the figures are in the first frame.
    """
    num, height, width = different.shape
    ys, xs = np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32)
    out = np.zeros((len(matches), 5, num))
    centres = np.array([[m.x, m.y] for m in matches])
    offsets = np.zeros_like(centres)
    for t in range(num):
        nearest = _nearest(centres, [m.scale for m in matches], ys, xs) if len(matches) > 1 else None
        for i, match in enumerate(matches):
            cx, cy = centres[i]
            reach = (0.8 if t == 0 else 1.1) * match.scale + 3.0
            near_y = np.clip((reach - np.abs(ys - cy)) / 3.0 + 1.0, 0.0, 1.0)
            near_x = np.clip((reach - np.abs(xs - cx)) / 3.0 + 1.0, 0.0, 1.0)
            seen = different[t] * near_y[:, None] * near_x[None]
            if nearest is not None:
                seen = seen * (nearest == i)
            rows, columns = seen.sum(1), seen.sum(0)
            total = float(rows.sum())
            if total > 2.0 and total > 0.1 * out[i, 2, 0]:
                mean = np.array([float(columns @ xs), float(rows @ ys)]) / total
                if t == 0:
                    offsets[i] = centres[i] - mean
                centres[i] = mean + offsets[i]
                out[i, 3, t] = np.sqrt(float(columns @ (xs - mean[0]) ** 2) / total)
                out[i, 4, t] = np.sqrt(float(rows @ (ys - mean[1]) ** 2) / total)
            out[i, :3, t] = *centres[i], total
    return [Path(*each) for each in out]


def _nearest(centres: np.ndarray, scales: list[float], ys: np.ndarray, xs: np.ndarray) -> np.ndarray:
    """Number of the figure nearest to each pixel, by its own scale: (H, W)."""
    far = [np.hypot(ys[:, None] - y, xs[None] - x) / s for (x, y), s in zip(centres, scales, strict=True)]
    return np.argmin(np.stack(far), axis=0)


def alone(frames: np.ndarray, picture: np.ndarray, matches: list[Match], tracks: list[Path]) -> list[np.ndarray]:
    """For each figure the frames (T, H, W, C) with the picture where another figure is nearer."""
    if len(matches) < 2:
        return [frames]
    ys, xs = (np.arange(size, dtype=np.float32) for size in frames.shape[1:3])
    scales = [match.scale for match in matches]
    owner = np.stack(
        [_nearest(np.array([[path.x[t], path.y[t]] for path in tracks]), scales, ys, xs) for t in range(len(frames))]
    )  # (T, H, W)
    return [np.where((owner == i)[..., None], frames, picture) for i in range(len(matches))]


def alone_in(frame: np.ndarray, picture: np.ndarray, matches: list[Match]) -> list[np.ndarray]:
    """The same of one frame (H, W, C) in which the figures stand where they were matched."""
    ys, xs = (np.arange(size, dtype=np.float32) for size in frame.shape[:2])
    owner = _nearest(np.array([[m.x, m.y] for m in matches]), [m.scale for m in matches], ys, xs)  # (H, W)
    return [np.where((owner == i)[..., None], frame, picture) for i in range(len(matches))]


def overlap(match: Match, size: tuple[int, int], step: float = 0.0) -> tuple[Template, tuple, tuple]:
    """The drawn figure of a match, and the part of it that lies in a frame of `size`: its slices in both."""
    drawn = match.template_at(step=step)
    top, left = round(match.y) - drawn.cy, round(match.x) - drawn.cx
    y0, x0 = max(0, top), max(0, left)
    y1, x1 = (min(size[0], top + drawn.cover.shape[0]), min(size[1], left + drawn.cover.shape[1]))
    return (drawn, np.s_[y0 - top : max(y0, y1) - top, x0 - left : max(x0, x1) - left], np.s_[y0:y1, x0:x1])


def cover_mask(picture: np.ndarray, match: Match, around: int) -> np.ndarray:
    """Where the figure of `match` covers the picture, and `around` pixels more: uint8 (H, W), 0 or 1."""
    height, width, _ = picture.shape
    mask = np.zeros((height, width), np.uint8)
    drawn, mine, theirs = overlap(match, (height, width))
    mask[theirs] = drawn.cover[mine] > 0.02
    return np.asarray(cv2.dilate(mask, np.ones((2 * around + 1,) * 2, np.uint8)))


def without(picture: np.ndarray, match: Match) -> np.ndarray:
    """The picture (H, W, C) with the figure of `match` filled in from around."""
    mask = cover_mask(picture, match, around=1)
    return cv2.inpaint(np.clip(picture, 0, 255).astype(np.uint8), mask, 2, cv2.INPAINT_TELEA).astype(np.float32)


def color_at(frame: np.ndarray, picture: np.ndarray, match: Match, step: float) -> np.ndarray:
    """The colour (C,) with which the figure of `match` fits a frame best, by its plain parts."""
    drawn, mine, theirs = overlap(match, frame.shape[:2], step)
    plain = drawn.tint[mine] * (drawn.tint[mine] > 0.85)
    tint = plain if plain.sum() > 12 else drawn.tint[mine] * (drawn.cover[mine] > 0.8)
    left_over = frame[theirs] - picture[theirs] * (1 - drawn.cover[mine])[..., None] - drawn.base[mine]
    return np.einsum("hw,hwc->c", tint, left_over) / max(float((tint**2).sum()), 1e-3)


def motion(
    frames: np.ndarray, picture: np.ndarray, different: np.ndarray, path: Path, match: Match, times_s: np.ndarray
) -> ActorMotion:
    """The action that explains a path and the last frames.

    Args:
        frames: float32 (T, H, W, C).
        picture: float32 (H, W, C), the place without the figure.
        different: (T, H, W), as for `paths`.
        found: the figure's path.
        match: the figure in the first frame.
        times_s: (T,).
    """
    height, width, _ = picture.shape
    x, y = path.x / width, path.y / height
    going = np.array([np.median(x[-2:]) - np.median(x[:2]), np.median(y[-2:]) - np.median(y[:2])])
    left = _left(different, path, match)
    stays = np.abs(going).max() < 1.5 * _TRAVEL
    recolor = None if left < _GONE or not stays else _recolor(frames, picture, match, times_s)
    if recolor is not None:
        return recolor
    if left < _GONE:
        when = _half_way(path.area / max(path.area[0], 1e-6), times_s, 1.0, 0.0)
        return ActorMotion(kind="vanish", certainty=1.0 - left / _GONE, scale=0.0, start_s=when, end_s=when)
    if np.abs(going).max() >= _TRAVEL:
        across = abs(going[0]) * width >= abs(going[1]) * height
        way, along = (going[0], x) if across else (going[1], y)
        direction = ("right" if way > 0 else "left") if across else ("down" if way > 0 else "up")
        pace, stop = pace_of(along, times_s)
        if _UNSURE[0] < pace < _UNSURE[1]:
            pace = closer_pace(frames, picture, path, match, times_s, across)
        sure = min(1.0, abs(way) / _TRAVEL - 1.0)
        first = float(times_s[0])
        return ActorMotion(kind="travel", certainty=sure, direction=direction, pace=pace, start_s=first, end_s=stop)
    rise = float(np.median([y[0], y[-1]]) - y.min())
    if rise > _HOP:
        up = np.flatnonzero(y < y[0] - 0.3 * rise)
        first, stop = float(times_s[up[0]]), float(times_s[up[-1]])
        return ActorMotion(kind="hop", certainty=min(1.0, rise / _HOP - 1.0), rise=rise, start_s=first, end_s=stop)
    turned = turned_share(frames, picture, path, match)
    if turned >= 0.5:
        return ActorMotion(kind="spin", certainty=2.0 * turned - 1.0)
    swing = np.diff(x)
    shaken = float(x.std()) * ((swing[1:] * swing[:-1] < 0).mean() > 0.4)
    if shaken > _SHAKEN:
        return ActorMotion(kind="shake", certainty=min(1.0, shaken / _SHAKEN - 1.0))
    scale = end_scale(frames[-1], picture, path, match)
    if scale > GROWN or scale < SHRUNK:
        kind, sure = ("grow", (scale - GROWN) / 0.3) if scale > GROWN else ("shrink", (SHRUNK - scale) / 0.2)
        when = _half_way(np.sqrt(path.area / max(path.area[0], 1e-6)), times_s, 1.0, scale)
        return ActorMotion(kind=kind, certainty=min(1.0, sure), scale=scale, start_s=when, end_s=when)
    return ActorMotion(kind="still", certainty=1.0 - max(rise, 0.0) / _HOP, scale=scale)


def _left(different: np.ndarray, path: Path, match: Match) -> float:
    """Share of the figure's area that is there in the last frames, within its outline."""
    areas = []
    for t in (0, -3, -2, -1):
        here = replace(match, x=float(path.x[t]), y=float(path.y[t]))
        drawn, mine, theirs = overlap(here, different.shape[1:])
        areas.append(float((different[t][theirs] * (drawn.cover[mine] > 0.3)).sum()))
    return max(areas[1:]) / max(areas[0], 1e-6)


def _half_way(track: np.ndarray, times_s: np.ndarray, before: float, after: float) -> float:
    """The second at which a quantity is half way from `before` to `after`."""
    share = (track - before) / (after - before)
    return float(times_s[int(np.argmax(share > 0.5))])


def _recolor(frames: np.ndarray, picture: np.ndarray, match: Match, times_s: np.ndarray) -> ActorMotion | None:
    """A change of colour on the spot, or None.

    What the new colour shares with the place was taken for the place when the still picture was made; so that is filled
    in anew from around the figure.
    """
    clean = without(picture, match)
    beat = beat_of(match.kind)
    steps = [round(beat * t / 0.3) * 0.3 for t in times_s - times_s[0]]
    seen = np.stack([color_at(f, clean, match, s) for f, s in zip(frames, steps, strict=True)])  # (T, C)
    last, first = np.median(seen[-3:], axis=0), np.median(seen[:2], axis=0)
    moved = float(np.linalg.norm(last - first))
    if moved < 30.0:
        return None
    far = np.linalg.norm(COLORS - last, axis=1)  # (K,)
    best = {}
    looks = [(Look(frames[t], clean), steps[t]) for t in (-1, -3)]
    for color in {*(int(k) for k in np.argsort(far)[:3]), match.color}:
        fits = [
            max(
                look.fit(match.template_at(step=step + lag), COLORS[color], match.x, match.y)[:2]
                for lag in _LAGS[beat > 0]
            )
            for look, step in looks
        ]
        best[color] = (sum(gain for gain, _ in fits) / len(fits), max(share for _, share in fits))
    to_color = max(best, key=lambda k: best[k][0])
    gain, share = best[to_color]
    if to_color == match.color or moved < 0.5 * np.linalg.norm(COLORS[to_color] - COLORS[match.color]):
        return None
    if share < 0.4 or gain < 5.0 or gain < best[match.color][0] + 5.0:
        return None
    if scale_at(looks[0][0], match, match.x, match.y, (0.45, 1.35, 1.75))[0] > gain:
        return None
    when = _half_way((seen - first) @ (last - first), times_s, 0.0, float((last - first) @ (last - first)))
    rest = min(far[k] for k in range(len(COLORS)) if k != to_color)
    sure = float(np.clip(1.0 - far[to_color] / max(rest, 1e-6), 0.0, 1.0))
    certain = min(1.0, (share - 0.4) / 0.2)
    return ActorMotion(
        kind="recolor", certainty=certain, to_color=to_color, to_color_certainty=sure, start_s=when, end_s=when
    )


def beat_of(kind: int) -> float:
    """Step phase a second of a figure that is never quite still, as `motion.track` has it."""
    return 1.2 if words.KINDS[KINDS[kind]][1] in ("fly", "swim", "sail") else 0.0


def end_scale(frame: np.ndarray, picture: np.ndarray, path: Path, match: Match) -> float:
    """Scale of the figure in the last frame relative to the first, by painting it at several."""
    by_area = float(np.sqrt(path.area[-1] / max(path.area[0], 1e-6)))
    by_spread = float(path.high[-1] / max(path.high[0], 1e-6))
    if max(abs(by_area - 1), abs(by_spread - 1)) < 0.12:
        return (by_area + by_spread) / 2
    guesses = {float(np.clip(round(guess, 1), 0.4, 2.0)) for guess in (by_area, by_spread)}
    scales = tuple(sorted({*_SCALES, *guesses}))
    return scale_at(Look(frame, picture), match, float(path.x[-1]), float(path.y[-1]), scales)[1]


def turned_share(frames: np.ndarray, picture: np.ndarray, path: Path, match: Match) -> float:
    """Share of six later frames in which the figure fits clearly better turned than upright, in its best pose."""
    which = np.unique(np.linspace(1, len(frames) - 1, 6).astype(int))
    turned = 0
    for t in which:
        look, x, y = Look(frames[t], picture), float(path.x[t]), float(path.y[t])
        color = COLORS[match.color]
        scales = (1.0,) if abs(path.area[t] / max(path.area[0], 1e-6) - 1.0) < 0.25 else _SCALES
        poses = [match.template_at(z, step) for step in phases(match.kind) for z in scales]
        poses += [match.template_at(angle=lean) for lean in (-_LEAN, _LEAN)]  # as far as a figure that shakes
        upright = max(look.fit(pose, color, x, y)[0] for pose in poses)
        gains = [look.fit(match.template_at(angle=float(angle)), color, x, y)[0] for angle in _ANGLES[1:]]
        turned += max(gains) > _TURNED * max(upright, 1.0)
    return turned / len(which)


def scale_at(look: Look, match: Match, x: float, y: float, scales: tuple[float, ...]) -> tuple[float, float]:
    """The best of some scales of a figure near (x, y): its gain and the scale."""
    best = (-np.inf, 1.0)
    for scale in scales:
        for step in phases(match.kind):
            gain, *_ = look.fit(match.template_at(scale, step), COLORS[match.color], x, y)
            best = max(best, (gain, scale))
    return best


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


def closer_pace(
    frames: np.ndarray, picture: np.ndarray, path: Path, match: Match, times_s: np.ndarray, across: bool
) -> float:
    """The speed again, by painting the figure near where it was seen, in frame widths (heights) a second."""
    which = np.unique(np.linspace(0, len(frames) - 1, 6).astype(int))
    along = []
    for t in which:
        look, x, y = Look(frames[t], picture), float(path.x[t]), float(path.y[t])
        fits = (look.fit(match.template_at(step=s), COLORS[match.color], x, y, 4) for s in phases(match.kind))
        along.append(max(fits)[2 if across else 3] / picture.shape[1 if across else 0])
    return pace_of(np.array(along), times_s[which])[0]


def hop_name(kind: int | None, rise: float) -> str:
    """`jump` or `bounce`: who can do only one of them does that one; otherwise the height tells."""
    name = None if kind is None else KINDS[kind]
    if name in words.JUMPERS:
        return "jump"
    if name in words.BOUNCERS:
        return "bounce"
    return "bounce" if rise > _HOP_KINDS else "jump"
