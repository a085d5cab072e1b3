"""The set as a query: which clips keep the limits of a recipe, and what each limit takes away.

In: clips with their columns, a `Plan`. Out: `Verdicts`. Nothing is read or decoded. Every limit is applied to
every clip, so that its verdict names all that speaks against it; the funnel counts a clip at the first of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import chain

import numpy as np

from cineloop.errors import UsageError
from cineloop.startup import pause_collector
from v2t_eval.curate.clip import FilmClip, Links
from v2t_eval.curate.recipe import Plan
from v2t_eval.curate.step import BaseStep, CompareResult

FAILED = "failed"  # rule of clips without columns
LINKS = frozenset(each.name for each in fields(Links))


@dataclass(frozen=True, kw_only=True)
class AppliedLimit:
    """A limit as it was applied: `asked` as in the recipe, `value` the number it came to (None: no clip had one)."""

    step: str
    column: str
    side: str
    asked: str
    value: float | None

    @property
    def rule(self) -> str:
        """Its name: `sharpness.least`."""
        return f"{self.column}.{self.side}"


@dataclass(frozen=True, kw_only=True)
class FunnelStep:
    """What a rule takes away of what the rules before have left."""

    step: str
    rule: str
    asked: str
    limit: float | None
    clips: int
    hours: float
    clips_left: int
    hours_left: float
    alone: int  # clips that this rule would take away by itself


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """`drops` of each clip: {step, rule, value, limit} of all rules against it; none keeps it. `values`: float64 (n,)
    of each column, NaN where a clip has none."""

    drops: list[list[dict[str, object]]]
    limits: list[AppliedLimit]
    funnel: list[FunnelStep]
    values: dict[str, np.ndarray]


@pause_collector()
def apply_limits(plan: Plan, clips: Sequence[FilmClip]) -> Verdicts:
    """Compare all clips with all limits. What depends on other clips (`BaseStep.compare`) is known of the clips that
    keep the limits of the steps before: columns are null for the others. Links and those columns are set on the clips
    here and nowhere else, for the steps behind and the table."""
    for clip in clips:
        clip.links = Links()  # none of an earlier table
    sound = np.array([clip.error is None for clip in clips], dtype=bool)  # (n,)
    hours = np.array([clip.end_s - clip.start_s for clip in clips]) / 3600  # (n,)
    drops: list[list[dict[str, object]]] = [[] for _ in clips]
    for n in np.flatnonzero(~sound).tolist():
        drops[n].append({"step": "probe", "rule": clips[n].error, "value": None, "limit": None})
    alive = sound.copy()
    limits, funnel = [], []
    values = _values(clips, list(plan.columns))
    if not sound.all():
        funnel.append(_funnel_step("probe", FAILED, "", None, ~sound, np.ones_like(sound), hours))
    for step in plan.steps:
        before = alive.copy()  # quantiles are of what the earlier steps left, whatever the order of the limits
        compared = _compare(step, clips, np.flatnonzero(alive).tolist())
        values |= {column: compared[column] for column in values if column in compared}
        for column in step.columns:
            limit = plan.recipe.limits.get(column)
            if limit is None:
                continue
            own = values[column]
            known = ~np.isnan(own)
            for side, asked in limit.sides():
                value = _limit(asked, own[before & known])
                applied = AppliedLimit(step=step.name, column=column, side=side, asked=_text(asked), value=value)
                limits.append(applied)
                if value is None:
                    continue
                out = sound & known & ((own < value) if side == "least" else (own > value))
                _drop(drops, out, applied, own)
                funnel.append(_funnel_step(step.name, applied.rule, applied.asked, value, out, alive, hours))
                alive &= ~out
            missing = (before if column in compared else sound) & ~known
            if missing.any():  # what cannot be measured keeps no limit
                rule = AppliedLimit(step=step.name, column=column, side="unmeasured", asked="", value=None)
                _drop(drops, missing, rule, own)
                funnel.append(_funnel_step(step.name, rule.rule, "", None, missing, alive, hours))
                alive &= ~missing
    return Verdicts(drops=drops, limits=limits, funnel=funnel, values=values)


def as_tree(applied: Sequence[AppliedLimit | FunnelStep]) -> list[dict[str, object]]:
    """As JSON values."""
    return [asdict(each) for each in applied]


def _compare(step: BaseStep, clips: Sequence[FilmClip], alive: Sequence[int]) -> dict[str, np.ndarray]:
    """Set what a step says of clips among one another; returns the values of its columns, float64 (n,)."""
    if type(step).compare is BaseStep.compare:
        return {}
    left = [clips[n] for n in alive]
    step.same = step.pairs(left)
    compared = step.compare(left)
    if not isinstance(compared, CompareResult) or not set(compared.links) <= LINKS:
        raise UsageError(
            f"step {step.name}: compare must give a CompareResult, with links among {', '.join(sorted(LINKS))}; "
            f"got {compared!r:.200}"
        )
    for name, texts in compared.links.items():
        for clip, text in zip(left, texts, strict=True):
            if text is not None:
                setattr(clip.links, name, text)
    values = {}
    for column, numbers in compared.columns.items():
        for clip in clips if len(left) < len(clips) else ():
            clip.scores[column] = None
        for clip, number in zip(left, numbers, strict=True):
            clip.scores[column] = number
        values[column] = np.full(len(clips), math.nan)
        values[column][alive] = np.array(numbers, dtype=np.float64)  # None is NaN
    return values


def _values(clips: Sequence[FilmClip], columns: Sequence[str]) -> dict[str, np.ndarray]:
    every = chain.from_iterable(map(clip.scores.get, columns) for clip in clips)
    table = np.array(list(every), dtype=np.float64).reshape(len(clips), len(columns))  # None is NaN
    return dict(zip(columns, np.ascontiguousarray(table.T), strict=True))


def _text(asked: float | str) -> str:
    return asked if isinstance(asked, str) else f"{asked:g}"


def _limit(asked: float | str, values: np.ndarray) -> float | None:
    if not isinstance(asked, str):
        return float(asked)
    return float(np.quantile(values, float(asked[1:]))) if len(values) else None


def _drop(drops: list[list[dict[str, object]]], out: np.ndarray, applied: AppliedLimit, values: np.ndarray) -> None:
    for n, own in zip(np.flatnonzero(out).tolist(), values[out].tolist(), strict=True):
        value = None if math.isnan(own) else own
        drops[n].append({"step": applied.step, "rule": applied.rule, "value": value, "limit": applied.value})


def _funnel_step(
    step: str, rule: str, asked: str, limit: float | None, out: np.ndarray, alive: np.ndarray, hours: np.ndarray
) -> FunnelStep:
    taken, left = alive & out, alive & ~out
    return FunnelStep(
        step=step,
        rule=rule,
        asked=asked,
        limit=limit,
        clips=int(taken.sum()),
        hours=float(hours[taken].sum()),
        clips_left=int(left.sum()),
        hours_left=float(hours[left].sum()),
        alone=int(out.sum()),
    )
