"""Ground truth of a clip by factor: from its facts, or from the cartoon world's referee.

In: facts of the world, or what the referee reads. Out: `Truth`: the values that are known (in the words of
`cineloop.world.language.plain_questions`), and the factors that could not be read. An abstention of the referee does
not count against the judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cineloop.world.language.plain_questions import MOTIONS, NONE, PLAIN
from cineloop.world.referee.read import ReadBack
from v2t_eval.judge.plain_wording import listed_values

_OF_FIGURE = ("kind", "color", "size", "motion")
_GOES = ("direction", "speed")


@dataclass(frozen=True, kw_only=True)
class Truth:
    """`values` by factor; `unread`: factors of which the truth is not known."""

    values: Mapping[str, str]
    unread: tuple[str, ...] = ()


def of_facts(facts: Mapping[str, Any]) -> Truth:
    """The values that the world's facts state; open ones are not asked about."""
    return Truth(values=listed_values(facts))


def of_reading(read: ReadBack) -> Truth:
    """The referee's reading in the words of plain questions."""
    found: dict[str, str | None] = {"place": read.place, "count": None}
    if read.num_figures:
        found["count"] = str(read.num_figures) if read.num_figures < 5 else "more"
    figures = read.figures
    if len(figures) == 1 and read.num_figures == 1:
        figure = figures[0]
        motion = figure.motion if figure.motion in MOTIONS else None
        found |= {"kind": figure.kind, "color": figure.color, "size": figure.size, "motion": motion}
        if motion == "travel":
            found |= {"direction": figure.direction, "speed": figure.speed}
        elif motion not in (None, "fall"):
            found |= {"direction": NONE, "speed": NONE}
        if motion == "recolor":
            found["to_color"] = figure.to_color
        elif motion not in (None, "vanish", "appear"):
            found["to_color"] = figure.color
    elif not read.num_figures:
        found |= dict.fromkeys((*_OF_FIGURE, *_GOES), None)  # of several figures no single one is asked about
    known = {factor: value for factor, value in found.items() if value is not None and value in PLAIN[factor].answers}
    return Truth(values=known, unread=tuple(factor for factor in found if factor not in known))
