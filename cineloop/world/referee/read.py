"""Read a clip of the cartoon world back into facts, by measuring and not by learning: the referee of the generator.

In: frames uint8 (T, H, W, 3) and their seconds. Out: `ReadBack`: place, figures, what they do, each with a certainty
and None where it cannot be read, with a reason. Works by analysis by synthesis with the painter's own palettes and the
renderer's own figures: the place (`place`), the figures of the first frame (`figure`), what they do
(`motion`), how sure that is (`kind`). A figure that comes later (it appears, it falls down) is read
in the clip played backwards. Made for the flat style, a still camera and up to `MOST_FIGURES` figures that hardly
overlap; other clips are recognised and left unread.
Letters: T frames, H W pixels, K colours, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from cineloop.world import vocabulary as words
from cineloop.world.referee.figure import KINDS, Look, Match, coarse, refine, robust
from cineloop.world.referee.group import group, hypotheses, joint_gain
from cineloop.world.referee.kind import DETAIL_BAR, MARGIN_BAR, SHARE_BAR, KindFit, muddiness, settle
from cineloop.world.referee.motion import (
    SPEED_EDGE,
    ActorMotion,
    Path,
    alone,
    cover_mask,
    hop_name,
    motion,
    paths,
    without,
)
from cineloop.world.referee.place import costs, explain, still_picture

ROWS = 64  # frames are read at this height
MOST_FIGURES = 4
MIN_GAIN = 12.0  # pixels a figure must explain
PLACE_COST, PLACE_SHARE, PLACE_MARGIN = 3.5, 0.55, 0.2  # nats a pixel at most; of pixels explained; nats of lead
LONE = 0.75  # a figure that explains more of what is in and around it stands alone
CLEAR = 0.6  # of what is in and around each of several figures, that it must explain for their number to be sure
ODD = 0.15  # of `robust`: a pixel differs, and not by noise
UNREST = 0.016  # share of pixels that may differ from the still picture outside the figures
APART_S = 0.4  # seconds between the starts of two events that make one the first
CAME = 0.1  # of the frame's height: a figure that came down by more has fallen
GONE = 0.04  # share of what a figure shows at most, below which it is not to be seen
MUDDY = 0.04  # 99 of 100 rendered clips are less muddy
COLOR_NAMES = tuple(words.COLORS)


@dataclass(frozen=True, kw_only=True)
class FigureRead:
    """One figure. A field is None where it cannot be read; `certainty` holds 0 to 1 for how sure the others are."""

    kind: str | None = None
    color: str | None = None
    size: str | None = None
    action: str | None = None
    motion: str | None = None  # travel, hop, grow, shrink, vanish, recolor, spin, shake, fall, appear, still
    direction: str | None = None
    speed: str | None = None
    to_color: str | None = None
    pace: float | None = None  # frame widths (heights for up and down) a second while it travels
    start_s: float | None = None  # of what it does
    end_s: float | None = None
    persists: bool | None = None  # there all along, neither lost nor torn; None where its size is meant to change
    x: float = 0.5  # centre in the first frame (of one that comes later, in the last), fractions of the frame
    y: float = 0.5
    height: float = 0.0  # of the figure's unit box there, fraction of the frame's height
    path: tuple[tuple[float, float] | None, ...] = ()  # its centre in every frame, None where it is not to be seen
    certainty: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ReadBack:
    """Facts of one clip; `unread` names what could not be read and why.

    `figures` stand by how much of the picture they explain. `num_figures` is None where it is not sure: something
    stands there that is like no figure, or more than are read. `relation` is (a, "left of" or "above", b) between two
    figures at the start; `order` the numbers of the two by who acts first, empty where that is together. `muddiness` is
    the share of pixels that neither the place nor the figures can paint: above `MUDDY` hardly any renderer made them.
    """

    place: str | None
    figures: tuple[FigureRead, ...] = ()
    num_figures: int | None = None
    relation: tuple[int, str, int] | None = None
    order: tuple[int, ...] = ()
    muddiness: float = 1.0
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
    frames, times_s = _check_input(frames, times_s)
    read = _read(frames, times_s)
    if read.place is None or read.num_figures == 0 or any(_is_plain(figure) for figure in read.figures):
        return read
    turned = _read(frames[::-1], (times_s[0] + times_s[-1] - times_s)[::-1])
    late = [_played_forwards(figure, times_s) for figure in turned.figures if _is_plain(figure)]
    came = [figure for figure in late if figure is not None]
    if turned.place is None or not came or len(came) < len(turned.figures):
        return read
    return replace(turned, figures=tuple(came), relation=None, order=_order(tuple(came)))


def _is_plain(figure: FigureRead) -> bool:
    """Whether it looks like a figure at all."""
    return figure.certainty["share"] >= SHARE_BAR


def _played_forwards(figure: FigureRead, times_s: np.ndarray) -> FigureRead | None:
    """A figure of the clip played backwards as it is forwards; None where it was there at first, too."""
    if figure.motion not in ("vanish", "travel"):
        return None
    ends = [None if s is None else float(times_s[0] + times_s[-1] - s) for s in (figure.end_s, figure.start_s)]
    path = figure.path[::-1]
    timed = replace(figure, path=path, start_s=ends[0], end_s=ends[1])
    if figure.motion == "travel":
        back = {"left": "right", "right": "left", "up": "down", "down": "up"}
        return replace(timed, direction=back[figure.direction or "up"])
    heights = [at[1] for at in path if at is not None]
    motion = "fall" if heights[-1] - min(heights) > CAME else "appear"
    return replace(timed, motion=motion, action=motion)


def _read(frames: np.ndarray, times_s: np.ndarray) -> ReadBack:
    num = len(frames)
    cost, share = explain(frames[[0, num // 2, num - 1]])
    order = np.argsort(cost)
    number = int(order[0])
    margin = float(cost[order[1]] - cost[number])
    if cost[number] > PLACE_COST or share[number] < PLACE_SHARE or margin < PLACE_MARGIN:
        nowhere = "no place of the world explains the picture"
        return ReadBack(place=None, unread={"place": nowhere, "figure": nowhere})
    place, sure = words.PLACES[number], {"place": min(1.0, margin / 2.0)}
    place_cost = costs(frames, number)  # (T, H, W)
    exact = frames.astype(np.float32)
    picture, matches, is_all = _matches(exact, still_picture(exact, place_cost))
    if not matches:
        smooth = np.stack([cv2.blur(frame, (3, 3)) for frame in exact])
        late = float((robust(smooth - smooth[0]) > ODD).sum(axis=(1, 2)).max()) > MIN_GAIN
        why = {"figure": f"nothing stands out from the place{' in the first frame' if late else ''}"}
        mud = muddiness(exact, place_cost, [], None)
        return ReadBack(place=place, num_figures=None if late else 0, muddiness=mud, certainty=sure, unread=why)
    different = _different(exact, picture)
    tracks = paths(different, [m[0] for m in matches])
    outside = _outside(different, tracks, matches)  # (T, H, W)
    is_all &= float(np.where(outside, different, 0.0).sum(axis=(1, 2)).max()) < 2 * MIN_GAIN  # another comes later
    unrest = float((different[outside] > ODD).mean()) if outside.any() else 0.0
    if unrest > UNREST:
        why = {"figure": f"{unrest:.0%} of the picture changes: a moving camera, a cut, or more figures than are read"}
        return ReadBack(place=place, muddiness=muddiness(exact, place_cost, [], 0), certainty=sure, unread=why)
    shown = alone(exact, picture, [m[0] for m in matches], tracks)
    read = [_figure(f, picture, different, m, p, times_s) for f, m, p in zip(shown, matches, tracks, strict=True)]
    figures = tuple(each for each, _ in read)
    is_all &= len(figures) == 1 or all(figure.certainty["share"] >= CLEAR for figure in figures)
    colors = [
        c for (verdict, done) in (r[1] for r in read) for c in (verdict.match.color, done.to_color) if c is not None
    ]
    return ReadBack(
        place=place,
        figures=figures[:MOST_FIGURES],
        num_figures=len(figures) if is_all else None,
        relation=_relation(figures),
        order=_order(figures),
        muddiness=muddiness(exact, place_cost, colors, 0),
        certainty=sure,
        unread={} if is_all else {"figures": f"how many there are is not sure: {len(figures[:MOST_FIGURES])} are read"},
    )


def _check_input(frames: np.ndarray, times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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


def _different(frames: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """How much each pixel differs from the still picture, beyond the noise: (T, H, W), 0 to 1."""
    different = robust(frames - picture)
    return np.maximum(different - max(0.01, 3.0 * float(np.median(different))), 0.0)


def _matches(frames: np.ndarray, picture: np.ndarray) -> tuple[np.ndarray, list[list[Match]], bool]:
    """A better picture, per figure its hypotheses in the first frame, best first, none where nothing stands out, and
    whether these are surely all.

    A figure that looks like the place at first and only later like itself has been taken for the place: it is found in
    the frame where most stands out, and the picture filled in there.
    """
    matches = _hypotheses(frames[0], picture)
    if not matches:
        key = int(robust(frames - picture).sum(axis=(1, 2)).argmax())
        later = _hypotheses(frames[key], picture)
        if not later:
            return picture, [], True
        picture = without(picture, later[0])
        matches = _hypotheses(frames[0], picture)
        if not matches:
            return picture, [], True
    groups, rest, is_all = [matches], frames[0].copy(), True
    while True:
        _erase(rest, picture, groups[-1][0])
        if _different(rest[None], picture).sum() < MIN_GAIN:
            break
        matches = refine(Look(rest, picture), coarse(rest, picture))
        if matches[0].gain < MIN_GAIN:
            break
        is_all = matches[0].share >= SHARE_BAR and len(groups) < MOST_FIGURES
        if not is_all:
            break
        groups.append(matches)
    if len(groups) > 1 or groups[0][0].share < LONE:
        members = group(frames[0], picture)
        apart = [each[0] for each in groups]
        if len(members) > 1 and joint_gain(frames[0], picture, members) > joint_gain(frames[0], picture, apart):
            groups, rest = hypotheses(frames[0], picture, members), frames[0].copy()
            for each in groups:
                _erase(rest, picture, each[0])
            left = refine(Look(rest, picture), coarse(rest, picture))[0]
            is_all = left.gain < MIN_GAIN or left.share < SHARE_BAR and is_all
    # What differs in the first frame and belongs to no figure is the place after all: a star, the edge of a roof.
    odd = robust(rest - picture) > ODD
    return np.where(odd[..., None], rest, picture), groups, is_all


def _hypotheses(frame: np.ndarray, picture: np.ndarray) -> list[Match]:
    """What may stand in a frame, best first; none where nothing stands out that looks like a figure."""
    for _ in range(2):
        matches = refine(Look(frame, picture), coarse(frame, picture))
        if matches[0].gain >= MIN_GAIN:
            return matches
        frame = frame.copy()
        _erase(frame, picture, matches[0])  # no figure: a wrong spot of the picture; is there one beside it?
    return []


def _erase(frame: np.ndarray, picture: np.ndarray, match: Match) -> None:
    """Put the picture where a figure is, and a little around it."""
    mask = cover_mask(picture, match, around=2)
    frame[mask > 0] = picture[mask > 0]


def _outside(different: np.ndarray, tracks: list[Path], matches: list[list[Match]]) -> np.ndarray:
    """The pixels (T, H, W) that lie near no figure, in every frame."""
    num, height, width = different.shape
    ys, xs = np.arange(height)[None, :, None], np.arange(width)[None, None]
    outside = np.ones(different.shape, bool)
    for path, (match, *_) in zip(tracks, matches, strict=True):
        reach = 1.1 * match.scale + 3.0
        near = (np.abs(ys - path.y[:, None, None]) < reach) & (np.abs(xs - path.x[:, None, None]) < reach)
        outside &= ~near
    return outside


def _figure(
    frames: np.ndarray,
    picture: np.ndarray,
    different: np.ndarray,
    matches: list[Match],
    path: Path,
    times_s: np.ndarray,
) -> tuple[FigureRead, tuple[KindFit, ActorMotion]]:
    height, width, _ = picture.shape
    done = motion(frames, picture, different, path, matches[0], times_s)
    verdict = settle(frames, picture, matches, path, done)
    match = verdict.match
    known = verdict.share >= SHARE_BAR and verdict.margin >= MARGIN_BAR and verdict.detail >= DETAIL_BAR
    kind = match.kind if known else None
    size = min(words.SIZES, key=lambda s: abs(words.SIZES[s] * height - match.scale))
    speed = None if done.pace is None else ("fast" if done.pace > SPEED_EDGE else "slow")
    sure = {
        "kind": verdict.margin,
        "share": verdict.share,
        "detail": verdict.detail,
        "color": verdict.color,
        "action": float(np.clip(done.certainty, 0.0, 1.0)),
        "to_color": done.to_color_certainty,
    }
    figure = FigureRead(
        kind=None if kind is None else KINDS[kind],
        color=COLOR_NAMES[match.color],
        size=size,
        action=_action(done, kind, speed),
        motion=done.kind,
        direction=done.direction,
        speed=speed,
        to_color=None if done.to_color is None else COLOR_NAMES[done.to_color],
        pace=done.pace,
        start_s=done.start_s,
        end_s=done.end_s,
        persists=verdict.persists,
        x=match.x / width,
        y=match.y / height,
        height=match.scale / height,
        path=_path(path, width, height),
        certainty=sure,
    )
    return figure, (verdict, done)


def _path(path: Path, width: int, height: int) -> tuple[tuple[float, float] | None, ...]:
    least = GONE * float(path.area.max())
    return tuple(
        (float(x) / width, float(y) / height) if area > least else None
        for x, y, area in zip(path.x, path.y, path.area, strict=True)
    )


def _action(done: ActorMotion, kind: int | None, speed: str | None) -> str | None:
    if done.kind == "travel":
        return None if kind is None else words.travel_action(KINDS[kind], speed or "slow")
    if done.kind == "hop":
        return hop_name(kind, done.rise)
    return "stand" if done.kind == "still" else done.kind


def _relation(figures: tuple[FigureRead, ...]) -> tuple[int, str, int] | None:
    """Which of two figures is left of or above the other at the start; None where neither is plain."""
    if len(figures) != 2:
        return None
    a, b = figures
    apart = (a.height + b.height) / 2
    dx, dy = b.x - a.x, b.y - a.y
    if abs(dx) > abs(dy) and abs(dx) > 0.6 * apart:
        return (0, "left of", 1) if dx > 0 else (1, "left of", 0)
    if abs(dy) > abs(dx) and abs(dy) > 0.6 * apart:
        return (0, "above", 1) if dy > 0 else (1, "above", 0)
    return None


def _order(figures: tuple[FigureRead, ...]) -> tuple[int, ...]:
    """Numbers of two figures by who acts first; empty where one does nothing or both begin together."""
    starts = [f.start_s for f in figures if f.start_s is not None]
    if len(figures) != 2 or len(starts) != 2 or abs(starts[0] - starts[1]) < APART_S:
        return ()
    return (0, 1) if starts[0] < starts[1] else (1, 0)
