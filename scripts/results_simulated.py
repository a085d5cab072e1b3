"""Figures of simulated rules, the gate's and learning's, as tables and values of the documents; see `results_tables`.

In: docs/figures/gate.json and stopping.json. Out: Markdown behind the marks of `results_tables.BLOCKS` and `VALUES`.
"""

from __future__ import annotations

from collections.abc import Callable

from results_tables import BLOCKS, VALUES, load, source


def gate_errors() -> str:
    """Error rates of the gate, of its advice and of its guard of motion."""
    from measure_gate import Cells, all_tables

    measured = source("gate").replace("; intervals of 95 %.", ".")
    return measured + "\n\n" + "\n".join(all_tables(Cells(None, load("gate")["cells"]), 1000))


def stopping() -> str:
    """How often learning is stopped, by chance and by harm."""
    from measure_stopping import table

    stamp = load("stopping")["measured"]
    return f"`{stamp['command']}`, {stamp['date']}; per cent of runs.\n\n{table(load('stopping'))}"


def cells_of_rules() -> dict[str, dict[str, float]]:
    """The cells of the gate's rules."""
    return {name: cell for name, cell in load("gate")["cells"].items() if name.startswith("gate, ")}


def worst(error: str) -> Callable[[], str]:
    """The highest share in percent over all shapes and sizes of simulated data, of a rule's error."""

    def highest() -> str:
        cells = cells_of_rules().values()
        return f"{max(share for cell in cells for key, share in cell.items() if key.startswith(error)):.1f}"

    return highest


BLOCKS |= {"gate": gate_errors, "stopping": stopping}
VALUES |= {
    "gate.shapes": lambda: str(len({name.rsplit(", ", 2)[0] for name in cells_of_rules()})),
    "gate.false-fail": worst("new 0"),
    "gate.accepted-fail": worst("new half"),
    "gate.false-pass": worst("new margin"),
    "gate.old-accepted-fail": worst("old half"),
    "gate.old-false-pass": worst("old margin"),
}
