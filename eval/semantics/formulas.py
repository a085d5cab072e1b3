"""VBench's semantic dimensions as arithmetic on what detectors found, with the reference's mistakes mended.

In: for each frame the regions a detector found, best first, or a caption; for a clip a ranking of actions. Out: counts
and scores. In VBench (arXiv:2311.17982) left is right and top is bottom (D1), the boxes of both things are in one pool
(D2), a colour is found inside other words (D3), any region of a frame may supply it as long as the best one is the
thing (D3b), clips without a coloured thing leave the denominator (D4), and an action is cut at "-" and "_" (D11). Here
these are distinguished. Letters: T frames.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from v2t_eval.judge.grammar.free_text import Thing
from v2t_eval.judge.grammar.noun_phrases import plain_color
from v2t_eval.judge.grammar.wording import without_emphasis

SOMETHING = "something"  # label of a thing whose kind the detector does not know
MORE = "more"  # label that stands for any number of further things: the detector does not know how many there are
Box = tuple[float, float, float, float]  # left, top, right, bottom; y grows downwards
OVERLAP = 0.1  # intersection over union above which two things are not plainly apart
TOP, SURE = 5, 0.85  # an action counts among so many best ones, from this score on
_AXES = {"left": (0, -1), "right": (0, 1), "top": (1, -1), "above": (1, -1), "over": (1, -1), "bottom": (1, 1),
         "below": (1, 1), "under": (1, 1), "underneath": (1, 1), "beneath": (1, 1)}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Region:
    """One thing in one frame: what it is, where, how sure, and a phrase about it ("a red car")."""

    label: str
    box: Box
    score: float = 1.0
    caption: str = ""


Frame = Sequence[Region]  # best first


def shows_all(frame: Frame, things: Sequence[Thing]) -> bool:
    """Whether there are, of every thing, as many as were asked for."""
    wanted: dict[str, int] = {}
    for thing in things:
        wanted[thing.noun] = wanted.get(thing.noun, 0) + thing.count
    return all(sum(region.label == noun for region in frame) >= count for noun, count in wanted.items())


def is_undecided(frame: Frame, things: Sequence[Thing]) -> bool:
    """Whether not all things are found, and what the detector has not read may be those that are missing."""
    labels = [region.label for region in frame]
    wanted: dict[str, int] = {}
    for thing in things:
        wanted[thing.noun] = wanted.get(thing.noun, 0) + thing.count
    missing = sum(max(0, count - labels.count(noun)) for noun, count in wanted.items())
    return missing > 0 and (MORE in labels or missing <= labels.count(SOMETHING))


def color_counts(frames: Sequence[Frame], thing: Thing) -> tuple[int, int]:
    """Frames with the thing, and those of them where a region that is the thing has its colour in the caption.

    In frames without it the colour is that of what stands in its place: things of an unknown kind, or the only thing
    there is. So a red box for a red dog has the right colour, and `object_class` says that it is no dog.
    """
    there = [_in_place_of(thing, frame) for frame in frames]
    color = plain_color(thing.color or "")
    right = sum(any(color in _colors(region.caption) for region in regions) for regions in there)
    return sum(map(bool, there)), right


def _in_place_of(thing: Thing, frame: Frame) -> Frame:
    for label in (thing.noun, SOMETHING):
        if regions := [region for region in frame if region.label == label]:
            return regions
    return frame if len(frame) == 1 and frame[0].label != MORE else ()


def spatial_score(frame: Frame, a: str, relation: str, b: str) -> float:
    """Best score over pairs of one box of `a` and another of `b`: 1 where a is on the side of b that was asked for, and
    more so than along the other axis; less where they overlap.

    Raises:
        ValueError: a relation that boxes cannot tell.
    """
    axis, sign = side(relation)
    pairs = [
        (one.box, other.box)
        for one in frame
        for other in frame
        if one is not other and one.label == a and other.label == b
    ]
    return max((_apart(p, q, axis, sign) for p, q in pairs), default=0.0)


def side(relation: str) -> tuple[int, int]:
    """Axis (0 across, 1 down) and sign of the way from b to a: "on the left of" is (0, -1).

    Raises:
        ValueError: a relation that boxes cannot tell, such as "behind".
    """
    for word in re.findall(r"[a-z]+", without_emphasis(relation)):
        if word in _AXES:
            return _AXES[word]
    raise ValueError(f"boxes cannot tell {relation!r}; what they can: {', '.join(_AXES)}")


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes; 0 where neither has an area."""
    across = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    down = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    union = areas - across * down
    return across * down / union if union > 0 else 0.0


def _apart(a: Box, b: Box, axis: int, sign: int) -> float:
    """1 where the boxes' centres are further apart along `axis` than along the other, a on the side of `sign`;
    less by their overlap; else 0."""
    away = [(a[i] + a[i + 2] - b[i] - b[i + 2]) / 2 for i in (0, 1)]
    if abs(away[axis]) <= abs(away[1 - axis]) or away[axis] * sign < 0:
        return 0.0
    overlap = iou(a, b)
    return 1.0 if overlap < OVERLAP else OVERLAP / overlap


def names_scene(caption: str, scene: str) -> bool:
    """Whether a caption holds every word of the scene, as a word."""
    return set(_words(scene)) <= set(_words(caption))


def action_hit(label: str, ranked: Sequence[tuple[str, float]], top: int = TOP) -> bool:
    """Whether the action is among the `top` best with a score of `SURE` or more."""
    return any(name == label and score >= SURE for name, score in ranked[:top])


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _colors(caption: str) -> set[str]:
    return {plain_color(word) for word in _words(caption)}
