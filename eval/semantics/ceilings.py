"""Ceilings of the semantic dimensions: their scores of exact clips with the cartoon world's referee.

In: the title of a dimension. Out: a `Figure`, or None. The file next to the detector is written by
`scripts/measure_ceilings.py`, which draws prompts, lets the world render each exactly, and scores the clips: what is
below 1 there is the referee's or the formula's doing (a figure that falls is not in the first frames), never the
clip's.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from v2t_eval.metric import Figure

FILE = Path(__file__).parent / "detectors" / "world_ceilings.json"


@cache
def ceilings() -> dict[str, Any]:
    """The file: `referee` (version of the detector it was measured with), `seed`, `prompts`, and by title `value`,
    `low`, `high`, `n` (clips scored), `unread` (clips the referee could not read)."""
    found: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return found


def ceiling(title: str, referee: int) -> Figure | None:
    """The ceiling of a dimension with its settings in brackets, None where none was measured with this referee."""
    measured = ceilings()
    row = measured["dimensions"].get(title) if measured["referee"] == referee else None
    if row is None:
        return None
    detail = {"unread": row["unread"]} if row["unread"] else {}
    return Figure(value=row["value"], low=row["low"], high=row["high"], n=row["n"], detail=detail)
