"""Figures of rankings and of compositional questions as tables and values of the documents; see `results_tables`.

In: docs/figures/ranking.json and compositional.json. Out: Markdown behind the marks of `results_tables.BLOCKS` and
`VALUES`.
"""

from __future__ import annotations

from collections.abc import Callable

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


def extreme(key: str, pick: Callable[[list[float]], float], case: str = "", shape: str = "") -> Callable[[], str]:
    """The lowest or highest share in percent over the cells of a case, and of a shape where one is named."""

    def value() -> str:
        cells = {name: cell for name, cell in load("ranking").items() if "|" in name and key in cell}
        return f"{pick([c[key] for name, c in cells.items() if f'|{case}' in name and name.startswith(shape)]):.1f}"

    return value


BLOCKS |= {"ranking": ranking, "compositional": compositional}
VALUES |= {
    "ranking.shapes": lambda: str(len({name.split("|")[0] for name in load("ranking") if "|" in name})),
    "ranking.low": extreme("strength", min),
    "ranking.high": extreme("strength", max),
    "ranking.wrong-equal": extreme("wrong", max, "equal"),
    "ranking.wrong-two": extreme("wrong", max, "two best equal"),
    "ranking.wrong": extreme("wrong", max, "different"),
}
