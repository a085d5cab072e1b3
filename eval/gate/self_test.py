"""A gate tried on a baseline alone: its prompts split in two, again and again, and one half gated against the other.

In: the scores of a baseline, a `Policy`. Out: a `SelfTest`: how often the gate fails and decides nothing where nothing
changed. Each split draws half of the prompts, whole, as the candidate; each takes the place of a prompt of the other
half, drawn at random, clip by clip. Changes, guards and decisions are those of every gate.

What it shows: false alarms of these rules on values of this shape. What it cannot: the two halves have other prompts,
so what makes prompts easy or hard does not cancel as it does between two clips of one prompt, and each half has half of
the prompts; so it is inconclusive more often than the gate is with the whole baseline. Splits share their clips: the
interval is of the rate over splits of this baseline, not over baselines. Figures of whole sets cannot be split from
scores, rules without a margin compare nothing, and lost clips and the judge's world are facts of a set: all left out.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from cineloop.errors import UsageError
from cineloop.intervals import Interval, wilson
from v2t_eval.core.bounds import SEED
from v2t_eval.core.changes import changes, finite_values
from v2t_eval.core.metric import MetricResult
from v2t_eval.core.scores import ItemScores, Scores
from v2t_eval.gate.decide import decide, overall
from v2t_eval.gate.guards import copies, frozen_clips, motion
from v2t_eval.gate.policy import Policy
from v2t_eval.gate.run import scale_errors

SPLITS = 200
LEAST_PROMPTS = 8


@dataclass(frozen=True, kw_only=True)
class SelfTest:
    """The outcomes of `splits` gates of one half of the prompts against the other.

    Attributes:
        prompts, half: of the baseline, and of each side.
        outcomes: how many splits ended in each.
        failed_by: of each metric and guard, in how many splits it failed.
        metrics, left_out: titles that were compared, and those that cannot be.
    """

    splits: int
    prompts: int
    half: int
    outcomes: dict[str, int]
    failed_by: dict[str, int] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def interval(self, outcome: str) -> Interval:
        """Wilson's interval of 95 % of the share of splits with this outcome."""
        return wilson(self.outcomes.get(outcome, 0), self.splits)

    def as_dict(self) -> dict[str, Any]:
        rates = {
            name: {"share": self.outcomes.get(name, 0) / self.splits, "low": low, "high": high}
            for name, (low, high) in ((each, self.interval(each)) for each in ("fail", "inconclusive", "pass"))
        }
        return {**asdict(self), "rates": rates}


def self_test(
    baseline: Scores, policy: Policy, *, splits: int = SPLITS, step: Callable[[], None] = lambda: None
) -> SelfTest:
    """The self-test of a baseline; the same each time. `step` is called after each split and may raise.

    Raises:
        UsageError: TOO_FEW_PROMPTS, fewer than eight; NO_MARGIN, no rule compares a mean over clips.
    """
    clusters: dict[str, list[ItemScores]] = {}
    for clip in sorted(baseline.clips, key=lambda clip: clip.id):
        clusters.setdefault(clip.cluster, []).append(clip)
    names = list(clusters)
    if len(names) < LEAST_PROMPTS:
        text = f"a self-test splits the prompts of the baseline; it has {len(names)}, and needs {LEAST_PROMPTS} or more"
        raise UsageError(text, code="TOO_FEW_PROMPTS")
    rules = tuple(
        rule for rule in policy.primary if rule.margin is not None and _is_mean(baseline.by_name.get(rule.metric))
    )
    left_out = tuple(rule.metric for rule in policy.primary if rule not in rules)
    if not rules:
        raise UsageError(
            "no rule of the suite has a margin on a mean over clips that the baseline holds", code="NO_MARGIN",
            hint="a self-test compares two halves of it by these",
        )  # fmt: skip
    held = replace(policy, primary=tuple(replace(rule, at_least=None, at_most=None) for rule in rules))
    held = held.allowing(scale_errors(baseline))
    rng, half = random.Random(SEED), len(names) // 2
    outcomes: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for _ in range(splits):
        drawn = rng.sample(names, 2 * half)
        pairs = [
            (ours, theirs)
            for one, other in zip(drawn[:half], drawn[half:], strict=True)
            for ours, theirs in zip(clusters[one], clusters[other], strict=False)
        ]
        sides = (
            _side(baseline, [(ours, theirs) for ours, theirs in pairs]),
            _side(baseline, [(t, t) for _, t in pairs]),
        )
        outcome, whose = _gate(*sides, held)
        outcomes[outcome] += 1
        failed.update(whose)
        step()
    return SelfTest(
        splits=splits, prompts=len(names), half=half, outcomes=dict(outcomes), failed_by=dict(failed),
        metrics=held.decides, left_out=left_out,
    )  # fmt: skip


def _is_mean(result: MetricResult | None) -> bool:
    return result is not None and result.reduction != "set" and len(finite_values(result.items)) > 1


def _side(scores: Scores, clips: Sequence[tuple[ItemScores, ItemScores]]) -> Scores:
    """The first clip of each pair in the place of the second."""
    places = {own.id: place for own, place in clips}
    moved = [replace(own, id=place.id, cluster=place.cluster, prompt=place.prompt) for own, place in clips]
    return replace(scores, clips=moved, results=[_moved_result(result, places) for result in scores.results])


def _moved_result(result: MetricResult, places: Mapping[str, ItemScores]) -> MetricResult:
    items = [{**item, "id": places[item["id"]].id} for item in result.items if item["id"] in places]
    return replace(result, items=items)


def _gate(candidate: Scores, baseline: Scores, policy: Policy) -> tuple[str, list[str]]:
    """The outcome, and what failed."""
    rules = {rule.metric: rule for rule in policy.primary}
    by_name = changes(baseline, candidate, list(rules), expected=rules, alpha=policy.alpha, max_lost=policy.max_lost)
    guards = (
        frozen_clips(candidate, baseline, policy.max_frozen), motion(candidate, baseline, policy.min_motion),
        copies(candidate, baseline),
    )  # fmt: skip
    checks = [check for check in guards if check is not None]
    decisions, outcomes = decide(by_name, checks, policy)
    failed = [one.change.name for one in decisions if one.outcome == "fail"]
    failed += [check.name for check, (each, _) in zip(checks, outcomes, strict=True) if each == "fail"]
    return overall([one.outcome for one in decisions], [each for each, _ in outcomes]), failed
