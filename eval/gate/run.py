"""Run one gate: check compatibility, compare metrics, apply guards, and give the verdict.

In: the candidate's `Scores`, a `Policy`, the baseline's `Scores` and an `Audit` where there are such. Out: a `Verdict`.
Without a baseline the absolute rules decide alone. No file is read or written here, and nothing depends on the clock.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cineloop.config import changes, to_dict
from cineloop.errors import NothingMatchedError, UsageError
from v2t_eval.audit.record import Audit
from v2t_eval.core.scores import Scores, require_ready
from v2t_eval.gate.comparable import Comparison, comparison, fingerprint_changes
from v2t_eval.gate.compare import worst_clips
from v2t_eval.gate.decide import decide_metrics, overall
from v2t_eval.gate.guards import MOTION, guards, with_outcomes
from v2t_eval.gate.policy import Policy
from v2t_eval.gate.verdict import Guard, MetricVerdict, Verdict

NO_BASELINE = "there is no baseline, so whether it got worse is unknown: make one with `v2t-eval gate init`"


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
    sides = {
        "candidate": _about(scores) | dict(about_candidate or {}),
        "baseline": {} if baseline is None else _about(baseline) | dict(about_baseline or {}),
    }
    plain = plain_policy(policy) | ({"suite": suite} if suite else {})
    found = Comparison()
    if baseline is not None:
        found = comparison(scores, baseline, [rule.metric for rule in policy.primary if rule.margin is not None])
    notes = [*found.notes, *_policy_notes(policy, baseline), *_same_notes(scores, baseline), *_skip_notes(scores)]
    common: dict[str, Any] = {
        **sides, "policy": plain, "environment": scores.environment, "differences": found.differences,
    }  # fmt: skip
    if found.differences:
        metrics = _side_by_side(scores, baseline, policy)
        outcome, reason = overall(metrics, (), found.differences)
        return Verdict(outcome=outcome, reason=reason, metrics=metrics, notes=tuple(notes), **common)
    before = baseline
    if baseline is not None:
        before = replace(baseline, results=[one for one in baseline.results if one.name not in found.incompatible])
    checks = guards(scores, baseline, policy)
    metrics = tuple(decide_metrics(scores, before, policy, [check.p for check in checks if check.p is not None]))
    held = [one for one in metrics if one.role == "primary" and one.margin is not None]
    checks = with_outcomes(checks, [1.0 if one.p is None else one.p for one in held], policy.alpha)
    if baseline is None:
        metrics = tuple(map(_without_baseline, metrics))
    if audit is not None:
        metrics = tuple(replace(metric, blind=_blind(metric.metric, audit, scores)) for metric in metrics)
    notes += [*_motion_notes(scores, policy), *_audit_notes(scores, audit, metrics, checks, policy)]
    outcome, reason = overall(metrics, checks, ())
    return Verdict(
        outcome=outcome, reason=reason, metrics=metrics, guards=checks, notes=tuple(notes),
        clips=tuple(worst_clips(scores, before, [rule.metric for rule in policy.primary])), **common,
    )  # fmt: skip


def _without_baseline(metric: MetricVerdict) -> MetricVerdict:
    """Without a baseline a margin is inconclusive, not incomparable."""
    if metric.margin is None or metric.outcome == "fail":
        return metric
    others = metric.reasons[1:] if metric.outcome == "not_comparable" else metric.reasons
    return replace(metric, outcome="inconclusive", reasons=(NO_BASELINE, *others))


def _blind(name: str, audit: Audit, scores: Scores) -> tuple[str, ...]:
    """What the audit says that a metric does not see, and, where it asks the audited judge, what that judge does not
    see."""
    result = scores.by_name.get(name)
    judge = None if result is None else result.fingerprint.get("judge")
    unseen = audit.unseen_by_judge() if judge is not None and judge == audit.judge.get("judge") else []
    return tuple(dict.fromkeys([*audit.blind_to(name), *unseen]))


def require(scores: Scores, policy: Policy) -> None:
    """Refuse scores without a primary metric: what could not run must never be a pass.

    Raises:
        MissingDependencyError: a primary metric could not run here. NothingMatchedError: no clip has what it needs.
        UsageError: it was not asked for.
    """
    there, skipped = scores.by_name, {one.metric: one for one in scores.skipped}
    unreadable = bool(scores.clips) and all(clip.status != "ok" for clip in scores.clips)
    for rule in policy.primary:
        name = rule.metric
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
    theirs, found = baseline.by_name if baseline else {}, []
    for one in decide_metrics(scores, None, policy):
        its = theirs.get(one.metric)
        figure = None if its is None else its.figures.get(its.headline)
        found.append(replace(one, outcome="not_comparable", baseline=figure, accepted=None, reasons=()))
    return tuple(found)


# --- what a reader must know


def _policy_notes(policy: Policy, baseline: Scores | None) -> list[str]:
    """Rules that are not those the baseline was made under."""
    if baseline is None or not baseline.policy:
        return []
    before, after = ({**tree, "primary": _by_metric(tree)} for tree in (baseline.policy, plain_policy(policy)))
    old, new = before["primary"], after["primary"]
    lines = [f"{name} decides now" for name in new if name not in old]
    lines += [f"{name} decides no more" for name in old if name not in new]
    shared = [name for name in new if name in old]
    for tree in (before, after):
        tree["primary"] = {name: tree["primary"][name] for name in shared}
    lines += [line.removeprefix("primary.") for line in changes(before, after)]
    return [f"the gate's rules have changed since the baseline was made: {line}" for line in lines]


def _by_metric(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {rule.get("metric", ""): rule for rule in tree.get("primary") or ()}


def _same_notes(scores: Scores, baseline: Scores | None) -> list[str]:
    if baseline is None:
        return []
    before = {clip.id: clip.content for clip in baseline.clips}
    same = sum(clip.content is not None and clip.content == before.get(clip.id) for clip in scores.clips)
    return [f"{same} of {len(scores.clips)} clips are byte for byte the baseline's"] if same else []


def _skip_notes(scores: Scores) -> list[str]:
    return [f"{one.metric} could not run: {one.reason}" for one in scores.skipped if not one.found_nothing]


def _motion_notes(scores: Scores, policy: Policy) -> list[str]:
    """A note where nothing in the suite measures motion: a still picture with a small moving part would pass."""
    measured = {result.name.partition("[")[0] for result in scores.results}
    has_frames = any(clip.frozen is not None for clip in scores.clips)
    if not has_frames or not policy.min_motion or measured & set(MOTION):
        return []
    return ["no metric of the suite measures motion, so clips that hardly move pass: add `motion` to its metrics"]


def _audit_notes(
    scores: Scores, audit: Audit | None, metrics: Sequence[MetricVerdict], checks: Sequence[Guard], policy: Policy
) -> list[str]:
    """What the audit does not cover, and what it reports that no guard covers."""
    if audit is None and policy.audit is not None:
        return [f"there is no audit {policy.audit}, so what the metrics cannot see is not shown"]
    if audit is None:
        return ["no audit is named, so what the metrics cannot see is not shown (`v2t-eval audit` measures it)"]
    results, notes = scores.by_name, []
    guarded = policy.max_frozen < 1 and any(check.name == "frozen clips" for check in checks)
    audited = {row.metric for row in audit.table}
    for metric in metrics:
        if metric.role != "primary":
            continue
        name = metric.metric
        if name not in audited:
            notes.append(f"{name} was not audited: what it cannot see is not known")
        if name in audit.fingerprints and name in results:
            whose = ("here", "in the audit")
            differing, _ = fingerprint_changes(name, results[name].fingerprint, audit.fingerprints[name], whose)
            if differing:
                notes.append(f"{name} was audited with another definition: {differing[0].removeprefix(f'{name}: ')}")
        if not guarded and any(re.search(r"\bfreeze\b", text) for text in metric.blind):
            notes.append(f"{name} does not see frozen clips, and no guard checks for them")
    return notes
