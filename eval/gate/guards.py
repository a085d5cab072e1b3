"""Guards: checks of the set of clips that no metric can outweigh.

In: the scores of a candidate, those of a baseline where there is one, a policy. Out: a `Guard` each for clips that are
lost, frozen, much less in motion than the baseline's, copies of each other, and outside the judge's world. The
baseline's own share counts against no candidate: each limit is on the excess over it. Lost clips are a fact of the set.
The others are samples of what the generator does: each has a p-value over prompts, and a share in alpha by Holm's
correction together with the primary metrics (`with_outcomes`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import NamedTuple

import numpy as np

from v2t_eval.core.metric import MetricResult
from v2t_eval.core.scores import Scored, Scores
from v2t_eval.core.statistics import holm
from v2t_eval.gate.policy import Policy
from v2t_eval.gate.statistics import p_values, sums_of
from v2t_eval.gate.verdict import Guard, Outcome

MAX_COPIES = 0.05  # share of clips that may be byte for byte copies of another one
MAX_OUTSIDE = 0.05  # share of clips that may be outside the judge's world beyond the baseline's own
_CHANCE = 0.05  # p of a share outside, above it the excess may be chance
MOTION = ("motion", "dynamic_degree")  # metrics of motion, the finer one first
USUAL_MOTION = 0.9  # share of the baseline's clips whose motion counts in full
MOST_OUTSIDE = 0.5  # from here on the judge says nothing of a set, whether the baseline is similar or unknown


def guards(candidate: Scores, baseline: Scores | None, policy: Policy) -> tuple[Guard, ...]:
    """The guards that the scores allow; frozen clips need a metric that decodes frames, motion one of `MOTION`. Their
    outcomes are those of single tests, see `with_outcomes`."""
    primary = [rule.metric for rule in policy.primary]
    found = [
        lost_clips(candidate, baseline, primary, policy.max_lost),
        frozen_clips(candidate, baseline, policy.max_frozen),
        motion(candidate, baseline, policy.min_motion),
        copies(candidate, baseline),
        outside(candidate, baseline),
    ]
    return with_outcomes([guard for guard in found if guard is not None], (), policy.alpha)


def with_outcomes(found: Iterable[Guard], ps: Sequence[float], alpha: float) -> tuple[Guard, ...]:
    """The guards with the outcomes that Holm's correction gives them among each other and `ps` of the metrics: a share
    beyond its limit that may be chance is inconclusive."""
    guards = tuple(found)
    own = [guard.p for guard in guards if guard.p is not None]
    adjusted = iter(holm([*own, *ps])[: len(own)])
    return tuple(guard if guard.p is None else _with_outcome(guard, next(adjusted), alpha) for guard in guards)


def _with_outcome(guard: Guard, p: float, alpha: float) -> Guard:
    if guard.outcome == "pass":
        return replace(guard, p_adjusted=p)
    chance = f"; this may be chance (p = {p:.2g} after Holm)"
    message = guard.message.split("; this may be chance")[0]
    if p < alpha:
        return replace(guard, outcome="fail", p_adjusted=p, message=message)
    return replace(guard, outcome="inconclusive", p_adjusted=p, message=message + chance)


def lost_clips(candidate: Scores, baseline: Scores | None, primary: Sequence[str], most: float) -> Guard:
    """Clips of the baseline that are missing, or have no value under a primary metric though the baseline's had one.

    Without a baseline, every clip that was expected and has none. A clip without a value because it is frozen is
    counted by `frozen_clips`.
    """
    ours = candidate.by_id
    expected = list(ours) if baseline is None else [clip.id for clip in baseline.clips]
    why: dict[str, str] = {id: "missing" for id in expected if id not in ours}
    broken = set() if baseline is None else {clip.id for clip in baseline.clips if clip.status != "ok"}
    for id in expected:
        if id in ours and ours[id].status != "ok" and id not in broken:
            why.setdefault(id, f"unreadable ({(ours[id].error or {}).get('code', 'failed')})")
    for name in primary:
        result = candidate.by_name.get(name)
        if result is None:
            continue
        before = baseline.by_name.get(name) if baseline else None
        still = {item["id"] for item in result.items if item.get("frozen")}
        for id in _expected_ids(result, before) & set(expected) - set(_values(result)) - still:
            if id in ours and ours[id].frozen is not True:
                why.setdefault(id, f"no score by {name}")
    share = len(why) / len(expected) if expected else 0.0
    counts: dict[str, int] = defaultdict(int)
    for reason in why.values():
        counts[reason] += 1
    listed = "; ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    message = f"{len(why)} of {len(expected)} clips are missing or have no score, {_percent(most)} may"
    return Guard(
        name="lost clips", outcome=_outcome(share <= most), clips=tuple(sorted(why)),
        message=message + (f": {listed}" if listed else ""),
    )  # fmt: skip


def frozen_clips(candidate: Scores, baseline: Scores | None, most: float) -> Guard | None:
    """Frozen clips; None where no metric decoded frames."""
    flags, own = ({c.id: c.frozen for c in _clips(side) if c.frozen is not None} for side in (candidate, baseline))
    return _share_guard("frozen clips", "stand still", candidate, flags, own, most) if flags else None


def copies(candidate: Scores, baseline: Scores | None) -> Guard | None:
    """Clips whose bytes are those of another clip of the set; None where the bytes are not known."""
    flags, own = (_copy_flags(clip for clip in _clips(side) if clip.content) for side in (candidate, baseline))
    return _share_guard("copies", "are copies of another clip", candidate, flags, own, MAX_COPIES) if flags else None


def motion(candidate: Scores, baseline: Scores | None, least: float) -> Guard | None:
    """Clips that move less than `least` of what the baseline's move, on average: a still picture with a small part that
    moves is not frozen, and smoother than any clip that moves. None without a baseline or a metric of `MOTION`.

    No clip counts for more than the motion that `USUAL_MOTION` of the baseline's clips stay below: without that limit
    the few that move most would carry the mean, and what one that the sample lacks may gain would grow with the sample.
    """
    if baseline is None or least <= 0:
        return None
    for name in MOTION:
        ours, theirs = candidate.by_name.get(name), baseline.by_name.get(name)
        if ours is None or theirs is None:
            continue
        new, old = _values(ours), _values(theirs)
        shared = [clip for clip in candidate.clips if clip.id in new and clip.id in old]
        if not shared or not any(old[clip.id] for clip in shared):
            continue
        most = float(np.quantile([old[clip.id] for clip in shared], USUAL_MOTION)) or max(old.values())
        new, old = ({id: min(value, most) for id, value in each.items()} for each in (new, old))
        share = sum(new[clip.id] for clip in shared) / sum(old[clip.id] for clip in shared)
        spare = [new[clip.id] - least * old[clip.id] for clip in shared]
        sums = sums_of(spare, [clip.cluster for clip in shared])
        return Guard(
            name="motion", outcome=_outcome(share >= least), p=_p(sums, most, 0.0),
            message=f"clips have {_percent(share)} of the baseline's {name}, at least {_percent(least)} is expected",
            clips=tuple(sorted(clip.id for clip in shared if new[clip.id] < least * old[clip.id])) if share < least
            else (),
        )  # fmt: skip
    return None


def outside(candidate: Scores, baseline: Scores | None) -> Guard | None:
    """Clips that the judge warned of as unlike those it was trained on, or may not be asked about (UNAUDITED); None
    where no judge is asked about clips."""
    judged = [result for result in candidate.results if "outside" in result.counts and result.n]
    if not judged:
        return None
    worst = max(judged, key=lambda result: result.counts["outside"] / result.n)
    before = baseline.by_name.get(worst.name) if baseline else None
    own = (before.counts.get("outside", 0), before.n) if before is not None else (0, 0)
    counts = _Counts(worst.counts["outside"], worst.n, *own)
    name = "outside the judge's world"
    what = f"are unlike what the judge of {worst.name} was trained on, or to show what it cannot be asked (UNAUDITED)"
    message = f"{counts.found} of {counts.num} clips {what}"
    if counts.share > MOST_OUTSIDE and (not counts.num_before or counts.own > MOST_OUTSIDE):
        message += ": its answers mean nothing here; name a judge that knows such clips (judge=v2t:MODEL)"
        return Guard(name=name, outcome="fail", message=message)
    if not counts.num_before:  # some of any set are: without a baseline the usual share is unknown
        return Guard(name=name, outcome="pass", message=message)
    message += f", {_percent(MAX_OUTSIDE)} may beyond the baseline's {_percent(counts.own)}"
    p, is_fine = counts.p(), counts.share - counts.own <= MAX_OUTSIDE
    if not is_fine and p >= _CHANCE:  # other seeds give other clips, and some of any set are
        is_fine, message = True, f"{message}; this may be chance (p = {p:.2g})"
    return Guard(name=name, outcome=_outcome(is_fine), message=message, p=p)


class _Counts(NamedTuple):
    """How many of the candidate's clips, and how many of the baseline's."""

    found: int
    num: int
    before: int
    num_before: int

    @property
    def share(self) -> float:
        return self.found / self.num

    @property
    def own(self) -> float:
        """The baseline's share."""
        return self.before / self.num_before if self.num_before else 0.0

    def p(self) -> float:
        """Of so many or more if the baseline's clips were no better (Fisher's exact test)."""
        from scipy.stats import fisher_exact  # type: ignore[import-untyped]

        table = [[self.found, self.num - self.found], [self.before, self.num_before - self.before]]
        return float(fisher_exact(table, alternative="greater").pvalue)


def _share_guard(
    name: str, what: str, candidate: Scores, flags: Mapping[str, bool], own: Mapping[str, bool], most: float
) -> Guard:
    """A guard over the share of flagged clips by which the candidate exceeds the baseline, tested over prompts: paired
    by clip where both sides know a clip."""
    found, before = sum(flags.values()), fmean(own.values()) if own else 0.0
    message = f"{found} of {len(flags)} clips {what}, {_percent(most)} may"
    if before:
        message += f" beyond the baseline's {_percent(before)}"
    clusters = {clip.id: clip.cluster for clip in candidate.clips}
    named, usual = [clusters[id] for id in flags], [float(own.get(id, before)) for id in flags]
    shares = sums_of(usual, named)
    gain = float((shares[:, 0] / shares[:, 1]).max())  # of a prompt that the sample lacks: as of one that it has
    p = _p(sums_of([one - flag for one, flag in zip(usual, flags.values(), strict=True)], named), gain, most)
    new = sorted(id for id, flag in flags.items() if flag and not own.get(id))
    return Guard(
        name=name, outcome=_outcome(found / len(flags) - before <= most), message=message, clips=tuple(new), p=p
    )


def _p(sums: np.ndarray, span: float, accepted: float) -> float:
    """One-sided p of "not below -accepted" for one set of clusters, see `p_values`."""
    return float(p_values(sums[None], span, accepted)[0])


def _clips(scores: Scores | None) -> list[Scored]:
    return [] if scores is None else scores.clips


def _copy_flags(clips: Iterable[Scored]) -> dict[str, bool]:
    """Whether an earlier clip has the same bytes, by id."""
    seen: set[str | None] = set()
    found = {}
    for clip in sorted(clips, key=lambda clip: clip.id):
        found[clip.id] = clip.content in seen
        seen.add(clip.content)
    return found


def _expected_ids(result: MetricResult, before: MetricResult | None) -> set[str]:
    """Ids that should have a value: those with one in the baseline, or all that were tried."""
    if before is not None:
        return set(_values(before))
    if not _values(result) and result.figures:  # one value of the whole set
        return {failure["id"] for failure in result.failures}
    return {item["id"] for item in result.items} | {failure["id"] for failure in result.failures}


def _values(result: MetricResult) -> dict[str, float]:
    return {item["id"]: item["value"] for item in result.items if item.get("value") is not None}


def _outcome(is_fine: bool) -> Outcome:
    return "pass" if is_fine else "fail"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
