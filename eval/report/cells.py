"""Numbers and cells of tables as text, for all renderers; and tables as the page's template shows them.

In: a `Cell`, a `Table`. Out: text on one line; plain values for `page.html`: inert text, sort keys, drawings.
"""

from __future__ import annotations

import math
import os
import re
from numbers import Integral
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cineloop.log import printable
from v2t_eval.report.document import Cell, Heat, Histogram, IntervalCell, Link, Table

SORTED_FROM, SEARCHED_FROM = 8, 30  # rows
_STACKED_TO = 9  # columns that become lines on a phone; a wider table is scrolled sideways
_PLACES = 3
_MAX_TEXT = 2_000
_LEADING = re.compile(r"\s*[<>≤≥≈]?\s*([-+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?)(?=$|[\s%[(±])(?!.*[a-z]{3})", re.IGNORECASE)
_AXIS_MARGIN = 0.12  # of what is drawn, left free at each end of an axis


def decimals(span: float) -> int:
    """Decimals that show two digits of `span`, 0 to 6."""
    return min(6, max(0, 1 - math.floor(math.log10(span)))) if span > 0 else 3


def number(value: float, places: int = 4) -> str:
    """A number for people: so many decimals, or an exponent where those would not show it; never "-0.0"."""
    return f"{value:.3g}" if 1e-12 < abs(value) < 10.0**-places else decimal_text(value, places)


def percent(share: float) -> str:
    """A share as text; 100 % only when nothing is missing, 0 % only when all is."""
    if share in (0.0, 1.0):
        return f"{100 * share:.0f} %"
    return f"{min(max(100 * share, 0.1), 99.9):.1f} %"


def decimal_text(value: float, places: int) -> str:
    """So many decimals; never "-0.0"."""
    return f"{round(value, places) + 0.0:.{places}f}" if abs(value) < 1e7 else f"{value:.4g}"


def part(num: int, whole: int) -> str:
    """A number and its share of the whole."""
    return f"{num} of {whole} ({num / whole:.0%})" if num else "0"


def inert(text: str, limit: int = _MAX_TEXT) -> str:
    """Untrusted text on one line: control and direction characters spelled out, cut to `limit` characters."""
    return printable(" ".join(str(text).split()), limit)


def cell_text(cell: Cell) -> str:
    """A cell on one line: a number to 3 places, an interval as "0.50 [0.41, 0.59]", a histogram as its ends, "–" for
    nothing."""
    if isinstance(cell, tuple):
        cell = cell[0]
    if isinstance(cell, Heat | Link):
        return inert(cell.text)
    if isinstance(cell, IntervalCell):
        return _interval_text(cell)
    if isinstance(cell, Histogram):
        places = decimals(cell.high - cell.low or abs(cell.high))
        return f"{number(cell.low, places)} to {number(cell.high, places)}"
    return _text(cell)


def table_context(table: Table, title: str, folder: Path) -> dict[str, Any]:
    """The template's values of a table; `title` names it where it has no caption.

    Raises:
        ValueError: a row is not as long as the columns, or the notes are not as many as the rows.
    """
    for row in table.rows:
        if len(row) != len(table.columns):
            raise ValueError(f"{title}: a row of {len(row)} cells in a table of {len(table.columns)} columns")
    if table.notes and len(table.notes) != len(table.rows):
        raise ValueError(f"{title}: {len(table.notes)} notes for {len(table.rows)} rows")
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.columns)
    numeric = [_is_numeric(column) for column in columns]
    notes = table.notes or ((),) * len(table.rows)
    return {
        "caption": inert(table.caption),
        "name": inert(table.caption or title),
        "columns": [
            {"name": inert(name), "numeric": is_one} for name, is_one in zip(table.columns, numeric, strict=True)
        ],
        "rows": [
            {
                "cells": [_cell(cell, is_one, folder) for cell, is_one in zip(row, numeric, strict=True)],
                "notes": [inert(line) for line in lines],
            }
            for row, lines in zip(table.rows, notes, strict=True)
        ],
        "sorts": len(table.rows) >= SORTED_FROM,
        "searched": len(table.rows) >= SEARCHED_FROM,
        "wide": len(table.columns) > _STACKED_TO,
    }


def _cell(cell: Cell, numeric: bool, folder: Path) -> dict[str, Any]:
    tone = cell[1] if isinstance(cell, tuple) else "plain"
    cell = cell[0] if isinstance(cell, tuple) else cell
    view = {"tone": tone, "text": "", "drawn": None, "bars": None, "numeric": numeric, "key": "", "hint": "",
             "level": None, "link": None}  # fmt: skip
    if isinstance(cell, Link):
        link = address(cell.path, folder) if cell.path is not None and cell.path.is_file() else None
        return {**view, "text": inert(cell.text), "link": link}
    if isinstance(cell, Heat):
        value = _value(cell.text)
        return {**view, "text": inert(cell.text), "level": cell.level, "hint": inert(cell.hint),
                "key": "" if value is None else _key(value)}  # fmt: skip
    if isinstance(cell, IntervalCell):
        return {**view, "drawn": _interval_drawing(cell), "text": _interval_text(cell), "key": _key(cell.value)}
    if isinstance(cell, Histogram):
        return {**view, "bars": _bars(cell.counts), "text": cell_text(cell)}
    value = _value(cell)
    return {**view, "text": _text(cell), "key": "" if value is None else _key(value)}


def _text(cell: str | float | int | None) -> str:
    if cell is None or isinstance(cell, str):
        return inert(cell or "") or "–"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, Integral):
        return f"{int(cell):,}"
    return number(float(cell), _PLACES) if math.isfinite(cell) else "–"


def _value(cell: Cell) -> float | None:
    """What a cell is sorted by as a number: itself, or the number it begins with; None: it has none."""
    if isinstance(cell, tuple):
        cell = cell[0]
    if isinstance(cell, IntervalCell):
        return cell.value
    if isinstance(cell, Heat | Link):
        cell = cell.text
    if isinstance(cell, Histogram):
        return None
    if cell is None or isinstance(cell, str):
        begun = _LEADING.match(cell or "")
        return float(begun.group(1).replace(",", "")) if begun else None
    return float(cell) if math.isfinite(cell) else None


def _is_numeric(column: tuple[Cell, ...]) -> bool:
    """Whether every non-empty cell is a number or begins with one, and there is at least one."""
    filled = [cell for cell in column if cell_text(cell) not in ("", "–")]
    return bool(filled) and all(_value(cell) is not None for cell in filled)


def _key(value: float) -> str:
    return f"{value:.9g}"


def _interval_text(cell: IntervalCell) -> str:
    if cell.text:
        return inert(cell.text)
    places = decimals(cell.high - cell.low or abs(cell.value))
    return f"{number(cell.value, places)} [{number(cell.low, places)}, {number(cell.high, places)}]"


def _bars(counts: tuple[int, ...]) -> list[tuple[float, float, float]]:
    """Left end, width and height of the bars that are not empty, in a box of 200 by 28; the least shows."""
    step, most = 200 / max(len(counts), 1), max(counts, default=1)
    return [
        (round(number * step + 0.5, 2), round(step - 1, 2), max(round(28 * count / most, 2), 1.5))
        for number, count in enumerate(counts)
        if count
    ]


def _interval_drawing(cell: IntervalCell) -> dict[str, Any] | None:
    """Places in percent of the axis; None where the numbers cannot be drawn."""
    numbers = [cell.value, cell.low, cell.high, cell.zero, cell.bad_below, cell.bad_above, cell.least, cell.most]
    known = [one for one in numbers if one is not None]
    if not all(math.isfinite(one) for one in known):
        return None
    margin = _AXIS_MARGIN * (max(known) - min(known)) or _AXIS_MARGIN * (abs(cell.value) or 1.0)
    start = cell.least if cell.least is not None else min(known) - margin
    end = cell.most if cell.most is not None else max(known) + margin
    if not end > start:
        return None

    def place(value: float) -> float:
        share = min(max((value - start) / (end - start), 0.0), 1.0)
        return round(200 * (1 - share if cell.mirrored else share), 2)

    def zone(one_end: float, other: float) -> tuple[float, float]:
        left, right = sorted((place(one_end), place(other)))
        return left, round(right - left, 2)

    left, width = zone(cell.low, cell.high)
    zones = [zone(start, cell.bad_below)] if cell.bad_below is not None else []
    zones += [zone(cell.bad_above, end)] if cell.bad_above is not None else []
    floor, ceiling = (end if end is not None else other for end, other in
                      ((cell.bad_below, -math.inf), (cell.bad_above, math.inf)))  # fmt: skip
    beyond = [end <= floor or end >= ceiling for end in (cell.low, cell.high)]
    tone = "bad" if all(beyond) else "unsure" if any(beyond) else "good"
    return {
        "zones": zones,
        "left": left,
        "width": max(width, 1.5),
        "point": place(cell.value),
        "zero": None if cell.zero is None else place(cell.zero),
        "tone": tone if zones else "plain",
    }


def address(path: Path, folder: Path) -> str:
    """The address of a file relative to a page in `folder`."""
    return quote(os.fsencode(os.path.relpath(path, folder)))
