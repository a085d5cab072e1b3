"""A verdict in words: every sentence of a gate stands here.

In: decisions, guards and what else is known of the two sides. Out: the parts of a `Verdict` with their sentences, which
nothing reads back. Numbers have three significant digits; the rules are those of docs/gate-statistics.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cineloop.config import changes as changed_settings
from v2t_eval.audit.record import Audit
from v2t_eval.core.bounds import Change
from v2t_eval.core.changes import STATED, ClipPairs, MetricChange
from v2t_eval.core.metric import Figure
from v2t_eval.core.power import invisible_share
from v2t_eval.core.scores import Scores
from v2t_eval.core.statistics import parts_of_variance
from v2t_eval.correction.gating import IS_CORRECTED
from v2t_eval.gate.comparable import fingerprint_changes
from v2t_eval.gate.decide import Decision, Finding
from v2t_eval.gate.guards import MOTION, GuardCheck
from v2t_eval.gate.policy import Policy
from v2t_eval.gate.verdict import Guard, MetricVerdict, Outcome, ValueSentence

# --- metrics


def metric_verdict(one: Decision, policy: Policy, unit: str, blind: Sequence[str] = ()) -> MetricVerdict:
    """The decision with its reasons. `unit`: prompts or clips; `blind`: what the metric does not see."""
    rule, change = one.rule, one.change.change
    candidate, baseline = one.change.figures
    asked: dict[str, Any] = {}
    if rule is not None:
        asked = {"margin": rule.margin, "at_least": rule.at_least, "at_most": rule.at_most}
        asked["accepted"] = None if rule.margin is None else rule.accepts
    numbers: dict[str, Any] = {}
    if change is not None:
        numbers = {name: getattr(change, name) for name in ("low", "high", "p", "num_pairs", "num_clusters")}
        numbers["change"] = change.value
    worst, best = one.change.ends or (None, None)
    return MetricVerdict(
        metric=one.change.name, role="primary" if rule else "exploratory", outcome=one.outcome,
        code=one.findings[0].kind, higher_is_better=one.change.higher_is_better, candidate=candidate, baseline=baseline,
        least_margin=one.least_margin, worst=worst, best=best, mde=one.mde, p_adjusted=one.p_adjusted,
        reasons=(*(_reason(one, finding, policy, unit) for finding in one.findings), *notes_on(one.change)),
        blind=tuple(blind), **asked, **numbers,
    )  # fmt: skip


def obstacle(one: MetricChange) -> str:
    """Why a metric has no change."""
    new, old = one.figures
    match one.obstacle:
        case "NO_FIGURE":
            return f"the candidate has no {one.name}: no clip could be scored"
        case "NO_BASELINE":
            return NO_BASELINE
        case "NO_BASELINE_FIGURE":
            return f"the baseline has no {one.name}"
        case "NO_PAIRS":
            return "no clip has a value on both sides"
        case "OTHER_NUMBER" if new and old:
            return f"it is a figure of a whole set: {new.n} cases here, {old.n} in the baseline"
        case "NO_INTERVAL":
            return NO_INTERVAL
        case "OTHER_HEADLINE" | "OTHER_DIRECTION" | "OTHER_RANGE":
            what = STATED[one.obstacle]
            return f"{what} is {getattr(one.ours, what)} here and {getattr(one.theirs, what)} in the baseline"
    return ""


NO_INTERVAL = "a figure of a whole set without an interval: its spread is unknown"
NO_BASELINE = "there is no baseline, so whether it got worse is unknown: make one with `v2t-eval gate init`"


def _reason(one: Decision, finding: Finding, policy: Policy, unit: str) -> str:
    change, figure = one.change.change, one.change.figures[0]
    if finding.kind == "BELOW_MINIMUM":
        return below_minimum(one.change)
    if finding.kind in ("NO_BASELINE", "NO_INTERVAL"):
        return NO_BASELINE if finding.kind == "NO_BASELINE" else NO_INTERVAL
    if figure is not None and finding.kind in ("IN_BOUND", "OUT_OF_BOUND", "ACROSS_BOUND"):
        return _of_bound(figure, finding)
    if change is None:
        return obstacle(one.change)
    return _of_margin(one, change, finding, policy, unit) if one.rule else _of_exploratory(one, change, finding)


def _of_margin(one: Decision, change: Change, finding: Finding, policy: Policy, unit: str) -> str:
    """CompareResult with the baseline under a margin."""
    rule = one.rule
    margin = rule.margin or 0.0 if rule else 0.0
    up = one.change.higher_is_better is True
    text, edge = f"change {_interval(change)}", f"{-margin if up else margin:+.3g}"
    by = f"p = {1.0 if one.p_adjusted is None else one.p_adjusted:.2g} after Holm"
    match finding.kind:
        case "NO_DIRECTION":
            return "no preferred direction, so a margin says nothing: give at_least or at_most"
        case "EQUAL":
            return f"equal to the baseline for {change.num_pairs or 'all'} clips"
        case "WITHIN_MARGIN":
            return f"not worse than the margin allows: {text} stays {'above' if up else 'below'} {edge}"
        case "ABOVE_ACCEPTED":
            return f"worse than the accepted {rule.accepts if rule else 0.0:.3g}: {text}, {by}"
    advice = _advice(one, change, unit)
    if finding.kind == "BEYOND_MARGIN":
        return f"worse by the margin or more, but it may be chance: {text}, {by}{advice}"
    return f"too early to say: {text} reaches {edge}, {by}{advice}"


def _of_exploratory(one: Decision, change: Change, finding: Finding) -> str:
    """CompareResult with the baseline without a margin."""
    p = 1.0 if one.p_adjusted is None else one.p_adjusted
    text = f"change {_interval(change)}, p = {p:.2g} after Benjamini-Hochberg"
    if finding.kind == "NO_PREFERENCE":
        return f"no preferred direction; {text}"
    return f"{'worse than the baseline' if finding.kind == 'WORSE' else 'no loss is proven'}: {text}"


def _advice(one: Decision, change: Change, unit: str) -> str:
    """How many prompts, or which margin, an unchanged candidate would pass with; a repeated test is a second chance."""
    if not change.num_pairs:
        return f"; more {unit} show more"
    if not change.se:
        return f"; {change.num_clusters} {unit} of at least {one.needed} that this margin takes"
    if one.needed is None or one.needed <= change.num_clusters:
        return ""
    return (
        f"; {change.num_clusters} {unit} suffice for a margin of {one.least_margin:.2g}, this one takes about "
        f"{one.needed} (a new set alone decides: the same candidate gated twice at this alpha passes in error more "
        "often)"
    )


def _of_bound(figure: Figure, finding: Finding) -> str:
    """CompareResult with an absolute bound."""
    verb = {"pass": "is", "fail": "is not", "inconclusive": "may or may not be"}[finding.outcome]
    asked = f"at {'least' if finding.sign > 0 else 'most'} {finding.bound:.3g}"
    return f"{figure.value:.3g} [{figure.low:.3g}, {figure.high:.3g}] {verb} {asked}"


def below_minimum(one: MetricChange) -> str:
    """That a side has fewer samples than the metric itself asks for; "" where both have enough."""
    for where, result in (("here", one.ours), ("in the baseline", one.theirs)):
        if result is not None and result.counts.get("below_minimum"):
            least, num = result.counts.get("minimum"), result.counts.get("vectors", result.n)
            wanted = f", of {least} it asks for" if least else ""
            return f"too few samples for any verdict: {num} {where}{wanted}"
    return ""


def notes_on(one: MetricChange) -> list[str]:
    """What a reader of the change must know besides."""
    change, pairs, ours = one.change, one.pairs, one.ours
    if change is None or ours is None:
        return []
    if pairs is None or one.of_sets is not None:
        return ["unpaired: a figure of the whole set, compared as of independent sets"]
    notes = [f"compared by {ours.reduction}, which is a mean over clips"] if ours.reduction not in (
        "mean", ours.headline) else []  # fmt: skip
    notes += level_note(one)
    if len(pairs.ids) < max(pairs.num_candidate, pairs.num_baseline):
        notes.append(
            f"{len(pairs.ids)} pairs of {pairs.num_candidate} scored clips here and {pairs.num_baseline} in the "
            "baseline; the others have no partner"
        )
    notes += _spread(pairs)
    if one.expected is not None and one.expected.margin is not None and one.ends and change.low < change.high:
        num, (worst, best) = change.num_clusters, one.ends
        start = (
            f"with {num} prompts a share of {100 * invisible_share(num, one.alpha):.2g} % broken ones is invisible "
            f"with a chance of {one.alpha:g}; the bound allows for them to fall from {best:.3g} to "
        )
        notes.append(ValueSentence(f"{start}{worst:.3g}", start))
    return notes


def level_note(one: MetricChange) -> list[str]:
    """That all clips have one value."""
    level = None if one.pairs is None or one.of_sets is not None else one.pairs.level
    return [] if level is None else [f"every value is {level:g} on both sides"]


def _spread(pairs: ClipPairs) -> list[str]:
    """Components of variance when prompts have several seeds."""
    own = parts_of_variance(pairs.baseline, pairs.clusters)
    of_change = parts_of_variance(pairs.differences, pairs.clusters)
    if own is None or of_change is None or sum(own) == 0 or sum(of_change) == 0:
        return []
    lasting, moving = (f"{100 * parts[0] / sum(parts):.0f} %" for parts in (own, of_change))
    return [
        f"between prompts lie {lasting} of the baseline's variance, the rest between the seeds of one; {moving} of the "
        "change's, which more seeds of a prompt do not lessen"
    ]


def _interval(change: Change) -> str:
    return f"{change.value:+.3g} [{change.low:+.3g}, {change.high:+.3g}]"


# --- guards


def guard(check: GuardCheck, outcome: Outcome, p_adjusted: float | None) -> Guard:
    """A guard with its message."""
    message = _message(check)
    if check.p is not None and outcome == "inconclusive":
        message += f"; this may be chance (p = {p_adjusted:.2g} after Holm)"
    elif check.chance is not None:
        message += f"; this may be chance (p = {check.chance:.2g})"
    return Guard(name=check.name, outcome=outcome, message=message, clips=check.clips, p=check.p, p_adjusted=p_adjusted)


def _message(check: GuardCheck) -> str:
    limit = _percent(check.limit)
    of_clips = f"{check.count} of {check.num} clips"
    beyond = "" if check.own is None else f" beyond the baseline's {_percent(check.own)}"
    match check.name:
        case "lost clips":
            words = {"MISSING": "missing", "UNREADABLE": "unreadable ({})", "NO_SCORE": "no score by {}"}
            causes = [
                f"{count} {words[kind].format(what)}" for (kind, what), count in sorted((check.causes or {}).items())
            ]
            listed = f": {'; '.join(causes)}" if causes else ""
            return f"{of_clips} are missing or have no score, {limit} may{listed}"
        case "motion":
            share = _percent(check.share)
            return f"clips have {share} of the baseline's {check.metric}, at least {limit} is expected"
        case "frozen clips":
            return f"{of_clips} stand still, {limit} may{beyond}"
        case "copies":
            return f"{of_clips} are copies of another clip, {limit} may{beyond}"
    text = (
        f"{of_clips} are unlike what the judge of {check.metric} was trained on, or to show what it cannot be asked "
        "(UNAUDITED)"
    )
    if check.own is not None:
        return f"{text}, {limit} may{beyond}"
    means = ": its answers mean nothing here; name a judge that knows such clips (judge=v2t:MODEL)"
    return text if check.is_within else text + means


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


# --- the whole


def because(
    outcome: Outcome, primary: Sequence[MetricVerdict], guards: Iterable[Guard], differences: Sequence[str]
) -> str:
    """The sentence that says why the outcome is what it is."""
    metrics = [one for one in primary if one.outcome == outcome]
    checks = [one for one in guards if one.outcome == outcome]
    if outcome == "pass":
        return _all_pass(primary)
    if outcome == "not_comparable" and differences:
        more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
        return f"{differences[0]}{more}"
    if checks and (outcome == "fail" or not metrics):
        more = f"; also failed: {', '.join(one.metric for one in metrics)}" if metrics else ""
        return f"{checks[0].name}: {checks[0].message}{more}"
    if not metrics:
        return "no primary metric was decided"
    more = f"; likewise {', '.join(one.metric for one in metrics[1:])}" if len(metrics) > 1 else ""
    return f"{metrics[0].metric}: {metrics[0].reasons[0]}{more}"


def _all_pass(metrics: Sequence[MetricVerdict]) -> str:
    """That all pass, and the one that came nearest to its margin."""
    subject = "the primary metric passes" if len(metrics) == 1 else f"all {len(metrics)} primary metrics pass"
    held = [one for one in metrics if one.margin and one.low is not None and one.high is not None]
    if not held:
        return f"{subject}; {metrics[0].metric}: {metrics[0].reasons[0]}"
    nearest = min(held, key=_distance)
    return f"{subject}; nearest to its margin {nearest.metric}: {nearest.reasons[0]}"


def _distance(one: MetricVerdict) -> float:
    """Between the bad end of the interval and the margin, in margins."""
    bad = one.low if one.higher_is_better else -(one.high or 0.0)
    return ((bad or 0.0) + (one.margin or 0.0)) / (one.margin or 1.0)


def blind_spots(name: str, audit: Audit, scores: Scores) -> list[str]:
    """What the audit says that a metric does not see, and, where it asks the audited judge, what that judge does not
    see."""
    return list(
        dict.fromkeys([*audit.blind_to(name), *(audit.unseen_by_judge() if _asks(name, audit, scores) else ())])
    )


def _asks(name: str, audit: Audit, scores: Scores) -> bool:
    """Whether the metric asks the audited judge."""
    result = scores.by_name.get(name)
    judge = None if result is None else result.fingerprint.get("judge")
    return judge is not None and judge == audit.judge.get("judge")


def notes_before(scores: Scores, baseline: Scores | None, plain: Mapping[str, Any]) -> list[str]:
    """What a reader must know of the two sides. `plain`: the policy as plain values."""
    notes = [] if baseline is None else _policy_notes(plain, baseline)
    before = {} if baseline is None else {clip.id: clip.content for clip in baseline.clips}
    same = sum(clip.content is not None and clip.content == before.get(clip.id) for clip in scores.clips)
    notes += [f"{same} of {len(scores.clips)} clips are byte for byte the baseline's"] if same else []
    return notes + [f"{one.metric} could not run: {one.reason}" for one in scores.skipped if not one.found_nothing]


def of_correction(scores: Scores, scales: Mapping[str, float]) -> list[str]:
    """What was corrected for the judge's errors, and what could not be. `scales`: see `MetricResult.scale_error`."""
    notes = [
        f"{name}: values are corrected for the judge's errors; the audit leaves a difference open by {scale - 1:.0%}, "
        f"so the margin is divided by {scale:.3g} and the accepted harm multiplied"
        for name, scale in scales.items()
    ]
    refused = [(one.name, note) for one in scores.results for note in one.notes if note.startswith("NOT_CORRECTED")]
    return [*notes, *(f"{name}: {note}" for name, note in refused if name not in scales)]


def _policy_notes(plain: Mapping[str, Any], baseline: Scores) -> list[str]:
    """Rules that are not those the baseline was made under."""
    if not baseline.policy:
        return []
    before, after = (
        {**tree, "primary": {rule.get("metric", ""): rule for rule in tree.get("primary") or ()}}
        for tree in (baseline.policy, plain)
    )
    old, new = before["primary"], after["primary"]
    lines = [f"{name} decides now" for name in new if name not in old]
    lines += [f"{name} decides no more" for name in old if name not in new]
    shared = [name for name in new if name in old]
    for tree in (before, after):
        tree["primary"] = {name: tree["primary"][name] for name in shared}
    lines += [line.removeprefix("primary.") for line in changed_settings(before, after)]
    return [f"the gate's rules have changed since the baseline was made: {line}" for line in lines]


def notes_after(
    scores: Scores, audit: Audit | None, decisions: Sequence[Decision], checks: Sequence[GuardCheck], policy: Policy
) -> list[str]:
    """What neither metrics nor guards see: motion that nothing measures, what the audit does not cover, and what it
    reports that no guard covers."""
    notes = []
    measured = {result.name.partition("[")[0] for result in scores.results}
    if any(clip.frozen is not None for clip in scores.clips) and policy.min_motion and not measured & set(MOTION):
        notes.append(
            "no metric of the suite measures motion, so clips that hardly move pass: add `motion` to its metrics"
        )
    if audit is None and policy.audit is not None:
        return [*notes, f"there is no audit {policy.audit}, so what the metrics cannot see is not shown"]
    if audit is None:
        return [*notes, "no audit is named, so what the metrics cannot see is not shown (`v2t-eval audit` measures it)"]
    is_guarded = policy.max_frozen < 1 and any(check.name == "frozen clips" for check in checks)
    for name in [one.change.name for one in decisions if one.rule is not None]:
        if name not in {row.metric for row in audit.table}:
            notes.append(f"{name} was not audited: what it cannot see is not known")
        result = scores.by_name.get(name)
        if name in audit.fingerprints and result is not None:
            own = {key: text for key, text in result.fingerprint.items() if key != IS_CORRECTED}  # the same judge
            differing, _ = fingerprint_changes(name, own, audit.fingerprints[name])
            if differing:
                values = differing[0].values(("here", "in the audit"))
                notes.append(f"{name} was audited with another definition: {values}")
        if not is_guarded and audit.is_blind_to_fault("freeze", name, judged=_asks(name, audit, scores)):
            notes.append(f"{name} does not see frozen clips, and no guard checks for them")
    return notes
