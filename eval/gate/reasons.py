"""Decision rule of each metric, with its reason in a sentence.

In: a `Change`, a margin or a bound, and what the policy says. Out: an outcome with one plain sentence. Numbers have
three significant digits; the rules are those of docs/gate-statistics.md.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from v2t_eval.core.metric import Figure, MetricResult
from v2t_eval.gate.policy import Policy, Rule
from v2t_eval.gate.statistics import Change, least_margin, parts_of_variance, prompts_for
from v2t_eval.gate.verdict import MetricVerdict, Outcome


def of_margin(
    change: Change,
    rule: Rule,
    p_adjusted: float | None,
    higher_is_better: bool | None,
    policy: Policy,
    unit: str,
) -> tuple[Outcome, str]:
    """Compared with the baseline under a margin."""
    if higher_is_better is None:
        return "inconclusive", "no preferred direction, so a margin says nothing: give at_least or at_most"
    margin, p = rule.margin or 0.0, 1.0 if p_adjusted is None else p_adjusted
    if change.value == 0 and change.se == 0 and change.low == change.high:
        return "pass", f"equal to the baseline for {change.num_pairs or 'all'} clips"
    sign = 1.0 if higher_is_better else -1.0
    estimate, bound = sign * change.value, sign * (change.low if higher_is_better else change.high)
    change_text, by = f"change {_interval(change)}", f"p = {p:.2g} after Holm"
    edge, side = f"{-sign * margin:+.3g}", "above" if higher_is_better else "below"
    if bound > -margin:
        return "pass", f"not worse than the margin allows: {change_text} stays {side} {edge}"
    if p < policy.alpha:
        return "fail", f"worse than the accepted {rule.accepts:.3g}: {change_text}, {by}"
    advice = _advice(change, margin, policy, unit)
    if estimate <= -margin:
        return "inconclusive", f"worse by the margin or more, but it may be chance: {change_text}, {by}{advice}"
    return "inconclusive", f"too early to say: {change_text} reaches {edge}, {by}{advice}"


def of_exploratory(
    change: Change, p_adjusted: float | None, higher_is_better: bool | None, policy: Policy
) -> tuple[Outcome, str]:
    """Compared with the baseline without a margin: only a proven change is named."""
    p = 1.0 if p_adjusted is None else p_adjusted
    text = f"change {_interval(change)}, p = {p:.2g} after Benjamini-Hochberg"
    if higher_is_better is None:
        return ("inconclusive" if p < policy.alpha else "pass"), f"no preferred direction; {text}"
    if p < policy.alpha:
        return "fail", f"worse than the baseline: {text}"
    return "pass", f"no loss is proven: {text}"


def below_minimum(*results: MetricResult) -> str:
    """Why a metric decides nothing where a side has fewer samples than the metric itself asks for; else ""."""
    for where, result in zip(("here", "in the baseline"), results, strict=False):
        if result.counts.get("below_minimum"):
            least, num = result.counts.get("minimum"), result.counts.get("vectors", result.n)
            wanted = f", of {least} it asks for" if least else ""
            return f"too few samples for any verdict: {num} {where}{wanted}"
    return ""


def invisible_prompts(num: int, share: float, best: float, worst: float, alpha: float) -> str:
    """What a sample of `num` prompts cannot show."""
    return (
        f"with {num} prompts a share of {100 * share:.2g} % broken ones is invisible with a chance of {alpha:g}; the "
        f"bound allows for them to fall from {best:.3g} to {worst:.3g}"
    )


def _advice(change: Change, margin: float, policy: Policy, unit: str) -> str:
    """How many prompts, or which margin, an unchanged candidate would pass with; a repeated test is a second chance."""
    if not change.num_pairs:
        return f"; more {unit} show more"
    if not change.se:
        needed = prompts_for(margin, 0.0, 2, change.span, alpha=policy.alpha, power=policy.power)
        return f"; {change.num_clusters} {unit} of at least {needed} that this margin takes"
    num, both = change.num_clusters, {"alpha": policy.alpha, "power": policy.power}
    least = least_margin(change.se, num, change.span, **both)
    more = prompts_for(margin, change.se, num, change.span, **both)
    if more is None or more <= num:
        return ""
    return (
        f"; {num} {unit} suffice for a margin of {least:.2g}, this one takes about {more} (a new set alone decides: "
        "the same candidate gated twice at this alpha passes in error more often)"
    )


def of_bound(figure: Figure, bound: float, sign: float) -> tuple[Outcome, str]:
    """Compared with an absolute bound; `sign` 1 for at least, -1 for at most."""
    asked = f"at {'least' if sign > 0 else 'most'} {bound:.3g}"
    near, far = (figure.low, figure.high) if sign > 0 else (figure.high, figure.low)
    text = f"{figure.value:.3g} [{figure.low:.3g}, {figure.high:.3g}]"
    if sign * (near - bound) >= 0:
        return "pass", f"{text} is {asked}"
    if sign * (far - bound) < 0:
        return "fail", f"{text} is not {asked}"
    return "inconclusive", f"{text} may or may not be {asked}"


def first_of(metrics: Sequence[MetricVerdict]) -> str:
    """The first metric with its reason, and the names of the others."""
    more = f"; likewise {', '.join(one.metric for one in metrics[1:])}" if len(metrics) > 1 else ""
    return f"{metrics[0].metric}: {metrics[0].reasons[0]}{more}"


def all_passed(metrics: Sequence[MetricVerdict]) -> str:
    """That all pass, and the one that came nearest to its margin."""
    held = [one for one in metrics if one.margin and one.low is not None and one.high is not None]
    if not held:
        return f"{_all(len(metrics))}; {metrics[0].metric}: {metrics[0].reasons[0]}"
    nearest = min(held, key=_distance)
    return f"{_all(len(metrics))}; nearest to its margin {nearest.metric}: {nearest.reasons[0]}"


def unpaired_clips(pairs: int, candidate: int, baseline: int) -> str:
    """How many clips have no partner."""
    return f"{pairs} pairs of {candidate} scored clips here and {baseline} in the baseline; the others have no partner"


def spread(differences: Sequence[float], values: Sequence[float], clusters: Sequence[Hashable]) -> str:
    """Components of variance when prompts have several seeds; "" when they have one."""
    own, of_change = parts_of_variance(values, clusters), parts_of_variance(differences, clusters)
    if own is None or of_change is None or sum(own) == 0 or sum(of_change) == 0:
        return ""
    lasting, moving = (f"{100 * parts[0] / sum(parts):.0f} %" for parts in (own, of_change))
    return (
        f"between prompts lie {lasting} of the baseline's variance, the rest between the seeds of one; {moving} of the "
        "change's, which more seeds of a prompt do not lessen"
    )


def _interval(change: Change) -> str:
    return f"{change.value:+.3g} [{change.low:+.3g}, {change.high:+.3g}]"


def _distance(one: MetricVerdict) -> float:
    """Between the bad end of the interval and the margin, in margins."""
    bad = one.low if one.higher_is_better else -(one.high or 0.0)
    return ((bad or 0.0) + (one.margin or 0.0)) / (one.margin or 1.0)


def _all(num: int) -> str:
    return "the primary metric passes" if num == 1 else f"all {num} primary metrics pass"
