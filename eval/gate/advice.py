"""Advice from a baseline before the first run of a gate: the margins that its prompts can hold.

In: the scores of a baseline and a policy. Out: one `Advice` for each primary metric with a margin. An unchanged
candidate is simulated, and asked by the gate's own bound: its clips are other seeds of the same prompts, which differ
as two clips of one prompt in the baseline do, in whole steps where the values have steps. With one clip a prompt that
is not known: two clips of one prompt are alike at best, and at worst differ as much as clips of two prompts.
Letters: R runs, G prompts, P pairs.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from v2t_eval.core.bounds import SEED, cluster_sums, lower_bounds
from v2t_eval.core.changes import ends, finite_values
from v2t_eval.core.metric import MetricResult
from v2t_eval.core.power import least_margin, prompts_for
from v2t_eval.core.scores import Scores
from v2t_eval.gate.policy import Policy, Rule

RUNS = 400  # of the unchanged candidate


@dataclass(frozen=True, kw_only=True)
class Advice:
    """One metric: whether an unchanged candidate can pass its margin, and a sentence about it.

    `least`: the least margin at which it passes with the policy's power, None of one prompt; of one clip a prompt,
    where seeds differ as much as prompts do.
    """

    metric: str
    is_enough: bool
    text: str
    least: float | None = None


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
    by_id = finite_values(result.items)
    values, own = list(by_id.values()), [clusters.get(id, id) for id in by_id]
    num, margin = len(set(own)), rule.margin or 0.0
    if num < 2:
        text = "one prompt can show nothing: use 20 and more"
        return Advice(metric=rule.metric, is_enough=False, text=text)
    worst, best = ends(result, (values,), own, rule)
    span = abs(best - worst)
    changes = null_changes(values, own)
    least = least_margin_of(changes, span, alpha=alpha, power=power)
    text = f"{num} prompts hold margins from {least:.2g} on"
    may = "is"
    if num == len(values):
        alike = least_margin(0.0, num, span, alpha=alpha, power=power)
        text += (
            f" if two clips of one prompt differ as much as clips of two prompts do, from {alike:.2g} on if they are "
            "alike (one clip a prompt cannot tell which: two can)"
        )
        may = "may be" if alike <= margin else may
    text += f", with clips from {worst:.3g} at worst to {best:.3g} at best"
    if least <= margin:
        return Advice(metric=rule.metric, is_enough=True, least=least, text=f"margin {margin:.3g}: {text}")
    needed = _prompts(margin, least, changes, span, alpha, power)
    text = (
        f"margin {margin:.3g} {may} too narrow for an unchanged candidate to pass: {text}. It takes {needed}, or "
        "`worst` and `best` nearer to each other, if no clip is ever beyond them"
    )
    return Advice(metric=rule.metric, is_enough=False, least=least, text=text)


def least_margin_of(changes: np.ndarray, span: float, *, alpha: float, power: float) -> float:
    """The least margin at which a share of `power` of these changes (R, G, 2) pass."""
    largest = float(np.abs(changes[..., 0] / changes[..., 1]).max())
    return float(np.quantile(-lower_bounds(changes, max(span, largest), alpha), power))


def null_changes(values: Sequence[float], clusters: Sequence[Hashable]) -> np.ndarray:
    """Changes of unchanged candidates, sums and numbers (R, G, 2) as `v2t_eval.core.bounds.lower_bounds` takes
    them: of each clip the difference of two clips of its prompt; of a prompt with one clip that of a prompt with more,
    and where there is none, the difference of clips of two prompts."""
    groups: dict[Hashable, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        groups.setdefault(cluster, []).append(value)
    rng = np.random.default_rng(SEED)
    several = [np.array(group) for group in groups.values() if len(group) > 1]
    pool = np.concatenate([_pairs(group) for group in several or [np.array(values)]])  # (P,)
    drawn = []
    for group in groups.values():
        pairs = _pairs(np.array(group)) if len(group) > 1 else pool
        drawn.append(rng.choice(pairs, (RUNS, len(group))).sum(1))
    sizes = cluster_sums(values, clusters)[:, 1]
    sums = np.stack(drawn, axis=1)  # (R, G)
    return np.stack([sums, np.broadcast_to(sizes, sums.shape)], axis=2)


def _pairs(values: np.ndarray) -> np.ndarray:
    """The difference of every two clips, both ways round, (S (S - 1),)."""
    pairs: np.ndarray = (values[:, None] - values)[~np.eye(len(values), dtype=bool)]
    return pairs


def _prompts(margin: float, least: float, changes: np.ndarray, span: float, alpha: float, power: float) -> str:
    """How many prompts the margin takes: where the formula for values near to normal, brought to `least` at the present
    number, reaches it."""
    num = changes.shape[1]
    means = changes[..., 0].sum(1) / changes[..., 1].sum(1)
    how = {"alpha": alpha, "power": power}
    se = float(means.std())
    more = prompts_for(margin * least_margin(se, num, span, **how) / least, se, num, span, **how)
    return f"about {more} prompts" if more else "far more prompts"
