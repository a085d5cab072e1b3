"""From two scorings and a policy to verdicts.

In: two `Side`s (the baseline's may be missing) and a `Policy`. Out: a `MetricVerdict` for each metric, the clips that
got worst, and one outcome with its reason. The arithmetic is in `v2t_eval.gate.statistics`, the sentences in
`v2t_eval.gate.reasons`; the rules, why they are so and how often they err are told in docs/gate-statistics.md:

* with a margin m and an accepted harm a (half of m): pass when the bound that holds with 1 - alpha lies on the good
  side of -m (non-inferiority); else fail when Holm's p of "the harm is not above a" is below alpha; else inconclusive;
* a metric below its own minimum number of samples decides nothing;
* an absolute bound: pass when the 95 % interval lies on its good side, fail when it lies on the bad one;
* exploratory metrics: Benjamini and Hochberg's p of "no harm"; they decide nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from v2t_eval.gate import reasons
from v2t_eval.gate.policy import Policy, Rule
from v2t_eval.gate.statistics import (
    Change,
    finite_values,
    invisible_share,
    least_change,
    least_margin,
    least_step,
    no_change,
    paired_change,
    unpaired_change,
)
from v2t_eval.gate.tail import tail_test
from v2t_eval.gate.verdict import ClipChange, Guard, MetricVerdict, Outcome
from v2t_eval.metric import Figure, MetricResult
from v2t_eval.significance import benjamini_hochberg, holm

NUM_WORST = 10  # clips told of each primary metric
_SEVERITY: tuple[Outcome, ...] = ("fail", "not_comparable", "inconclusive", "pass")


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        results: by the metric's title.
        clusters: the cluster of each clip by its id: clips of one prompt share one.
        prompts, paths: of each clip by its id, None where there is none.
        contents: what names the bytes of each clip (`Scored.content`). Where both sides hold the same bytes no
            difference is a fact; else equal values are only values that happened to agree.
    """

    results: Mapping[str, MetricResult]
    clusters: Mapping[str, str]
    prompts: Mapping[str, str | None] = field(default_factory=dict)
    paths: Mapping[str, str | None] = field(default_factory=dict)
    contents: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class _Compared:
    """A metric before anything is decided: its change, or why there is none; what a reader should know besides.

    `blocked`: why nothing may be decided by it. `worst`: the value that a prompt which the sample lacks may have.
    """

    change: Change | None = None
    blocked: str = ""
    worst: float | None = None
    outcome: Outcome = "inconclusive"
    why: str = ""
    notes: tuple[str, ...] = ()


def decide_metrics(
    candidate: Side, baseline: Side | None, policy: Policy, beside: Sequence[float] = ()
) -> list[MetricVerdict]:
    """Verdicts of the primary metrics in the policy's order, then of all others that both sides have, by name.

    `beside`: p of the guards that are tests, which share alpha. No result of a metric, however odd, raises: what cannot
    be compared is named.
    """
    tests = sum(rule.margin is not None for rule in policy.primary) + len(beside)
    primary = {rule.metric: _compared(candidate, baseline, rule.metric, policy, rule) for rule in policy.primary}
    held = [rule.metric for rule in policy.primary if rule.margin is not None]
    adjusted = dict(zip(held, holm([*(_p(primary[title]) for title in held), *beside]), strict=False))
    verdicts = [
        _verdict(rule, primary[rule.metric], candidate, baseline, policy, adjusted.get(rule.metric), tests)
        for rule in policy.primary
    ]
    if baseline is None:
        return verdicts
    others = sorted((set(candidate.results) & set(baseline.results)) - set(primary))
    explored = {title: _compared(candidate, baseline, title, policy) for title in others}
    seen = [title for title in others if explored[title].change]
    told = dict(zip(seen, benjamini_hochberg([_p(explored[title]) for title in seen]), strict=True))
    return verdicts + [
        _verdict(None, explored[title], candidate, baseline, policy, told.get(title), 1, title) for title in others
    ]


def worst_clips(candidate: Side, baseline: Side | None, policy: Policy, *, limit: int = NUM_WORST) -> list[ClipChange]:
    """At most `limit` clips of each primary metric that got worse than the baseline's, worst first.

    Metrics have units of their own: their clips are put in one order by how often the metric's mean change without its
    sign each of them changed.
    """
    found: list[tuple[float, str, ClipChange]] = []
    for title in (rule.metric for rule in policy.primary):
        mine = candidate.results.get(title)
        its = baseline.results.get(title) if baseline else None
        if mine is None or its is None or baseline is None or mine.higher_is_better is None:
            continue
        new, old = finite_values(mine.items), finite_values(its.items)
        shared = _shared(candidate, baseline, new, old)
        sign = -1.0 if mine.higher_is_better else 1.0
        size = math.fsum(abs(new[id] - old[id]) for id in shared) / max(len(shared), 1)
        worse = sorted(((sign * (new[id] - old[id]), id) for id in shared), key=lambda pair: (-pair[0], pair[1]))
        for amount, id in worse[:limit]:
            if amount > 0:
                clip = ClipChange(
                    id=id,
                    metric=title,
                    prompt=candidate.prompts.get(id),
                    baseline=old[id],
                    candidate=new[id],
                    worse=amount,
                    baseline_path=baseline.paths.get(id),
                    candidate_path=candidate.paths.get(id),
                )
                found.append((-amount / size, id, clip))
    return [clip for _, _, clip in sorted(found, key=lambda row: (row[0], row[1], row[2].metric))]


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
        more = f"; failed besides: {', '.join(one.metric for one in failed)}" if failed else ""
        return "fail", f"{broken[0].name}: {broken[0].message}{more}"
    if failed:
        return "fail", reasons.first_of(failed)
    if differences:
        more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
        return "not_comparable", f"{differences[0]}{more}"
    for outcome in _SEVERITY[1:-1]:
        if some := [one for one in primary if one.outcome == outcome]:
            return outcome, reasons.first_of(some)
    if unsure:
        return "inconclusive", f"{unsure[0].name}: {unsure[0].message}"
    if not primary:
        return "inconclusive", "no primary metric was decided"
    return "pass", reasons.all_passed(primary)


def _compared(
    candidate: Side, baseline: Side | None, title: str, policy: Policy, rule: Rule | None = None
) -> _Compared:
    """The change of one metric, or why there is none."""
    mine, its = candidate.results.get(title), baseline.results.get(title) if baseline else None
    if mine is None or mine.headline not in mine.figures:
        return _Compared(why=f"the candidate has no {title}: no clip could be scored")
    if baseline is None:
        return _Compared(outcome="not_comparable", why="there is no baseline to compare with")
    if its is None or its.headline not in its.figures:
        return _Compared(outcome="not_comparable", why=f"the baseline has no {title}")
    for what in ("headline", "higher_is_better", "value_range"):
        if getattr(mine, what) != getattr(its, what):
            why = f"{what} is {getattr(mine, what)} here and {getattr(its, what)} in the baseline"
            return _Compared(outcome="not_comparable", why=why)
    figure = mine.headline if mine.reduction == "mean" else mine.reduction
    new, old = finite_values(mine.items), finite_values(its.items)
    if figure not in mine.figures or not (new or old):
        found = _of_sets(candidate, baseline, mine, its, policy, rule)
    else:
        found = _of_pairs(candidate, baseline, mine, new, old, policy, rule)
    if figure != mine.headline and figure in mine.figures:
        found = replace(found, notes=(f"compared by {figure}, which is a mean over clips", *found.notes))
    return replace(found, blocked=reasons.below_minimum(mine, its))


def _of_pairs(
    candidate: Side,
    baseline: Side,
    mine: MetricResult,
    new: Mapping[str, float],
    old: Mapping[str, float],
    policy: Policy,
    rule: Rule | None,
) -> _Compared:
    ids = _shared(candidate, baseline, new, old)
    if not ids:
        return _Compared(outcome="not_comparable", why="no clip has a value on both sides")
    first, second = [new[id] for id in ids], [old[id] for id in ids]
    clusters = [candidate.clusters.get(id) or baseline.clusters.get(id) or id for id in ids]
    bytes_of = [(candidate.contents.get(id), baseline.contents.get(id)) for id in ids]
    differences = [a - b for a, b in zip(first, second, strict=True)]
    worst, best = ends(mine, first, second, rule)
    same = all(a is not None and a == b for a, b in bytes_of) or len({*first, *second}) > 2
    if same and not any(differences):  # not values of two levels, which agree by chance
        change = no_change(len(ids), len(set(clusters)))
    else:
        mean = math.fsum(second) / len(second)
        change = paired_change(
            differences, clusters, fall=abs(mean - worst), rise=abs(best - mean), alpha=policy.alpha,
            step=least_step([*first, *second]), higher_is_better=mine.higher_is_better,
            accepted=rule.accepts if rule else 0.0,
        )  # fmt: skip
    notes = [f"every value is {first[0]:g} on both sides"] if len({*first, *second}) == 1 else []
    if len(ids) < len(new) or len(ids) < len(old):
        notes.append(reasons.left_out(len(ids), len(new), len(old)))
    if spread := reasons.spread(differences, second, clusters):
        notes.append(spread)
    if rule is not None and rule.margin is not None and change.se != 0:
        share = invisible_share(change.num_clusters, policy.alpha)
        notes.append(reasons.unseen(change.num_clusters, share, worst, policy.alpha))
        sign = -1.0 if mine.higher_is_better is False else 1.0
        tail = tail_test(
            [sign * value for value in first], [sign * value for value in second], clusters, accepted=rule.accepts,
            alpha=policy.alpha / len(policy.primary),
        )  # fmt: skip
        if said := reasons.fallen(tail, policy.alpha / len(policy.primary)):
            notes.append(said)
    return _Compared(change=change, worst=worst, notes=tuple(notes))


def ends(
    result: MetricResult, first: Sequence[float], second: Sequence[float], rule: Rule | None
) -> tuple[float, float]:
    """The worst value that a prompt which the sample lacks may have, and the best one: as the rule says, or the bad end
    of the metric's range, or the worst of the values where that is open; the best of the values."""
    down = result.higher_is_better is not False
    seen = [*first, *second]
    low, high = min(seen), max(seen)
    end = result.value_range[0 if down else 1]
    worst = rule.worst if rule is not None and rule.worst is not None else end
    if not math.isfinite(worst):
        worst = low if down else high
    return worst, high if down else low


def _of_sets(
    candidate: Side, baseline: Side, mine: MetricResult, its: MetricResult, policy: Policy, rule: Rule | None
) -> _Compared:
    new, old = mine.figures[mine.headline], its.figures[its.headline]
    if abs(new.n - old.n) > policy.max_lost * max(new.n, old.n):
        why = f"it is a figure of a whole set: {new.n} cases here, {old.n} in the baseline"
        return _Compared(outcome="not_comparable", why=why)
    num = min(len(set(side.clusters.values())) or one.n for side, one in ((candidate, new), (baseline, old)))
    try:
        change = unpaired_change(
            new, old, num, higher_is_better=mine.higher_is_better, alpha=policy.alpha,
            accepted=rule.accepts if rule else 0.0,
        )  # fmt: skip
    except ValueError:
        return _Compared(why="a figure of a whole set without an interval: nothing is known of its spread")
    return _Compared(change=change, notes=("unpaired: a figure of the whole set, compared as of independent sets",))


def _verdict(
    rule: Rule | None,
    compared: _Compared,
    candidate: Side,
    baseline: Side | None,
    policy: Policy,
    p_adjusted: float | None,
    tests: int,
    title: str = "",
) -> MetricVerdict:
    title = rule.metric if rule else title
    mine, its = candidate.results.get(title), baseline.results.get(title) if baseline else None
    better = mine.higher_is_better if mine else its.higher_is_better if its else True
    change = compared.change
    mde = least = None
    if change is not None and change.se:
        accepted = rule.accepts if rule else 0.0
        mde = least_change(change, accepted=accepted, alpha=policy.alpha, power=policy.power, num_tests=max(tests, 1))
        least = least_margin(change.se, change.num_clusters, change.fall, alpha=policy.alpha, power=policy.power)
    figure = mine.figures.get(mine.headline) if mine else None
    found: list[tuple[Outcome, str]] = []
    if compared.blocked:
        found.append(("inconclusive", compared.blocked))
    elif change is None and (rule is None or rule.margin is not None):
        found.append((compared.outcome, compared.why))
    elif change is not None and rule is None:
        found.append(reasons.of_exploratory(change, p_adjusted, better, policy))
    elif change is not None and rule is not None and rule.margin is not None:
        unit = "prompts" if any(candidate.prompts.values()) else "clips"
        found.append(reasons.of_margin(change, rule, p_adjusted, better, policy, unit))
    if rule is not None and not compared.blocked:
        found += _of_bounds(rule, figure, compared.why)
    outcome = min((one for one, _ in found), key=_SEVERITY.index)
    told = [why for one, why in found if one == outcome] + [why for one, why in found if one != outcome]
    return MetricVerdict(
        metric=title,
        role="primary" if rule else "exploratory",
        outcome=outcome,
        higher_is_better=better,
        candidate=figure,
        baseline=its.figures.get(its.headline) if its else None,
        change=change.value if change else None,
        low=change.low if change else None,
        high=change.high if change else None,
        margin=rule.margin if rule else None,
        accepted=rule.accepts if rule and rule.margin is not None else None,
        at_least=rule.at_least if rule else None,
        at_most=rule.at_most if rule else None,
        p=change.p if change else None,
        p_adjusted=p_adjusted if change else None,
        mde=mde,
        least_margin=least,
        worst=compared.worst,
        num_pairs=change.num_pairs if change else 0,
        num_clusters=change.num_clusters if change else 0,
        reasons=(*told, *compared.notes),
    )


def _of_bounds(rule: Rule, figure: Figure | None, why: str) -> list[tuple[Outcome, str]]:
    found: list[tuple[Outcome, str]] = []
    for bound, sign in ((rule.at_least, 1.0), (rule.at_most, -1.0)):
        if bound is not None:
            found.append(("inconclusive", why) if figure is None else reasons.of_bound(figure, bound, sign))
    return found


def _p(compared: _Compared) -> float:
    """What could not be tested counts as a test all the same."""
    return compared.change.p if compared.change else 1.0


def _shared(candidate: Side, baseline: Side, new: Mapping[str, float], old: Mapping[str, float]) -> list[str]:
    """Clips with a value on both sides, sorted; one whose prompt is another now is another clip."""
    prompts = {id: (candidate.prompts.get(id), baseline.prompts.get(id)) for id in set(new) & set(old)}
    return sorted(id for id, (here, there) in prompts.items() if here is None or there is None or here == there)
