"""The set as a query: which clips keep the limits of a recipe, and what each limit takes away.

In: rows of clips with their columns, a `Plan`. Out: `Verdicts`. Nothing is read or decoded. Every limit is applied to
every clip, so that its verdict names all that speaks against it; the funnel counts a clip at the first of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain

import numpy as np

from cineloop.startup import collector_paused
from v2t_eval.curate.recipe import Plan
from v2t_eval.curate.step import BaseStep, Row

FAILED = "failed"  # rule of clips without columns


@dataclass(frozen=True, kw_only=True)
class Applied:
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
class Taken:
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
    """`drops` of each row: {step, rule, value, limit} of all rules against it; none keeps it. `values`: float64 (n,) of
    each column, NaN where a row has none."""

    drops: list[list[dict[str, object]]]
    limits: list[Applied]
    funnel: list[Taken]
    values: dict[str, np.ndarray]


@collector_paused()
def ask(plan: Plan, rows: Sequence[Row]) -> Verdicts:
    """Compare all rows with all limits. Columns that depend on other clips (`BaseStep.compare`) are set for the clips
    that keep the limits of the steps before, and null for the others."""
    sound = np.array([row["error"] is None for row in rows], dtype=bool)  # (n,)
    hours = np.array([row["end_s"] - row["start_s"] for row in rows]) / 3600  # (n,)
    drops: list[list[dict[str, object]]] = [[] for _ in rows]
    for n in np.flatnonzero(~sound).tolist():
        drops[n].append({"step": "probe", "rule": rows[n]["error"], "value": None, "limit": None})
    alive = sound.copy()
    limits, funnel = [], []
    values = _values(rows, list(plan.columns))
    if not sound.all():
        funnel.append(_taken("probe", FAILED, "", None, ~sound, np.ones_like(sound), hours))
    for step in plan.steps:
        before = alive.copy()  # quantiles are of what the earlier steps left, whatever the order of the limits
        compared = _compare(step, rows, np.flatnonzero(alive).tolist())
        values |= {column: compared[column] for column in values if column in compared}
        for column in step.columns:
            limit = plan.recipe.limits.get(column)
            if limit is None:
                continue
            own = values[column]
            known = ~np.isnan(own)
            for side, asked in limit.sides():
                value = _limit(asked, own[before & known])
                applied = Applied(step=step.name, column=column, side=side, asked=_text(asked), value=value)
                limits.append(applied)
                if value is None:
                    continue
                out = sound & known & ((own < value) if side == "least" else (own > value))
                _drop(drops, out, applied, own)
                funnel.append(_taken(step.name, applied.rule, applied.asked, value, out, alive, hours))
                alive &= ~out
            missing = (before if column in compared else sound) & ~known
            if missing.any():  # what cannot be measured keeps no limit
                rule = Applied(step=step.name, column=column, side="unmeasured", asked="", value=None)
                _drop(drops, missing, rule, own)
                funnel.append(_taken(step.name, rule.rule, "", None, missing, alive, hours))
                alive &= ~missing
    return Verdicts(drops=drops, limits=limits, funnel=funnel, values=values)


def as_tree(applied: Sequence[Applied | Taken]) -> list[dict[str, object]]:
    """As JSON values."""
    return [asdict(each) for each in applied]


def _compare(step: BaseStep, rows: Sequence[Row], alive: Sequence[int]) -> dict[str, np.ndarray]:
    """Set the columns of `BaseStep.compare`; returns their values float64 (n,)."""
    if type(step).compare is BaseStep.compare:
        return {}
    left = [rows[n] for n in alive]
    step.same = step.pairs(left)
    compared = {}
    for column, values in step.compare(left).items():
        for row in rows if len(left) < len(rows) else ():
            row["scores"][column] = None
        for row, value in zip(left, values, strict=True):
            row["scores"][column] = value
        compared[column] = np.full(len(rows), math.nan)
        compared[column][alive] = np.array(values, dtype=np.float64)  # None is NaN
    return compared


def _values(rows: Sequence[Row], columns: Sequence[str]) -> dict[str, np.ndarray]:
    every = chain.from_iterable(map(row["scores"].get, columns) for row in rows)
    table = np.array(list(every), dtype=np.float64).reshape(len(rows), len(columns))  # None is NaN
    return dict(zip(columns, np.ascontiguousarray(table.T), strict=True))


def _text(asked: float | str) -> str:
    return asked if isinstance(asked, str) else f"{asked:g}"


def _limit(asked: float | str, values: np.ndarray) -> float | None:
    if not isinstance(asked, str):
        return float(asked)
    return float(np.quantile(values, float(asked[1:]))) if len(values) else None


def _drop(drops: list[list[dict[str, object]]], out: np.ndarray, applied: Applied, values: np.ndarray) -> None:
    for n, own in zip(np.flatnonzero(out).tolist(), values[out].tolist(), strict=True):
        value = None if math.isnan(own) else own
        drops[n].append({"step": applied.step, "rule": applied.rule, "value": value, "limit": applied.value})


def _taken(
    step: str, rule: str, asked: str, limit: float | None, out: np.ndarray, alive: np.ndarray, hours: np.ndarray
) -> Taken:
    taken, left = alive & out, alive & ~out
    return Taken(
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
