"""Recipes: which steps run with which settings, and the limits a clip must keep to be in the set.

In: a YAML file `{steps: [NAME or path/to/file.py], settings: {STEP: {...}}, limits: {COLUMN: {least, most}}}`, or the
name of a shipped one (`configs/curate`). Out: a `Plan`. A limit is a value, or a quantile (`q0.1`: the tenth part with
the least values) of the clips that the steps before have left. Without a recipe everything is measured and kept.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import cineloop
from cineloop import config, shipped
from cineloop.errors import UsageError, did_you_mean
from v2t_eval.curate.step import BaseStep, Column, load_step
from v2t_eval.frames.survey import VERSION

STEPS = ("probe", "copies", "split", "shape", "black", "frozen", "letterbox", "sharpness", "motion")
_QUANTILE = re.compile(r"q(0(\.\d+)?|1(\.0+)?|\.\d+)")


@dataclass(frozen=True, kw_only=True)
class Limit:
    """The least and the most a column may be: a number, or a quantile as `q0.1`; None sets no limit."""

    least: float | str | None = None
    most: float | str | None = None

    def __post_init__(self) -> None:
        for side, given in self.sides():
            if isinstance(given, str) and not _QUANTILE.fullmatch(given):
                raise ValueError(f"{side} must be a number or a quantile from q0 to q1 such as q0.1, got {given!r}")
        if isinstance(self.least, float) and isinstance(self.most, float) and self.least > self.most:
            raise ValueError(f"least {self.least:g} is above most {self.most:g}: no clip could be in the set")

    def sides(self) -> list[tuple[str, float | str]]:
        """("least" or "most", what was given), of those given."""
        return [(side, given) for side in ("least", "most") if (given := getattr(self, side)) is not None]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """See the module's head."""

    steps: tuple[str, ...] = STEPS
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    limits: dict[str, Limit] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A recipe with its steps loaded."""

    recipe: Recipe
    steps: list[BaseStep]

    @property
    def columns(self) -> dict[str, Column]:
        """All columns, in the order of steps."""
        return {name: column for step in self.steps for name, column in step.columns.items()}

    @cached_property
    def print(self) -> str:
        """Hash of all that determines the clips and columns of a film; limits and what compares clips do not."""
        films = [
            step for step in self.steps if (type(step).cut, type(step).measure) != (BaseStep.cut, BaseStep.measure)
        ]
        parts = [VERSION, *(step.fingerprint() for step in films)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def recipes() -> dict[str, Path]:
    """The shipped recipes by name."""
    folder = Path(cineloop.__file__).resolve().parent / "recipes" / "curate"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def read_plan(path: Path | None, sets: Iterable[str] = (), *, is_against: bool = False) -> Plan:
    """The plan of a recipe's file or name; None: all cheap steps without limits. `sets` are settings over it, as
    `a.b=c`. `is_against`: copies of a held-out set are looked for, and are to be in the set where the recipe says so.

    Raises:
        UsageError: the file cannot be read; an unknown key, step, setting or column, the nearest being named; a value
            that a column cannot have; steps without any column; a file of the user's own that is not there.
    """
    file = None if path is None else shipped.find(path, recipes(), "recipe for a curation")
    recipe = config.load(Recipe, file=file, sets=sets)
    if is_against:
        steps = recipe.steps if "near_copies" in recipe.steps else (*recipe.steps, "near_copies")
        recipe = replace(recipe, steps=steps, limits={"leak": Limit(most=0.0), **recipe.limits})
    loaded: list[BaseStep] = []
    kinds = [load_step(name) for name in recipe.steps]
    names = [kind.name for kind in kinds]
    for name in recipe.settings:
        if name not in names:
            raise UsageError(
                f"settings.{name}: no step of the recipe is called {name!r}",
                hint=did_you_mean(name, names) or f"steps: {', '.join(names)}",
            )
    for kind in kinds:
        if names.count(kind.name) > 1:
            raise UsageError(f"two steps of the recipe are called {kind.name!r}")
        loaded.append(kind(**recipe.settings.get(kind.name, {})))
    plan = Plan(recipe=recipe, steps=loaded)
    if not plan.columns:
        raise UsageError(
            f"the steps {', '.join(names) or 'of the recipe'} give no column to measure clips by", hint="add probe"
        )
    for name, limit in recipe.limits.items():
        _check(name, limit, plan.columns)
    return plan


def _check(name: str, limit: Limit, columns: dict[str, Column]) -> None:
    """Raise UsageError for a limit that no step's column can have."""
    if name not in columns:
        raise UsageError(
            f"limits.{name}: no step of the recipe gives a column {name!r}",
            hint=did_you_mean(name, columns) or f"columns: {', '.join(columns)}",
        )
    column = columns[name]
    for side, given in limit.sides():
        if isinstance(given, str):
            continue
        if not column.low <= given <= column.high:
            high = "" if math.isinf(column.high) else f" and at most {column.high:g}"
            raise UsageError(
                f"limits.{name}.{side} must be at least {column.low:g}{high}, got {given:g}", hint=column.says
            )
