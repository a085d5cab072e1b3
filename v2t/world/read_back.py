"""Read a clip of the cartoon world back into facts, by measuring and not by learning: the referee of the generator.

In: frames uint8 (T, H, W, 3) and their seconds. Out: `ReadBack`: place, figures, what they do, each with a certainty
and None where it cannot be read, with a reason. Works by analysis by synthesis with the painter's own palettes and the
renderer's own figures (`read_back_place`, `read_back_figure`, `read_back_motion`). Made for the flat style, a still
camera, figures that do not overlap; other clips are told apart and left unread.
Letters: T frames, H W pixels, K colours, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from v2t.world import vocabulary as words
from v2t.world.read_back_figure import KINDS, Match, coarse, refine, robust
from v2t.world.read_back_motion import SPEED_EDGE, Motion, hop_name, motion, path
from v2t.world.read_back_place import CAP, costs, explain, still_picture

ROWS = 64  # frames are read at this height
COLOR_NAMES = tuple(words.COLORS)


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
    cost, share = explain(frames[[0, num // 2, num - 1]])
    order = np.argsort(cost)
    number = int(order[0])
    margin = float(cost[order[1]] - cost[number])
    if share[number] < 0.45 or margin < 0.4:
        why = "no place of the world explains the picture"
        return ReadBack(place=None, figures=(), num_figures=None, muddiness=1.0, unread={"place": why, "figure": why})
    place_cost = costs(frames, number)  # (T, H, W)
    mud = float((place_cost > CAP / 2).mean())
    known = {"place": words.PLACES[number], "certainty": {"place": min(1.0, margin / 2.0)}, "muddiness": mud}
    exact = frames.astype(np.float32)
    picture, _ = still_picture(exact, place_cost)
    matches = refine(exact[0], picture, coarse(exact[0], picture))
    if matches[0].gain < 12.0:
        return ReadBack(figures=(), num_figures=0, unread={"figure": "nothing stands out from the place"}, **known)
    figure = _figure(exact, picture, matches, times_s)
    return ReadBack(figures=(figure,), num_figures=1, **known)


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


def _figure(frames: np.ndarray, picture: np.ndarray, matches: list[Match], times_s: np.ndarray) -> FigureRead:
    match = matches[0]
    height, width, _ = picture.shape
    different = np.maximum(robust(frames - picture) - 0.06, 0.0)  # (T, H, W)
    done = motion(frames, picture, path(different, match), match, times_s)
    size = min(words.SIZES, key=lambda s: abs(words.SIZES[s] * height - match.scale))
    speed = None if done.pace is None else ("fast" if done.pace > SPEED_EDGE else "slow")
    other = next((m for m in matches if m.kind != match.kind), None)
    sure = {
        "kind": 1.0 - (other.gain / match.gain if other else 0.0),
        "share": match.share,
        "action": float(np.clip(done.certainty, 0.0, 1.0)),
        "to_color": done.to_color_certainty,
    }
    return FigureRead(
        kind=KINDS[match.kind],
        color=COLOR_NAMES[match.color],
        size=size,
        action=_action(done, match.kind, speed),
        motion=done.kind,
        direction=done.direction,
        speed=speed,
        to_color=None if done.to_color is None else COLOR_NAMES[done.to_color],
        pace=done.pace,
        x=match.x / width,
        y=match.y / height,
        height=match.scale / height,
        certainty=sure,
    )


def _action(done: Motion, kind: int | None, speed: str | None) -> str | None:
    if done.kind == "travel":
        return None if kind is None else words.travel_action(KINDS[kind], speed or "slow")
    if done.kind == "hop":
        return hop_name(kind, done.rise)
    return "stand" if done.kind == "still" else done.kind
