"""Groups of equal figures that stand side by side, as the renderer draws "three red dogs".

In: a frame, the picture behind it, hypotheses for one figure. Out: per figure of the best group its hypotheses. One by
one such figures are hard to find: they touch, and one large figure may explain two small ones better than either. So a
group is painted as a whole, figure by figure at the renderer's own distance, and compared as a whole.
Letters: H W pixels, C channels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cineloop.world.referee.figure import COLORS, Look, Match, coarse, refine, robust
from cineloop.world.referee.motion import alone_in, overlap
from cineloop.world.scenes.render import GROUP_STEP

MOST = 4  # figures of a group
_CANDIDATES, _KEPT = 8, 24  # hypotheses a group is built from; those it is chosen among
_LEAST = 0.4  # share of a lone figure's gain that one more must explain


def joint_gain(frame: np.ndarray, picture: np.ndarray, matches: list[Match]) -> float:
    """The robust squared error that figures painted together explain; frame and picture float32 (H, W, C)."""
    return float((robust(frame - picture) - robust(frame - paint_over(picture, matches))).sum())


def paint_over(picture: np.ndarray, matches: list[Match]) -> np.ndarray:
    """The picture (H, W, C) with figures before it, left to right."""
    out = picture.copy()
    for match in sorted(matches, key=lambda m: m.x):
        drawn, mine, theirs = overlap(match, picture.shape[:2])
        cover = drawn.cover[mine][..., None]
        out[theirs] = out[theirs] * (1.0 - cover) + drawn.paint(COLORS[match.color])[mine]
    return out


def group(frame: np.ndarray, picture: np.ndarray) -> list[Match]:
    """The group of equal figures that explains most of a frame, left to right; one figure where none stands beside."""
    candidates = refine(Look(frame, picture), coarse(frame, picture, _KEPT))
    first: dict[tuple[int, float], Match] = {}
    for match in candidates:
        first.setdefault((match.kind, match.scale), match)
    groups = [_grow(frame, picture, match) for match in list(first.values())[:_CANDIDATES]]
    return max(groups, key=lambda each: joint_gain(frame, picture, each))


def _grow(frame: np.ndarray, picture: np.ndarray, match: Match) -> list[Match]:
    """A figure and its likes on both sides, as long as each explains something."""
    members = [match]
    for side in (-1, 1):
        while len(members) < MOST:
            edge = min(members, key=lambda m: side * -m.x)
            look = Look(frame, paint_over(picture, members))
            reach = max(1, round(0.16 * match.scale))
            x = edge.x + side * GROUP_STEP * match.scale
            gain, share, column, row = look.fit(match.template_at(), COLORS[match.color], x, match.y, reach)
            if gain < _LEAST * match.gain or not 0 <= column < frame.shape[1]:
                break
            members.append(replace(match, x=float(column), y=float(row), gain=gain, share=share))
    return sorted(members, key=lambda m: m.x)


def hypotheses(frame: np.ndarray, picture: np.ndarray, members: list[Match]) -> list[list[Match]]:
    """For each figure of a group what else it may be, best first, seen without the others."""
    views = alone_in(frame, picture, members)
    return [
        refine(Look(view, picture), [member, *coarse(view, picture)])
        for view, member in zip(views, members, strict=True)
    ]
