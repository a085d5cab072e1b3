"""What decides a metric, and the sentence that says so.

In: a `Change`, a margin or a bound, and what the policy says. Out: an outcome with one plain sentence. Numbers have
three significant digits; the rules are those of docs/gate-statistics.md.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

from v2t_eval.gate.policy import Policy
from v2t_eval.gate.statistics import Change, least_clusters, parts_of_variance
from v2t_eval.gate.verdict import MetricVerdict, Outcome
from v2t_eval.metric import Figure


def of_margin(
    change: Change,
    margin: float | None,
    p_adjusted: float | None,
    mde: float | None,
    higher_is_better: bool | None,
    policy: Policy,
    num_tests: int,
    unit: str,
) -> tuple[Outcome, str]:
    """Held to the baseline.

    Args:
        margin: None for an exploratory metric, which is held to the least change that can be detected.
        unit: what a cluster is called, "prompts" or "clips".
    """
    told = f"change {_interval(change)}"
    p = 1.0 if p_adjusted is None else p_adjusted
    by = f"p = {p:.2g} after {'Benjamini-Hochberg' if margin is None else 'Holm'}"
    if higher_is_better is None:
        if margin is not None:
            return "inconclusive", "neither end of it is better, so a margin says nothing: give at_least or at_most"
        return ("inconclusive" if p < policy.alpha else "pass"), f"neither end is better; {told}, {by}"
    if change.se == 0:
        return "pass", f"equal to the baseline for {change.num_pairs or 'all'} clips"
    if change.low is None or change.high is None:
        return "inconclusive", f"one {unit[:-1]} tells nothing of the spread: change {change.value:+.3g}"
    sign = 1.0 if higher_is_better else -1.0
    estimate, worst = sign * change.value, sign * (change.low if higher_is_better else change.high)
    limit = margin if margin is not None else mde or 0.0
    edge = f"{-sign * limit:+.3g}"
    beyond = estimate < 0 if margin is None else estimate <= -margin
    if beyond and p < policy.alpha:
        past = "" if margin is None else f" is at or beyond {edge}"
        return "fail", f"worse than the baseline: {told}{past}, {by}"
    if mde is None:
        least = least_clusters(policy.alpha, num_tests)
        return "inconclusive", f"{change.num_clusters} {unit} can show no change at all: at least {least} are needed"
    if margin is not None and margin < mde:
        more = math.ceil(change.num_clusters * (mde / margin) ** 2)
        return "inconclusive", (
            f"margin {margin:.3g} is below the least change {change.num_clusters} {unit} can detect ({mde:.3g}): "
            f"more {unit} (about {more}) or a wider margin; {told}"
        )
    if worst > -limit:
        return "pass", f"not worse than the baseline: {told} stays {'above' if higher_is_better else 'below'} {edge}"
    if beyond:
        return "inconclusive", f"worse, but it may be chance: {told}, {by}"
    if p < policy.alpha:
        return "inconclusive", f"worse, and perhaps by more than the margin: {told} reaches {edge}, {by}"
    return "inconclusive", f"too early to say: {told} reaches {edge}, {by}"


def of_bound(figure: Figure, bound: float, sign: float) -> tuple[Outcome, str]:
    """Held to an absolute bound; `sign` 1 for at least, -1 for at most."""
    asked = f"at {'least' if sign > 0 else 'most'} {bound:.3g}"
    near, far = (figure.low, figure.high) if sign > 0 else (figure.high, figure.low)
    told = f"{figure.value:.3g} [{figure.low:.3g}, {figure.high:.3g}]"
    if sign * (near - bound) >= 0:
        return "pass", f"{told} is {asked}"
    if sign * (far - bound) < 0:
        return "fail", f"{told} is not {asked}"
    return "inconclusive", f"{told} may or may not be {asked}"


def first_of(metrics: Sequence[MetricVerdict]) -> str:
    """The first metric with its reason, and the names of the others."""
    more = f"; likewise {', '.join(one.metric for one in metrics[1:])}" if len(metrics) > 1 else ""
    return f"{metrics[0].metric}: {metrics[0].reasons[0]}{more}"


def all_passed(metrics: Sequence[MetricVerdict]) -> str:
    """That all pass, and the one that came nearest to its margin."""
    held = [one for one in metrics if one.margin and one.low is not None and one.high is not None]
    if not held:
        return f"{_all(len(metrics))}; {metrics[0].metric}: {metrics[0].reasons[0]}"
    nearest = min(held, key=_room)
    return f"{_all(len(metrics))}; nearest to its margin {nearest.metric}: {nearest.reasons[0]}"


def left_out(pairs: int, candidate: int, baseline: int) -> str:
    """How many clips have no partner."""
    return f"{pairs} pairs of {candidate} scored clips here and {baseline} in the baseline; the others have no partner"


def spread(differences: Sequence[float], values: Sequence[float], clusters: Sequence[Hashable]) -> str:
    """Where the spread comes from when prompts have several seeds; "" when they have one."""
    own, of_change = parts_of_variance(values, clusters), parts_of_variance(differences, clusters)
    if own is None or of_change is None or sum(own) == 0 or sum(of_change) == 0:
        return ""
    lasting, moving = (f"{100 * parts[0] / sum(parts):.0f} %" for parts in (own, of_change))
    return (
        f"between prompts lie {lasting} of the baseline's variance, the rest between the seeds of one; {moving} of the "
        "change's, which more seeds of a prompt do not lessen"
    )


def _interval(change: Change) -> str:
    if change.low is None or change.high is None:
        return f"{change.value:+.3g}"
    return f"{change.value:+.3g} [{change.low:+.3g}, {change.high:+.3g}]"


def _room(one: MetricVerdict) -> float:
    """Between the bad end of the interval and the margin, in margins."""
    bad = one.low if one.higher_is_better else -(one.high or 0.0)
    return ((bad or 0.0) + (one.margin or 0.0)) / (one.margin or 1.0)


def _all(num: int) -> str:
    return "the primary metric passes" if num == 1 else f"all {num} primary metrics pass"
