"""Advice from a baseline before the first run of a gate: the margins that its prompts can hold.

In: the scores of a baseline and a policy. Out: one `Advice` for each primary metric with a margin. Two seeds of one
prompt differ as much as an unchanged candidate will; with one clip a prompt only the part is
known that does not depend on the spread: what a sample of so many prompts may lack.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from v2t_eval.gate.compare import ends
from v2t_eval.gate.policy import Policy, Rule
from v2t_eval.gate.statistics import finite_values, least_margin, parts_of_variance, prompts_for
from v2t_eval.metric import MetricResult
from v2t_eval.scores import Scores


@dataclass(frozen=True, kw_only=True)
class Advice:
    """One metric: whether an unchanged candidate can pass its margin, and a sentence about it."""

    metric: str
    is_enough: bool
    text: str


def advise(scores: Scores, policy: Policy) -> list[Advice]:
    """Advice for each primary metric with a margin that is a mean over clips and has a preferred direction."""
    held = [rule for rule in policy.primary if rule.margin is not None]
    results = scores.by_name
    clusters = {clip.id: clip.cluster for clip in scores.clips}
    known = [(rule, results[rule.metric]) for rule in held if rule.metric in results]
    power = policy.power ** (1 / max(len(held), 1))  # all of them are to pass
    return [
        _advice(rule, result, clusters, policy.alpha, power)
        for rule, result in known
        if result.reduction != "set" and result.higher_is_better is not None and finite_values(result.items)
    ]


def _advice(rule: Rule, result: MetricResult, clusters: dict[str, str], alpha: float, power: float) -> Advice:
    found = finite_values(result.items)
    values, own = list(found.values()), [clusters.get(id, id) for id in found]
    num, margin = len(set(own)), rule.margin or 0.0
    worst, _ = ends(result, values, values, rule)
    fall = abs(math.fsum(values) / len(values) - worst)
    parts = parts_of_variance(values, own)
    se = math.sqrt(2 * parts[1] / len(values)) if parts else 0.0
    if num < 2:
        text = "one prompt can show nothing: use 20 and more"
        return Advice(metric=rule.metric, is_enough=False, text=text)
    least = least_margin(se, num, fall, alpha=alpha, power=power)
    known = "" if parts else "at best, since the spread of one clip a prompt is not known: "
    text = f"{known}{num} prompts hold margins from {least:.2g} on (worst value {worst:.3g})"
    if least <= margin:
        return Advice(metric=rule.metric, is_enough=True, text=f"margin {margin:.3g}: {text}")
    more = prompts_for(margin, se, num, fall, alpha=alpha, power=power)
    needed = f"about {more} prompts" if more else "far more prompts"
    text = (
        f"margin {margin:.3g} is too narrow for an unchanged candidate to pass: {text}. It takes {needed}, or "
        "a `worst` nearer to the scores, if no clip is ever worse than that"
    )
    return Advice(metric=rule.metric, is_enough=False, text=text)
