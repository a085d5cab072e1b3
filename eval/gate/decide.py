"""Verdicts from two scorings and a policy.

In: the candidate's `Scores`, the baseline's where there is one, a `Policy`. Out: a `MetricVerdict` for each metric, and
one outcome with its reason. The changes come from `v2t_eval.gate.compare`, the sentences from `v2t_eval.gate.reasons`;
the rules, their reasons and error rates are in docs/gate-statistics.md:

* with a margin m and an accepted harm a (half of m): pass when the bound that holds with 1 - alpha is on the good
  side of -m (non-inferiority); else fail when Holm's p of "the harm is not above a" is below alpha; else inconclusive;
* a metric below its own minimum number of samples decides nothing;
* an absolute bound: pass when the 95 % interval is on its good side, fail when it is on the bad one;
* exploratory metrics: Benjamini and Hochberg's p of "no harm"; they decide nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from v2t_eval.core.metric import Figure
from v2t_eval.core.scores import Scores
from v2t_eval.core.statistics import benjamini_hochberg, holm
from v2t_eval.gate import reasons
from v2t_eval.gate.compare import MetricComparison, compare
from v2t_eval.gate.policy import Policy, Rule
from v2t_eval.gate.statistics import least_margin
from v2t_eval.gate.verdict import OUTCOMES, Guard, MetricVerdict, Outcome


def decide_metrics(
    candidate: Scores, baseline: Scores | None, policy: Policy, guard_ps: Sequence[float] = ()
) -> list[MetricVerdict]:
    """Verdicts of the primary metrics in the policy's order, then of all others that both sides have, by name.

    `guard_ps`: p of the guards that are tests, which share alpha.
    """
    of_metric = partial(compare, candidate, baseline, alpha=policy.alpha, max_lost=policy.max_lost)
    primary = {one.metric: of_metric(one.metric, rule=one) for one in policy.primary}
    held = [rule.metric for rule in policy.primary if rule.margin is not None]
    adjusted = dict(zip(held, holm([*(_p(primary[name]) for name in held), *guard_ps]), strict=False))
    tests = len(held) + len(guard_ps)
    unit = "prompts" if any(clip.prompt for clip in candidate.clips) else "clips"
    verdicts = [
        _verdict(primary[rule.metric], rule, policy, adjusted.get(rule.metric), tests, unit) for rule in policy.primary
    ]
    if baseline is None:
        return verdicts
    others = sorted((set(candidate.by_name) & set(baseline.by_name)) - set(primary))
    explored = [of_metric(name) for name in others]
    seen = [one for one in explored if one.change]
    shared = dict(zip((one.name for one in seen), benjamini_hochberg([_p(one) for one in seen]), strict=True))
    return verdicts + [_verdict(one, None, policy, shared.get(one.name), 1, unit) for one in explored]


def overall(
    metrics: Sequence[MetricVerdict], guards: Iterable[Guard], differences: Sequence[str]
) -> tuple[Outcome, str]:
    """One outcome and the sentence that says why: fail if a primary metric or a guard fails; else not comparable,
    inconclusive, pass."""
    primary = [one for one in metrics if one.role == "primary"]
    failed = [one for one in primary if one.outcome == "fail"]
    checks = list(guards)
    broken = [guard for guard in checks if guard.outcome == "fail"]
    unsure = [guard for guard in checks if guard.outcome == "inconclusive"]
    if broken:
        more = f"; also failed: {', '.join(one.metric for one in failed)}" if failed else ""
        return "fail", f"{broken[0].name}: {broken[0].message}{more}"
    if failed:
        return "fail", reasons.first_of(failed)
    if differences:
        more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
        return "not_comparable", f"{differences[0]}{more}"
    for outcome in ("not_comparable", "inconclusive"):
        if some := [one for one in primary if one.outcome == outcome]:
            return outcome, reasons.first_of(some)
    if unsure:
        return "inconclusive", f"{unsure[0].name}: {unsure[0].message}"
    if not primary:
        return "inconclusive", "no primary metric was decided"
    return "pass", reasons.all_passed(primary)


def _verdict(
    compared: MetricComparison, rule: Rule | None, policy: Policy, p_adjusted: float | None, tests: int, unit: str
) -> MetricVerdict:
    change, better = compared.change, compared.higher_is_better
    candidate, baseline = compared.figures
    accepted, power = rule.accepts if rule else 0.0, {"alpha": policy.alpha, "power": policy.power}
    least = None
    if change is not None and change.se:
        least = least_margin(change.se, change.num_clusters, change.span, **power)
    worst, best = compared.ends or (None, None)
    found: list[tuple[Outcome, str]] = []
    if compared.blocked:
        found.append(("inconclusive", compared.blocked))
    elif change is None and (rule is None or rule.margin is not None):
        found.append((compared.outcome, compared.why))
    elif change is not None and rule is None:
        found.append(reasons.of_exploratory(change, p_adjusted, better, policy))
    elif change is not None and rule is not None and rule.margin is not None:
        found.append(reasons.of_margin(change, rule, p_adjusted, better, policy, unit))
    if rule is not None and not compared.blocked:
        found += _of_bounds(rule, candidate, compared.why)
    outcome = min((one for one, _ in found), key=list(OUTCOMES).index)
    why = [text for one, text in found if one == outcome] + [text for one, text in found if one != outcome]
    asked: dict[str, Any] = {}
    changed: dict[str, Any] = {}
    if rule is not None:
        asked = {"margin": rule.margin, "at_least": rule.at_least, "at_most": rule.at_most}
        asked["accepted"] = None if rule.margin is None else accepted
    if change is not None:
        changed = {"change": change.value, "p_adjusted": p_adjusted}
        changed |= {name: getattr(change, name) for name in ("low", "high", "p", "num_pairs", "num_clusters")}
    return MetricVerdict(
        metric=compared.name, role="primary" if rule else "exploratory", outcome=outcome, higher_is_better=better,
        candidate=candidate, baseline=baseline, least_margin=least, worst=worst, best=best,
        mde=compared.detectable(accepted=accepted, num_tests=tests, **power), reasons=(*why, *compared.notes),
        **asked, **changed,
    )  # fmt: skip


def _of_bounds(rule: Rule, figure: Figure | None, why: str) -> list[tuple[Outcome, str]]:
    found: list[tuple[Outcome, str]] = []
    for bound, sign in ((rule.at_least, 1.0), (rule.at_most, -1.0)):
        if bound is not None:
            found.append(("inconclusive", why) if figure is None else reasons.of_bound(figure, bound, sign))
    return found


def _p(compared: MetricComparison) -> float:
    """P of the change; 1 for what could not be tested, which counts as a test too."""
    return compared.change.p if compared.change else 1.0
