"""Figures of simulated rules, the gate's, learning's and of a pick, as tables and values of documents.

In: docs/figures/gate.json, stopping.json and pick.json. Out: Markdown behind the marks of
`results_tables.BLOCKS` and `VALUES`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from results_tables import BLOCKS, VALUES, load, source

from v2t_eval.core.bounds import paired_change
from v2t_eval.core.power import least_margin
from v2t_eval.gate.policy import Rule


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


def pick() -> str:
    """How often a pick drops the best checkpoint, decides, and what it draws."""
    from measure_pick import table

    stamp = load("pick")["measured"]
    return f"`{stamp['command']}`, {stamp['date']}; per cent of runs.\n\n{table(load('pick'))}"


def highest_of_pick(key: str) -> Callable[[], str]:
    """The highest share in percent over all simulated picks."""
    return lambda: f"{max(cell[key] for cell in load('pick').values() if key in cell):.1f}"


def cells_of_rules() -> dict[str, dict[str, float]]:
    """The cells of the gate's rules."""
    return {name: cell for name, cell in load("gate")["cells"].items() if name.startswith("gate, ")}


def worst(error: str) -> Callable[[], str]:
    """The highest share in percent over all shapes and sizes of simulated data, of a rule's error."""

    def highest() -> str:
        cells = cells_of_rules().values()
        return f"{max(share for cell in cells for key, share in cell.items() if key.startswith(error)):.1f}"

    return highest


def least(key: str, num: int = 0) -> Callable[[], str]:
    """The lowest share in percent of a column over all shapes of simulated data, of so many prompts or of all."""

    def lowest() -> str:
        sizes = {name: cell for name, cell in cells_of_rules().items() if not num or name.split(", ")[-2] == str(num)}
        return f"{min(cell[key] for cell in sizes.values() if cell.get(key) is not None):.{0 if num else 1}f}"

    return lowest


def stop_share(cell: str) -> Callable[[], str]:
    """The share in percent of simulated learnings that the rule stops, of one cell."""
    return lambda: f"{load('stopping')[cell]['new']:.1f}"


def false_stops() -> str:
    """The highest share in percent of simulated learnings without harm that the rule stops."""
    cells = {name: cell for name, cell in load("stopping").items() if "|0|" in name or name.startswith("guard|1|")}
    return f"{max(cell['new'] for cell in cells.values()):.1f}"


def gate_example() -> str:
    """What a margin, the accepted harm and `worst` make of three candidates: 60 prompts, changes of spread .08."""
    rule, lines = Rule(metric="score", margin=0.1), []
    for shift, worst_value in ((0.0, 0.0), (-0.04, 0.0), (-0.12, 0.0), (0.0, 0.5)):
        differences = np.random.default_rng(1).normal(shift, 0.08, 60).tolist()
        change = paired_change(differences, range(60), span=1 - worst_value, accepted=rule.accepts)
        verdict = "pass" if change.low > -0.1 else "fail" if change.p < 0.05 else "inconclusive"
        least = least_margin(change.se or 0.0, 60, change.span, alpha=0.05, power=0.8)
        lines.append(
            f"| {worst_value:g} | {change.value:+.3f} | {change.low:+.3f} | {change.p:.2g} | {verdict} | {least:.3f} |"
        )
    head = '| `worst` | mean change | its bound | p of "harm is at most `accepted`" | verdict | least margin |'
    return "\n".join([head, "|---|---|---|---|---|---|", *lines])


BLOCKS |= {"gate": gate_errors, "gate-example": gate_example, "stopping": stopping, "pick": pick}
VALUES |= {
    "gate.shapes": lambda: str(len({name.rsplit(", ", 2)[0] for name in cells_of_rules()})),
    "gate.false-fail": worst("new 0"),
    "gate.accepted-fail": worst("new half"),
    "gate.false-pass": worst("new margin"),
    "gate.old-false-pass": worst("old margin"),
    "gate.pass-60": least("new pass at 0.1", 60),
    "gate.pass-200": least("new pass at 0.1", 200),
    "gate.found": least("new two margins"),
    "pick.dropped": highest_of_pick("dropped"),
    "pick.wrong": highest_of_pick("wrong"),
    "stopping.false-stop": false_stops,
    "stopping.facts-64": stop_share("share of 8 facts|0.1|64"),
    "stopping.right-64": stop_share("right or wrong|0.2|64"),
    "stopping.guard-64": stop_share("guard|0.5|64"),
    "stopping.guard-128": stop_share("guard|0.5|128"),
}
