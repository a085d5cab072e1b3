"""Figures of rankings and of compositional questions as tables and values of the documents; see `results_tables`.

In: docs/figures/ranking.json and compositional.json. Out: Markdown behind the marks of `results_tables.BLOCKS` and
`VALUES`.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

from results_tables import BLOCKS, VALUES, load


def ranking() -> str:
    """How often intervals hold, and a wrong best is named."""
    from measure_ranking import table

    stamp = load("ranking")["measured"]
    return f"`{stamp['command']}`, {stamp['date']}; per cent of runs.\n\n{table(load('ranking'))}"


def compositional() -> str:
    """The bundled judge on each kind of composition."""
    from measure_compositional import table

    stamp = load("compositional")["measured"]
    return f"`{stamp['command']}`, {stamp['device']}, {stamp['date']}; intervals of 95 % over scenes.\n\n" + table(
        load("compositional")
    )


def cells_of(key: str, case: str, sizes: tuple[int, ...] = (20, 60, 200)) -> list[float]:
    """A share in percent, of every shape and number of generators, of one case."""
    cells = {
        name: cell
        for name, cell in load("ranking").items()
        if f"|{case}|" in name and key in cell and not name.startswith("again")
    }
    return [cell[key] for name, cell in cells.items() if int(name.rpartition("|")[2]) in sizes]


def one_place(value: Callable[[], float]) -> Callable[[], str]:
    """A figure with one place."""
    return lambda: f"{value():.1f}"


BLOCKS |= {"ranking": ranking, "compositional": compositional}
VALUES |= {
    "ranking.shapes": lambda: str(
        len({name.split("|")[0] for name in load("ranking") if "|" in name and "again" not in name})
    ),
    "ranking.cells": lambda: str(len(cells_of("strength", "different"))),
    "ranking.within": lambda: str(sum(93 <= share <= 97 for share in cells_of("strength", "different"))),
    "ranking.low": one_place(lambda: min(cells_of("strength", "different", (60, 200)))),
    "ranking.high": one_place(lambda: max(cells_of("strength", "different", (60, 200)))),
    "ranking.high-20": one_place(lambda: max(cells_of("strength", "different", (20,)))),
    "ranking.far": one_place(lambda: min(cells_of("strength", "different"))),
    "ranking.wrong-equal": one_place(lambda: max(cells_of("wrong", "equal"))),
    "ranking.wrong-mean": one_place(lambda: fmean(cells_of("wrong", "equal|2"))),
    "ranking.wrong-again": one_place(
        lambda: max(cell["wrong"] for name, cell in load("ranking").items() if name.startswith("again"))
    ),
    "ranking.wrong-two": one_place(lambda: max(cells_of("wrong", "two best equal"))),
    "ranking.wrong": one_place(lambda: max(cells_of("wrong", "different"))),
}
