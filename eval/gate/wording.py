"""A verdict's numbers and outcomes in words; every output of the gate says them alike.

In: parts of a `Verdict`. Out: short plain strings. Text of others (prompts, ids, reasons) is handed on as it is: each
output makes it inert in its own way.
"""

from __future__ import annotations

import shlex

from cineloop.log import plural
from v2t_eval.gate.verdict import ClipChange, MetricVerdict, Outcome, Verdict
from v2t_eval.metric import Figure
from v2t_eval.report.summary import DIRECTIONS, decimals, figure_texts, number

WORDS: dict[Outcome, str] = {
    "pass": "PASS",
    "fail": "FAIL",
    "inconclusive": "INCONCLUSIVE",
    "not_comparable": "NOT COMPARABLE",
}
NOTHING = "–"


def figure(found: Figure | None) -> str:
    """Value and interval: "0.812 [0.790, 0.835]"."""
    if found is None:
        return NOTHING
    value, low, high = figure_texts(found)
    return f"{value} [{low}, {high}]"


def change(metric: MetricVerdict) -> str:
    """Candidate minus baseline with its interval, signed: "-0.051 [-0.070, -0.031]"."""
    if metric.change is None:
        return NOTHING
    if metric.low is None or metric.high is None:
        return _signed(metric.change, decimals(abs(metric.change)))
    places = decimals(metric.high - metric.low or abs(metric.change))
    return " ".join(
        (
            _signed(metric.change, places),
            f"[{_signed(metric.low, places)}, {_signed(metric.high, places)}]",
        )
    )


def better(metric: MetricVerdict) -> str:
    """Which end is good: "higher is better"."""
    return DIRECTIONS[metric.higher_is_better]


def asked(metric: MetricVerdict) -> str:
    """What was asked for: "less than 0.05 worse, at least 0.6"."""
    parts = [
        (metric.margin, "less than {:g} worse"),
        (metric.at_least, "at least {:g}"),
        (metric.at_most, "at most {:g}"),
    ]
    return ", ".join(text.format(bound) for bound, text in parts if bound is not None) or NOTHING


def probability(p: float | None) -> str:
    """A p-value: three places, "< 0.001" below."""
    if p is None:
        return NOTHING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def probabilities(metric: MetricVerdict) -> str:
    """The p-value and, in brackets, the one adjusted for the number of metrics: "0.003 (0.006)"."""
    if metric.p is None:
        return NOTHING
    return f"{probability(metric.p)} ({probability(metric.p_adjusted)})"


def amount(value: float | None) -> str:
    """An effect or a value in a metric's units: two digits."""
    return NOTHING if value is None else number(value, decimals(abs(value)))


def behind(metric: MetricVerdict) -> str:
    """What the change rests on: "100 pairs in 20 clusters"."""
    if not metric.num_pairs:
        return NOTHING
    return f"{plural(metric.num_pairs, 'pair')} in {plural(metric.num_clusters, 'cluster')}"


def side(told: dict[str, str]) -> str:
    """One side of the comparison: its name, then what else is known of it."""
    rest = [f"{name} {value}" for name, value in told.items() if value and name != "name"]
    return ", ".join([*([told["name"]] if told.get("name") else []), *rest])


def clip(found: ClipChange) -> str:
    """One clip under one metric: "question_score: 0.92 to 0.41, 0.51 worse"."""
    if found.worse is None or found.baseline is None or found.candidate is None:
        both = [amount(value) for value in (found.baseline, found.candidate) if value is not None]
        return f"{found.metric}: {' to '.join(both) or NOTHING}"
    places = decimals(abs(found.worse))
    before, after, by = (number(value, places) for value in (found.baseline, found.candidate, abs(found.worse)))
    return f"{found.metric}: {before} to {after}, {by} {'worse' if found.worse >= 0 else 'better'}"


def by_clip(verdict: Verdict) -> list[tuple[ClipChange, list[ClipChange]]]:
    """The clips that got worse, worst first: each with all that the verdict says of it."""
    grouped: dict[str, list[ClipChange]] = {}
    for found in verdict.clips:
        grouped.setdefault(found.id, []).append(found)
    return [(changes[0], changes) for changes in grouped.values()]


def parted(verdict: Verdict) -> tuple[list[MetricVerdict], list[MetricVerdict]]:
    """Primary metrics and exploratory ones; among each first those that fail, then the undecided, in their order."""
    order = ("fail", "not_comparable", "inconclusive", "pass")
    ranked = sorted(verdict.metrics, key=lambda metric: order.index(metric.outcome))
    return [one for one in ranked if one.role == "primary"], [one for one in ranked if one.role != "primary"]


def command(verdict: Verdict) -> str:
    """The command that gives this verdict again, as far as the verdict knows it."""
    if "command" in verdict.environment:
        return verdict.environment["command"]
    clips = verdict.candidate.get("folder", "CLIPS")
    suite = str(verdict.policy.get("suite", "SUITE"))
    baseline = verdict.baseline.get("file", "BASELINE")
    return shlex.join(["v2t-eval", "gate", clips, "--suite", suite, "--baseline", baseline])


def _signed(value: float, places: int) -> str:
    text = number(value, places)
    return text if value < 0 or float(text) == 0 else f"+{text}"
