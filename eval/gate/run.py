"""Run one gate: numbers, then outcomes, then sentences.

In: the candidate's `Scores`, a `Policy`, the baseline's `Scores` and an `Audit` where there are such. Out: a `Verdict`.
The changes are those of `v2t_eval.core.changes`, the outcomes of `v2t_eval.gate.decide`, the words of
`v2t_eval.gate.sentences`. Without a baseline the absolute rules decide alone. No file is read or written here, and
nothing depends on the clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cineloop.config import to_dict
from cineloop.errors import NothingMatchedError, UsageError
from v2t_eval.audit.record import Audit
from v2t_eval.core.changes import MetricChange, changes, worst_clips
from v2t_eval.core.scores import Scores, require_ready
from v2t_eval.gate import sentences
from v2t_eval.gate.comparable import Compatibility, comparison
from v2t_eval.gate.decide import decide, overall
from v2t_eval.gate.guards import guard_checks
from v2t_eval.gate.policy import Policy
from v2t_eval.gate.verdict import MetricVerdict, Verdict


def gate(
    scores: Scores,
    policy: Policy,
    *,
    baseline: Scores | None = None,
    audit: Audit | None = None,
    about_candidate: Mapping[str, str] | None = None,
    about_baseline: Mapping[str, str] | None = None,
    suite: str = "",
) -> Verdict:
    """The verdict.

    Args:
        scores: of the candidate, by the suite of the policy.
        baseline: what it is compared with; None: only absolute rules decide.
        audit: whose blind spots are shown.
        about_candidate, about_baseline: what is known of the sides in addition to their scores (folder, file).
        suite: name of the suite's file.

    Raises:
        MissingDependencyError: a primary metric could not run here. NothingMatchedError: it found nothing to measure.
        UsageError: the scores do not have it.
    """
    require(scores, policy)
    scores, baseline = _in_one_range(scores, baseline)
    scales = scale_errors(scores, baseline)
    plain = plain_policy(policy) | ({"suite": suite} if suite else {})
    match = Compatibility()
    if baseline is not None:
        match = comparison(scores, baseline, [rule.metric for rule in policy.primary if rule.margin is not None])
    notes = [
        *match.notes,
        *sentences.notes_before(scores, baseline, plain_policy(policy)),
        *sentences.of_correction(scores, scales),
    ]
    policy = policy.allowing(scales)
    common: dict[str, Any] = {
        "candidate": _about(scores) | dict(about_candidate or {}),
        "baseline": {} if baseline is None else _about(baseline) | dict(about_baseline or {}),
        "policy": plain, "environment": scores.environment, "differences": match.differences,
    }  # fmt: skip
    if match.differences:
        metrics = _side_by_side(scores, baseline, policy)
        reason = sentences.because("not_comparable", metrics, (), match.differences)
        return Verdict(outcome="not_comparable", reason=reason, metrics=metrics, notes=tuple(notes), **common)
    by_name = _changes(scores, baseline, policy, match)
    checks = guard_checks(scores, baseline, policy)
    decisions, outcomes = decide(by_name, checks, policy)

    unit = "prompts" if any(clip.prompt for clip in scores.clips) else "clips"
    metrics = tuple(
        sentences.metric_verdict(
            one, policy, unit, () if audit is None else sentences.blind_spots(one.change.name, audit, scores)
        )
        for one in decisions
    )
    guards = tuple(sentences.guard(check, *each) for check, each in zip(checks, outcomes, strict=True))
    primary = [one for one in metrics if one.role == "primary"]
    outcome = overall([one.outcome for one in primary], [one.outcome for one in guards])
    return Verdict(
        outcome=outcome, reason=sentences.because(outcome, primary, guards, ()), metrics=metrics, guards=guards,
        notes=(*notes, *sentences.notes_after(scores, audit, decisions, checks, policy)),
        clips=tuple(worst_clips({name: by_name[name] for name in policy.decides})), **common,
    )  # fmt: skip


def scale_errors(*sides: Scores | None) -> dict[str, float]:
    """By metric the larger `scale_error` of the sides, of those above 1."""
    scales: dict[str, float] = {}
    for result in (result for side in sides if side is not None for result in side.results):
        if result.scale_error > 1:
            scales[result.name] = max(result.scale_error, scales.get(result.name, 1.0))
    return scales


def _in_one_range(scores: Scores, baseline: Scores | None) -> tuple[Scores, Scores | None]:
    """The sides with the range of each corrected metric wide enough for both: it depends on which answers are asked."""
    if baseline is None:
        return scores, None
    ours, theirs = scores.by_name, baseline.by_name
    shared = [
        name for name, one in ours.items() if name in theirs and min(one.scale_error, theirs[name].scale_error) > 1
    ]
    ranges = {
        name: (min(one.value_range[0] for one in both), max(one.value_range[1] for one in both))
        for name, both in ((name, (ours[name], theirs[name])) for name in shared)
    }

    def with_ranges(side: Scores) -> Scores:
        results = [replace(one, value_range=ranges.get(one.name, one.value_range)) for one in side.results]
        return replace(side, results=results)

    return with_ranges(scores), with_ranges(baseline)


def _changes(scores: Scores, baseline: Scores | None, policy: Policy, match: Compatibility) -> dict[str, MetricChange]:
    """Of the policy's metrics, then of all others that both sides define alike, by name."""
    rules = {rule.metric: rule for rule in policy.primary}
    if baseline is not None:
        baseline = replace(baseline, results=[one for one in baseline.results if one.name not in match.incompatible])
    shared = set() if baseline is None else set(scores.by_name) & set(baseline.by_name)
    names = [*rules, *sorted(shared - set(rules))]
    return changes(baseline, scores, names, expected=rules, alpha=policy.alpha, max_lost=policy.max_lost)


def require(scores: Scores, policy: Policy) -> None:
    """Refuse scores without a primary metric: what could not run must never be a pass.

    Raises:
        MissingDependencyError: a primary metric could not run here. NothingMatchedError: no clip has what it needs.
        UsageError: it was not asked for.
    """
    there, skipped = scores.by_name, {one.metric: one for one in scores.skipped}
    unreadable = bool(scores.clips) and all(clip.status != "ok" for clip in scores.clips)
    for name in policy.decides:
        if name in there or (unreadable and name in skipped and skipped[name].found_nothing):
            continue  # the guard reports clips that cannot be read
        if name not in skipped:
            known = ", ".join(sorted(there)) or "none"
            raise UsageError(f"the scores have no {name}, which decides; they have {known}",
                             hint="score the clips by the gate's suite")  # fmt: skip
        one = skipped[name]
        if one.found_nothing:
            raise NothingMatchedError(f"{name} decides and found nothing to measure: {one.reason}", hint=one.hint)
        require_ready([one], [name])


def plain_policy(policy: Policy) -> dict[str, Any]:
    """The policy as JSON values; of the audit its name."""
    plain: dict[str, Any] = to_dict(policy)
    return plain | {"audit": None if policy.audit is None else policy.audit.name}


def _about(scores: Scores) -> dict[str, str]:
    """What the scores themselves state about a side."""
    facts = {"name": scores.sources.get("clips", ""), "revision": scores.environment.get("generator", ""),
             "date": scores.environment.get("date", ""), "clips": str(len(scores.clips))}  # fmt: skip
    return {key: text for key, text in facts.items() if text}


def _side_by_side(scores: Scores, baseline: Scores | None, policy: Policy) -> tuple[MetricVerdict, ...]:
    """The primary metrics' figures side by side, without a decision, of sides that are not comparable."""
    by_name = changes(baseline, scores, policy.decides)
    return tuple(
        MetricVerdict(
            metric=rule.metric, role="primary", outcome="not_comparable", candidate=by_name[rule.metric].figures[0],
            baseline=by_name[rule.metric].figures[1], higher_is_better=by_name[rule.metric].higher_is_better,
            margin=rule.margin, at_least=rule.at_least, at_most=rule.at_most,
        )
        for rule in policy.primary
    )  # fmt: skip
