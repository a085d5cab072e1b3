"""How sure is the reading of a figure: does its kind hold over time, are its details there, is it there all along.

In: the hypotheses of the first frame, the path, the frames. Out: `KindFit` on kind, colour and persistence with
certainties of 0 to 1; below the bars of this module a fact counts as unread. The bars lie where nearly all renders that
were blurred and made noisy pass, and blobs of the right colour do not (`tests/cineloop/world/referee/test_read.py`).
Letters: T frames, H W pixels, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cineloop.world import vocabulary as words
from cineloop.world.referee.figure import COLORS, KINDS, Look, Match, phases, template
from cineloop.world.referee.motion import ActorMotion, Path
from cineloop.world.referee.place import CAP
from cineloop.world.scenes.actors import FIXED

SHARE_BAR = 0.45  # of what is to explain in and around the figure, that a kind must explain
MARGIN_BAR = 0.15  # by which a kind must lead the next one
DETAIL_BAR = -0.02  # by which its details must help, relative to its plain silhouette
COLOR_DOUBT = 0.3  # a colour that leads the next by less is looked at again
_FAR = 45.0  # levels: a pixel so far from all that could be painted is muddy
_CANDIDATES = 3  # kinds looked at again in later frames


@dataclass(frozen=True)
class KindFit:
    """`match` is the hypothesis that holds best over time; the rest are certainties, 0 to 1."""

    match: Match
    share: float
    margin: float
    detail: float
    color: float
    persists: bool | None


def settle(frames: np.ndarray, picture: np.ndarray, matches: list[Match], path: Path, done: ActorMotion) -> KindFit:
    """Weigh the hypotheses again in later frames.

    Args:
        frames: float32 (T, H, W, C).
        picture: float32 (H, W, C).
        matches: for the first frame, best first.
        found, done: path and motion of the first of them.
    """
    best_of: dict[int, Match] = {}
    for match in matches:
        if np.hypot(match.x - matches[0].x, match.y - matches[0].y) < 0.6 * matches[0].scale:  # not another figure
            best_of.setdefault(match.kind, match)
    candidates = list(best_of.values())[:_CANDIDATES]
    gains = np.array([m.gain for m in candidates])
    shares = np.array([m.share for m in candidates])
    num_seen = 1
    looks = [(t, Look(frames[t], picture)) for t in _later(path, done, len(frames))]
    for t, look in looks:
        x, y = float(path.x[t]), float(path.y[t])
        for i, match in enumerate(candidates):
            gain, share = _best_pose(look, match, x, y, t, path)
            gains[i] += gain
            shares[i] += share
        num_seen += 1
    order = np.argsort(-gains)
    match = candidates[int(order[0])]
    top = float(max(gains[order[0]], 1e-6))
    margin = 1.0 - float(gains[order[1]]) / top if len(candidates) > 1 else 1.0
    first = Look(frames[0], picture)
    plain, *_ = first.fit(match.template_at(plain=True), COLORS[match.color], match.x, match.y, 0)
    by_color = [first.fit(match.template_at(), color, match.x, match.y, 0)[0] for color in COLORS]
    if sorted(by_color)[-2] > (1 - COLOR_DOUBT) * by_color[match.color]:
        by_color = _by_color_closer(first, match, by_color)
        match = replace(match, color=int(np.argmax(by_color)))
    color = 1.0 - sorted(by_color)[-2] / max(by_color[match.color], 1e-6)
    return KindFit(
        match=match,
        share=float(shares[order[0]]) / num_seen,
        margin=margin,
        detail=1.0 - plain / max(match.gain, 1e-6),
        color=color,
        persists=_persists(path, done, len(phases(match.kind)) > 3),
    )


def _by_color_closer(look: Look, match: Match, by_color: list[float]) -> list[float]:
    """Gains of the likeliest colours again, the figure placed to a third of a pixel; thin parts change with that."""
    out = [-np.inf] * len(by_color)
    for color in np.argsort(by_color)[-4:]:
        for dy in (-1 / 3, 0.0, 1 / 3):
            for dx in (-1 / 3, 0.0, 1 / 3):
                drawn = template(match.kind, match.scale, match.facing, 0.0, 0.0, match.spread, False, (dx, dy))
                out[color] = max(out[color], look.fit(drawn, COLORS[color], match.x, match.y, 1)[0])
    return out


def _later(path: Path, done: ActorMotion, num: int) -> list[int]:
    """Two later frames in which the figure looks as it did at first."""
    if done.kind in ("grow", "shrink", "vanish", "recolor", "spin"):
        return []
    return [t for t in (num // 3, 2 * num // 3) if path.area[t] > 0.3 * path.area[0]]


def _best_pose(look: Look, match: Match, x: float, y: float, t: int, path: Path) -> tuple[float, float]:
    """Gain and share of a hypothesis in a later frame, in its best pose."""
    gone = float(np.hypot(path.x[t] - path.x[0], path.y[t] - path.y[0]))
    angle = 0.0
    if words.KINDS[KINDS[match.kind]][1] == "roll":
        way = 1.0 if path.x[t] >= path.x[0] else -1.0
        angle = round(way * gone / (0.47 * match.scale) / 0.2) * 0.2
    steps = phases(match.kind)
    fits = [look.fit(match.template_at(step=s, angle=angle), COLORS[match.color], x, y)[:2] for s in steps]
    return max(fits)


def _persists(path: Path, done: ActorMotion, flaps: bool) -> bool | None:
    """Whether the figure is there all along: it neither dies nor is born again, nor does its size jump."""
    if done.kind in ("grow", "shrink", "vanish", "recolor"):
        return None
    relative = path.area / max(float(np.median(path.area)), 1e-6)
    return bool(relative.min() > (0.12 if flaps else 0.4) and relative.max() < (4.0 if flaps else 1.8))


def muddiness(frames: np.ndarray, place_cost: np.ndarray, colors: list[int], kind: int | None) -> float:
    """Share of pixels that neither the place nor the figure, in any of its `colors`, could paint.

    Args:
        frames: float32 (T, H, W, C).
        place_cost: (T, H, W) of `place.costs`.
    """
    odd = frames[place_cost > CAP / 2]  # (N, C)
    if not len(odd):
        return 0.0
    shades = [COLORS[c] * f for c in colors for f in (1.0, 0.68, 0.42)]
    shades += [COLORS[c] * 0.55 + 255 * 0.45 for c in colors]
    if kind is not None:
        shades += [np.array(color, np.float32) for color in FIXED.values()]
    nearest = np.full(len(odd), np.inf, np.float32)
    for shade in shades:
        nearest = np.minimum(nearest, ((odd - shade) ** 2).sum(axis=1))
    return float((nearest > _FAR**2).sum() / place_cost.size)
