"""Read a clip of the cartoon world back into facts, by measuring and not by learning: the referee of the generator.

In: frames uint8 (T, H, W, 3) and their seconds. Out: `ReadBack`: place, figures, what they do, each with a certainty
and None where it cannot be read, with a reason. Works by analysis by synthesis with the painter's own palettes and the
renderer's own figures (`read_back_place`, `read_back_figure`, `read_back_motion`). Made for the flat style, a still
camera, figures that do not overlap; other clips are told apart and left unread.
Letters: T frames, H W pixels, R colour roles, K colours.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from v2t.world import vocabulary as words
from v2t.world.read_back_figure import (
    COLORS,
    KINDS,
    ROLES,
    Match,
    coarse,
    likely_colors,
    refine,
    role_colors,
    role_costs,
    template,
)
from v2t.world.read_back_motion import SPEED_EDGE, Motion, end, hop_name, motion, path
from v2t.world.read_back_place import CAP, costs, explain

ROWS = 64  # frames are read at this height
_COLOR_NAMES = tuple(words.COLORS)


@dataclass(frozen=True, kw_only=True)
class FigureRead:
    """One figure. A field is None where it cannot be read; `certainty` holds 0 to 1 per field that was."""

    kind: str | None = None
    color: str | None = None
    size: str | None = None
    action: str | None = None
    motion: str | None = None  # travel, hop, grow, shrink, vanish, recolor, still
    direction: str | None = None
    speed: str | None = None
    to_color: str | None = None
    pace: float | None = None  # frame widths (heights for up and down) a second while it travels
    x: float = 0.5  # centre in the first frame, fractions of the frame
    y: float = 0.5
    height: float = 0.0  # of the figure's unit box in the first frame, fraction of the frame's height
    certainty: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ReadBack:
    """Facts of one clip; `unread` names what could not be read and why."""

    place: str | None
    figures: tuple[FigureRead, ...]
    num_figures: int | None
    muddiness: float  # share of pixels that neither the place nor the figure can paint
    certainty: dict[str, float] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)


def read_back(frames: np.ndarray, times_s: np.ndarray) -> ReadBack:
    """Read a clip.

    Args:
        frames: uint8 (T, H, W, 3) RGB, T >= 3, H and W >= 48.
        times_s: seconds of the frames, (T,), increasing.

    Raises:
        ValueError: when shapes or types do not fit.
    """
    frames, times_s = _checked(frames, times_s)
    num = len(frames)
    some = frames[[0, num // 2, num - 1]]
    cost, share = explain(some)
    order = np.argsort(cost)
    number = int(order[0])
    margin = float(cost[order[1]] - cost[number])
    if share[number] < 0.45 or margin < 0.4:
        why = "no place of the world explains the picture"
        return ReadBack(place=None, figures=(), num_figures=None, muddiness=1.0, unread={"place": why, "figure": why})
    background = costs(frames, number)  # (T, H, W)
    sure = {"place": min(1.0, margin / 2.0)}
    matches = _matches(frames[0], background[0])
    if not matches:
        why = "nothing stands out from the place"
        mud = float((background > CAP / 2).mean())
        return ReadBack(
            place=words.PLACES[number], figures=(), num_figures=0, muddiness=mud, certainty=sure, unread={"figure": why}
        )
    figure = _figure(frames, background, matches, times_s)
    mud = float((background > CAP / 2).mean())
    return ReadBack(
        place=words.PLACES[number], figures=(figure,), num_figures=1, muddiness=mud, certainty=sure, unread={}
    )


def _checked(frames: np.ndarray, times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise ValueError(f"frames must be uint8 (T, H, W, 3), got {frames.dtype} {frames.shape}")
    times_s = np.asarray(times_s, dtype=np.float64)
    if times_s.shape != (len(frames),) or (np.diff(times_s) <= 0).any():
        raise ValueError(f"times_s must be ({len(frames)},) and increasing, got {times_s.shape}")
    num, height, width, _ = frames.shape
    if num < 3 or min(height, width) < 48:
        raise ValueError(f"a clip to be read needs 3 frames of 48 x 48 or more, got {frames.shape}")
    if height != ROWS or width % 8:
        size = (round(width * ROWS / height / 8) * 8, ROWS)
        frames = np.stack([cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in frames])
    return frames, times_s


def _matches(frame: np.ndarray, background: np.ndarray) -> list[Match]:
    """Hypotheses for the figure in a frame, best first; none where no pixel stands out."""
    colors = likely_colors(frame, background)
    found = coarse(frame, background, colors)
    gain = {c: background[None] - role_costs(frame, role_colors()[c]) for c in colors}
    found = refine(gain, found)
    return [m for m in found if m.gain > 40.0]


def _figure(frames: np.ndarray, background: np.ndarray, matches: list[Match], times_s: np.ndarray) -> FigureRead:
    match = matches[0]
    height, width = background.shape[1:]
    path_ = path(_likeness(frames, background, match), match)
    last = [background[-1][None] - role_costs(frames[-1], role_colors()[c]) for c in range(len(COLORS))]
    done = motion(path_, end(last, match, path_.x[-1], path_.y[-1]), match, times_s, (height, width))
    kind = KINDS[match.kind]
    size = min(words.SIZES, key=lambda s: abs(words.SIZES[s] * height - match.scale))
    speed = None if done.speed is None else ("fast" if done.speed > SPEED_EDGE else "slow")
    other = next((m for m in matches if m.kind != match.kind), None)
    sure = {
        "kind": 1.0 - (other.gain / match.gain if other else 0.0),
        "action": float(np.clip(done.certainty, 0.0, 1.0)),
        "to_color": done.to_color_certainty,
    }
    return FigureRead(
        kind=kind,
        color=_COLOR_NAMES[match.color],
        size=size,
        action=_action(done, kind, speed),
        motion=done.kind,
        direction=done.direction,
        speed=speed,
        to_color=None if done.to_color is None else _COLOR_NAMES[done.to_color],
        pace=done.speed,
        x=match.x / width,
        y=match.y / height,
        height=match.scale / height,
        certainty=sure,
    )


def _likeness(frames: np.ndarray, background: np.ndarray, match: Match) -> np.ndarray:
    """How much each pixel looks like a part of the figure and not like the place: (T, H, W), 0 to 1."""
    roles = template(match.kind, match.scale, match.facing).roles
    roles = roles[roles != ROLES.index("edge")]
    num, height, width = background.shape
    paint = role_colors()[match.color][roles]
    own = role_costs(frames.reshape(num * height, width, 3), paint).min(axis=0).reshape(background.shape)
    return np.clip((background - own) / CAP - 0.2, 0.0, 0.8) / 0.8


def _action(done: Motion, kind: str | None, speed: str | None) -> str | None:
    if done.kind == "travel":
        return words.travel_action(kind, speed or "slow") if kind else None
    if done.kind == "hop":
        return hop_name(kind, done.height or 0.0)
    return "stand" if done.kind == "still" else done.kind
