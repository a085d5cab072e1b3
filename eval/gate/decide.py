"""Decisions of a gate: outcomes and codes, from changes, guards and a policy; no sentence.

In: the `MetricChange` of each metric, the guards' checks, a `Policy`. Out: a `Decision` for each metric, the outcomes
of the guards, one outcome of all. `v2t_eval.gate.sentences` puts them in words; the rules, their reasons and error
rates are in docs/gate-statistics.md:

* with a margin m and an accepted harm a (half of m): pass when the bound that holds with 1 - alpha is on the good
  side of -m (non-inferiority); else fail when Holm's p of "the harm is not above a" is below alpha; else inconclusive;
* a metric below its own minimum number of samples decides nothing;
* an absolute bound: pass when the 95 % interval is on its good side, fail when it is on the bad one;
* a guard that is a test shares alpha with the metrics: beyond its limit it fails when Holm's p is below alpha, else it
  is inconclusive;
* exploratory metrics: Benjamini and Hochberg's p of "no harm"; they decide nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from v2t_eval.core.bounds import Change
from v2t_eval.core.changes import MetricChange, Obstacle
from v2t_eval.core.metric import Figure
from v2t_eval.core.power import least_change, least_margin, prompts_for
from v2t_eval.core.statistics import benjamini_hochberg, holm
from v2t_eval.gate.guards import GuardCheck
from v2t_eval.gate.policy import Policy, Rule
from v2t_eval.gate.verdict import OUTCOMES, Outcome

Code = (
    Obstacle
    | Literal[
        "BELOW_MINIMUM", "NO_DIRECTION", "EQUAL", "WITHIN_MARGIN", "ABOVE_ACCEPTED", "BEYOND_MARGIN", "TOO_EARLY",
        "NO_PREFERENCE", "WORSE", "NO_LOSS", "IN_BOUND", "OUT_OF_BOUND", "ACROSS_BOUND", "NO_FIGURE_FOR_BOUND",
    ]
)  # fmt: skip
_UNKNOWN: tuple[Obstacle, ...] = ("NO_FIGURE", "NO_BASELINE", "NO_INTERVAL")  # the sides may be comparable


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one rule makes of a metric; `bound` of an absolute one, with its `sign`: 1 for at least, -1 for at most."""

    outcome: Outcome
    kind: Code
    bound: float = 0.0
    sign: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One metric.

    Attributes:
        rule: what is asked of it; None of an exploratory metric.
        findings: of each rule, those that decide first.
        p_adjusted: of its change; None where it was not tested.
        mde, least_margin: see `v2t_eval.gate.verdict.MetricVerdict`.
        needed: the number of prompts that the margin takes; None where that is not asked or beyond all reason.
    """

    change: MetricChange
    rule: Rule | None
    findings: tuple[Finding, ...]
    p_adjusted: float | None = None
    mde: float | None = None
    least_margin: float | None = None
    needed: int | None = None

    @property
    def outcome(self) -> Outcome:
        return self.findings[0].outcome


def decide(
    by_name: Mapping[str, MetricChange], checks: Sequence[GuardCheck], policy: Policy
) -> tuple[list[Decision], list[tuple[Outcome, float | None]]]:
    """Decisions of the metrics in their order, those that the policy does not name being exploratory; and of each guard
    its outcome with its adjusted p."""
    rules = {rule.metric: rule for rule in policy.primary}
    held = [rule.metric for rule in policy.primary if rule.margin is not None]
    adjusted = dict(zip(held, holm([*(_p(by_name[name]) for name in held), *_ps(checks)]), strict=False))
    num_tests = len(held) + len(_ps(checks))
    tested = [one for name, one in by_name.items() if name not in rules and one.change]
    adjusted |= zip((one.name for one in tested), benjamini_hochberg([_p(one) for one in tested]), strict=True)
    decisions = [
        _decision(one, rules.get(name), policy, adjusted.get(name), num_tests if name in rules else 1)
        for name, one in by_name.items()
    ]
    return decisions, guard_outcomes(checks, [_p(by_name[name]) for name in held], policy.alpha)


def guard_outcomes(
    checks: Sequence[GuardCheck], ps: Sequence[float], alpha: float
) -> list[tuple[Outcome, float | None]]:
    """Outcome and adjusted p of each guard, by Holm's correction among each other and `ps` of the metrics: a share
    beyond its limit that may be chance is inconclusive."""
    adjusted, outcomes = iter(holm([*_ps(checks), *ps])), list[tuple[Outcome, float | None]]()
    for check in checks:
        p = None if check.p is None else next(adjusted)
        beyond: Outcome = "fail" if p is None or p < alpha else "inconclusive"
        outcomes.append(("pass" if check.is_within else beyond, p))
    return outcomes


def overall(primary: Sequence[Outcome], guards: Iterable[Outcome], *, is_comparable: bool = True) -> Outcome:
    """One outcome: fail if a primary metric or a guard fails; else not comparable, inconclusive, pass."""
    outcomes: list[Outcome] = [*primary, *guards]
    outcomes += [] if primary else ["inconclusive"]
    outcomes += [] if is_comparable else ["not_comparable"]
    return min(outcomes, key=list(OUTCOMES).index)


def _decision(one: MetricChange, rule: Rule | None, policy: Policy, p: float | None, num_tests: int) -> Decision:
    change, both = one.change, {"alpha": policy.alpha, "power": policy.power}
    findings, needed = [], None
    if _is_below_minimum(one):
        findings.append(Finding(outcome="inconclusive", kind="BELOW_MINIMUM"))
    elif one.obstacle is not None and (rule is None or rule.margin is not None):
        # a rule was refused before where only the baseline lacks its metric
        codes: list[Obstacle] = ["NO_BASELINE"] if one.theirs is None and one.obstacle == "NO_FIGURE" else []
        for code in (*codes, one.obstacle):
            findings.append(Finding(outcome="inconclusive" if code in _UNKNOWN else "not_comparable", kind=code))
    elif change is not None and rule is None:
        findings.append(_without_margin(change, p, one.higher_is_better, policy.alpha))
    elif change is not None and rule is not None and rule.margin is not None:
        findings.append(_with_margin(change, rule.margin, p, one.higher_is_better, policy.alpha))
        if findings[0].kind in ("BEYOND_MARGIN", "TOO_EARLY") and change.num_pairs:
            num = change.num_clusters if change.se else 2
            needed = prompts_for(rule.margin, change.se or 0.0, num, change.span, **both)
    if rule is not None and not _is_below_minimum(one):
        findings += _within_bounds(rule, one.figures[0], is_of_set=one.ours is not None and one.ours.reduction == "set")
    decisive = min((finding.outcome for finding in findings), key=list(OUTCOMES).index)
    least, mde = None, None
    if change is not None and change.se:
        least = least_margin(change.se, change.num_clusters, change.span, **both)
        mde = least_change(change, accepted=rule.accepts if rule else 0.0, num_tests=max(num_tests, 1), **both)
    return Decision(
        change=one, rule=rule, findings=tuple(sorted(findings, key=lambda finding: finding.outcome != decisive)),
        p_adjusted=None if change is None else p, mde=mde, least_margin=least, needed=needed,
    )  # fmt: skip


def _is_below_minimum(one: MetricChange) -> bool:
    """Whether a side has fewer samples than the metric itself asks for, of sides that may be compared."""
    sides = [side for side in (one.ours, one.theirs) if side is not None]
    may_be = one.obstacle in (None, "NO_PAIRS", "OTHER_NUMBER", "NO_INTERVAL")
    return may_be and any(side.counts.get("below_minimum") for side in sides)


def _with_margin(
    change: Change, margin: float, p: float | None, higher_is_better: bool | None, alpha: float
) -> Finding:
    """CompareResult with the baseline under a margin."""
    if higher_is_better is None:
        return Finding(outcome="inconclusive", kind="NO_DIRECTION")
    if change.value == 0 and change.se == 0 and change.low == change.high:
        return Finding(outcome="pass", kind="EQUAL")
    sign = 1.0 if higher_is_better else -1.0
    if sign * (change.low if higher_is_better else change.high) > -margin:
        return Finding(outcome="pass", kind="WITHIN_MARGIN")
    if p is not None and p < alpha:
        return Finding(outcome="fail", kind="ABOVE_ACCEPTED")
    return Finding(outcome="inconclusive", kind="BEYOND_MARGIN" if sign * change.value <= -margin else "TOO_EARLY")


def _without_margin(change: Change, p: float | None, higher_is_better: bool | None, alpha: float) -> Finding:
    """CompareResult with the baseline without a margin: only a proven change is named."""
    is_proven = p is not None and p < alpha
    if higher_is_better is None:
        return Finding(outcome="inconclusive" if is_proven else "pass", kind="NO_PREFERENCE")
    return Finding(outcome="fail", kind="WORSE") if is_proven else Finding(outcome="pass", kind="NO_LOSS")


def _within_bounds(rule: Rule, figure: Figure | None, *, is_of_set: bool) -> list[Finding]:
    """CompareResult with absolute bounds. A figure of a set without a width is one of unknown spread: being beyond a
    bound proves nothing."""
    findings = []
    for bound, sign in ((rule.at_least, 1.0), (rule.at_most, -1.0)):
        if bound is None:
            continue
        outcome: Outcome = "inconclusive"
        code: Code = "ACROSS_BOUND"
        if figure is None:
            code = "NO_FIGURE_FOR_BOUND"
        elif is_of_set and figure.low == figure.high:
            code = "NO_INTERVAL"
        elif sign * ((figure.low if sign > 0 else figure.high) - bound) >= 0:
            outcome, code = "pass", "IN_BOUND"
        elif sign * ((figure.high if sign > 0 else figure.low) - bound) < 0:
            outcome, code = "fail", "OUT_OF_BOUND"
        findings.append(Finding(outcome=outcome, kind=code, bound=bound, sign=sign))
    return findings


def _ps(checks: Sequence[GuardCheck]) -> list[float]:
    return [check.p for check in checks if check.p is not None]


def _p(one: MetricChange) -> float:
    """P of the change; 1 for what could not be tested, which counts as a test too."""
    return one.change.p if one.change else 1.0
