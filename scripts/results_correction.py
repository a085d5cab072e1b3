"""Figures of corrected scores, simulated and on the bundled generator's clips, as tables and values of the documents.

In: docs/figures/correction.json and judged.json. Out: Markdown behind the marks of `BLOCKS` and `VALUES` of
`results_tables`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from results_tables import BLOCKS, VALUES, load, rows, source

RUNS = 400
BROKEN = "broken"  # in the name of a cell that breaks what a correction assumes


def correction() -> str:
    """Bias and coverage of corrected figures, and errors of a gate by them."""
    from measure_correction import tables
    from measure_gate import Cells

    measured = source("correction").replace("; intervals of 95 %.", "; in per cent.")
    return measured + "\n\n" + "\n".join(tables(Cells(None, load("correction")["cells"]), RUNS))


def judged_table() -> str:
    """What the judge says of the generator's clips, corrected, by labels and by the referee; and a self-test."""
    figures = load("judged")
    head = ["share of right answers", "value [95 %]"]
    named = {
        "judged": "judged", "accuracy_corrected": "corrected by the shipped audit",
        "accuracy_by_labels": f"by labels of {figures['labelled']} clips (the referee's, 60 prompts at random)",
        "referee": "the referee, all of these clips",
    }  # fmt: skip
    body = [[words, f"{figures[name]:~.3f}"] for name, words in named.items() if name in figures]
    kinds = [
        [kind, *(f"{each[key] / each['claims']:.3f}" for key in ("judged", "true", "agree")), str(each["claims"])]
        for kind, each in figures["kinds"].items()
    ]
    rates, test = figures["self_test"]["rates"], figures["self_test"]
    stated = ", ".join(
        f"{words} {100 * rates[key]['share']:.1f} % [{100 * rates[key]['low']:.1f}, {100 * rates[key]['high']:.1f}]"
        for key, words in (("fail", "false fails"), ("inconclusive", "inconclusive"), ("pass", "passes"))
    )
    return "\n\n".join([
        source("judged"),
        f"{figures['read']} of {figures['clips']} clips ({figures['prompts']} prompts), of which the referee reads "
        f"every fact that the judge answered; of the others the judge says {figures['judged, not read']:.3f}. "
        f"{figures['outside']} clips are unlike its world.",
        rows(head, body),
        rows(["kind of fact", "judged right", "right by the referee", "both agree", "claims"], kinds),
        f"`v2t-eval gate --self-test` by the suite `gate` on these clips: {test['splits']} splits of {test['prompts']} "
        f"prompts, {test['half']} against {test['half']}: {stated}.",
    ])  # fmt: skip


def cells(start: str, key: str) -> dict[str, float]:
    """A column of the cells whose name begins so, those that are not broken by design."""
    own: dict[str, dict[str, Any]] = load("correction")["cells"]
    return {
        name: cell[key] for name, cell in own.items() if name.startswith(start) and BROKEN not in name and key in cell
    }


def worst_gate(start: str, key: str) -> Callable[[], str]:
    """The highest rate of an error in per cent of all runs; one whose audit is refused decides nothing."""

    def highest() -> str:
        refused = cells(start, "refused")
        return f"{max(rate * (1 - refused[name] / 100) for name, rate in cells(start, key).items()):.1f}"

    return highest


def cells_within(low: float, high: float) -> Callable[[], str]:
    """How many cells of corrected shares have a coverage from `low` to `high`, in per cent, rounded as in the table."""
    return lambda: str(sum(low <= round(each, 1) <= high for each in cells("share", "coverage").values()))


def extreme(start: str, key: str, pick: Callable[[Iterable[float]], float], form: str = ".1f") -> Callable[[], str]:
    """The lowest or the highest figure of a column."""
    return lambda: f"{pick(cells(start, key).values()):{form}}"


def coverage_by_labels(is_taken: Callable[[int], bool]) -> Callable[[], str]:
    """The lowest coverage by labels of so many prompts."""
    return lambda: (
        f"{min(v for name, v in cells('labels', 'coverage').items() if is_taken(int(name.split(', ')[-1]))):.1f}"
    )


def worst_bias() -> str:
    """The greatest bias of what the judge says."""
    return f"{max(map(abs, cells('share', 'judged bias').values())):.0f}"


BLOCKS |= {"correction": correction, "judged": judged_table}
VALUES |= {
    "correction.judged-bias": worst_bias,
    "correction.low": extreme("share", "coverage", min),
    "correction.cells": cells_within(0, 100),
    "correction.within": cells_within(93, 97),
    "correction.labels-20": coverage_by_labels(lambda num: num == 20),
    "correction.labels-40": coverage_by_labels(lambda num: num >= 40),
    "correction.gate-null": worst_gate("gate", "null fails"),
    "correction.gate-accepted": worst_gate("gate", "accepted fails"),
    "correction.gate-margin": worst_gate("gate", "margin passes"),
    "correction.gate-plain": worst_gate("as it stands", "margin passes"),
}
