"""Does a clip show what its prompt asked for? The referee's verdict, factor by factor.

In: frames uint8 (T, H, W, 3) with their seconds, and what was asked: a prompt, or a scene's facts. Out: per factor
True, False or None (not asked); over many clips a table of shares with Wilson intervals of 95 % and, beside each, the
share that prompts of other clips would have got (chance).

Which factors a prompt asks for is what `cineloop.world.language.read_text.parse` understands in it; facts alone ask
for all.
Rules: `place`, `color`, `kind`, `size`, `direction`, `to_color` must be read as asked. `action` is the class of motion
(travel, hop, grow, shrink, vanish, recolor); for those on legs, walk is slow and run is fast. `speed` is slow or fast,
the border between the two lying in the gap the world leaves (0.14 to 0.30 frame widths a second). What the referee
cannot read counts as wrong; `judge` names it in `FactorVerdict.unread`. `joint` is right when every asked factor is.
Each asked attribute apart and all of them together, as T2V-CompBench and TC-Bench have it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cineloop.intervals import wilson
from cineloop.world.language.plain_questions import MOTIONS
from cineloop.world.language.read_text import parse
from cineloop.world.referee.read import FigureRead, ReadBack, read_back

CHANCE_PROMPTS = 8  # of other clips that each clip is compared with
FACTORS: tuple[str, ...] = ("place", "color", "kind", "size", "action", "direction", "speed", "to_color")


@dataclass(frozen=True, kw_only=True)
class PromptFactors:
    """What a prompt asks for; None where it leaves it open."""

    place: str | None = None
    color: str | None = None
    kind: str | None = None
    size: str | None = None
    action: str | None = None
    direction: str | None = None
    speed: str | None = None
    to_color: str | None = None


@dataclass(frozen=True, kw_only=True)
class FactorVerdict:
    """Per factor (`FACTORS` and `joint`) True, False or None (not asked); `unread` names what could not be read."""

    factors: dict[str, bool | None]
    unread: tuple[str, ...] = field(default=())

    def __getitem__(self, factor: str) -> bool | None:
        return self.factors[factor]


@dataclass(frozen=True, kw_only=True)
class FactorRow:
    """One factor over many clips: `right` of `num`; `unread` of the wrong ones; the interval; chance or None."""

    factor: str
    num: int
    right: int
    unread: int
    low: float
    high: float
    chance: float | None

    @property
    def share(self) -> float:
        """Right of num; 0 where nothing was asked."""
        return self.right / self.num if self.num else 0.0


def prompt_factors(facts: Mapping[str, Any] | None, prompt: str | None = None) -> PromptFactors:
    """What is asked of the first figure and its first event.

    Args:
        facts: `Scene.facts()`, the values asked for; None: the prompt's own words are.
        prompt: what the generator was given; None: all facts are asked for. With both, the prompt says which factors
            are asked and the facts which value.

    Raises:
        ValueError: when neither is given.
    """
    if facts is None and prompt is None:
        raise ValueError("give a scene's facts, a prompt, or both")
    in_prompt = None if prompt is None else _stated_facts(prompt)
    if facts is None:
        return PromptFactors(**(in_prompt or {}))
    event = facts["events"][0] if facts["events"] else {}
    true = {"place": facts["shots"][0]["place"]}
    true |= {key: facts["actors"][0].get(key) for key in ("color", "kind", "size")}
    true |= {key: event.get(key) for key in ("action", "direction", "speed", "to_color")}
    return PromptFactors(
        **{key: value for key, value in true.items() if in_prompt is None or in_prompt[key] is not None}
    )


def _stated_facts(prompt: str) -> dict[str, str | None]:
    stated = parse(prompt)
    actor = stated.actors[0] if stated.actors else None
    event = stated.events[0] if stated.events else None
    factors = {"place": next((shot.place for shot in stated.shots if shot.place), None)}
    factors |= {key: getattr(actor, key, None) for key in ("color", "kind", "size")}
    return factors | {key: getattr(event, key, None) for key in ("action", "direction", "speed", "to_color")}


def judge(
    frames: np.ndarray, times_s: np.ndarray, facts: Mapping[str, Any] | None, prompt: str | None = None
) -> dict[str, bool]:
    """Read a clip and hold it to what was asked.

    Args:
        frames: uint8 (T, H, W, 3) RGB.
        times_s: seconds of the frames, (T,).
        facts, prompt: see `prompt_factors`.

    Returns:
        For each factor that was asked, and `joint`, whether the clip shows it; what cannot be read is not shown.

    Raises:
        ValueError: when there are no frames, or neither facts nor prompt is given.
    """
    verdict = compare(read_back(frames, times_s), prompt_factors(facts, prompt))
    return {factor: right for factor, right in verdict.factors.items() if right is not None}


def compare(read: ReadBack, want: PromptFactors) -> FactorVerdict:
    """Hold what was read to what was asked."""
    figure = read.figures[0] if read.figures else FigureRead()
    factors: dict[str, bool | None] = {}
    unread = []
    for factor in FACTORS:
        wanted = getattr(want, factor)
        if wanted is None:
            factors[factor] = None
            continue
        seen = read.place if factor == "place" else getattr(figure, factor)
        if factor == "action":
            seen, wanted = figure.motion, motion_of(wanted)
            if want.action in ("walk", "run") and seen == wanted:
                seen, wanted = figure.speed, "fast" if want.action == "run" else "slow"
        if seen is None:
            unread.append(factor)
        factors[factor] = seen == wanted
    decided = [right for right in factors.values() if right is not None]
    factors["joint"] = all(decided) if decided else None
    return FactorVerdict(factors=factors, unread=tuple(unread))


def motion_of(action: str) -> str:
    """The class of motion of an action, as `FigureRead.motion` names it; an action of two figures is its own class."""
    return next((motion for motion, actions in MOTIONS.items() if action in actions), action)


def chance(reads: Sequence[ReadBack], wants: Sequence[PromptFactors]) -> list[FactorVerdict]:
    """Verdicts of each clip against the prompts of the next few: the share that luck gets."""
    shifts = range(1, min(CHANCE_PROMPTS, len(wants) - 1) + 1)
    return [compare(read, wants[(i + shift) % len(wants)]) for shift in shifts for i, read in enumerate(reads)]


def table(verdicts: Sequence[FactorVerdict], by_luck: Sequence[FactorVerdict] = ()) -> list[FactorRow]:
    """One row per factor that was asked of any clip, `joint` last; chance from `by_luck` (see `chance`)."""
    rows = []
    for factor in (*FACTORS, "joint"):
        decided = [v for v in verdicts if v[factor] is not None]
        if not decided:
            continue
        right = sum(bool(v[factor]) for v in decided)
        luck = [bool(v[factor]) for v in by_luck if v[factor] is not None]
        low, high = wilson(right, len(decided))
        rows.append(
            FactorRow(
                factor=factor,
                num=len(decided),
                right=right,
                unread=sum(factor in v.unread or (factor == "joint" and bool(v.unread)) for v in decided),
                low=low,
                high=high,
                chance=sum(luck) / len(luck) if luck else None,
            )
        )
    return rows
