"""Guards: checks of the set of clips that no metric can outweigh.

In: the scores of a candidate, those of a baseline where there is one, a policy. Out: a `GuardCheck` each, numbers only,
for clips that are lost, frozen, much less in motion than the baseline's, copies of each other, and outside the judge's
world. The baseline's own share counts against no candidate: each limit is on the excess over it. Lost clips are a fact
of the set. The others are samples of what the generator does: each has a p-value over prompts, and a share in alpha by
Holm's correction together with the primary metrics (`v2t_eval.gate.decide`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Literal

import numpy as np

from v2t_eval.core.bounds import cluster_sums, p_values
from v2t_eval.core.metric import MetricResult
from v2t_eval.core.scores import ItemScores, Scores
from v2t_eval.gate.policy import Policy

MAX_COPIES = 0.05  # share of clips that may be byte for byte copies of another one
MAX_OUTSIDE = 0.05  # share of clips that may be outside the judge's world beyond the baseline's own
_CHANCE = 0.05  # p of a share outside, above it the excess may be chance
MOTION = ("motion", "dynamic_degree")  # metrics of motion, the finer one first
USUAL_MOTION = 0.9  # share of the baseline's clips whose motion counts in full
MOST_OUTSIDE = 0.5  # from here on the judge says nothing of a set, whether the baseline is similar or unknown


@dataclass(frozen=True, kw_only=True)
class GuardCheck:
    """The numbers of one guard.

    Attributes:
        is_within: the limit is kept, or what exceeds it may be chance by this test alone (`chance`, its p).
        p: of the candidate being within its limit; None where it is no test.
        clips: ids of those that count against it and not against the baseline.
        count, num: clips that do, of so many; `own`: the baseline's share, None where it is not known or has no part.
        limit: the share that may; `share`: of motion, the candidate's in the baseline's.
        metric: by which motion, or the judge's world, was measured.
        causes: of lost clips, how many by kind (MISSING, UNREADABLE, NO_SCORE) and error code or metric.
    """

    name: Literal["lost clips", "frozen clips", "motion", "copies", "outside the judge's world"]
    is_within: bool
    limit: float
    p: float | None = None
    clips: tuple[str, ...] = ()
    count: int = 0
    num: int = 0
    own: float | None = None
    share: float = 0.0
    chance: float | None = None
    metric: str = ""
    causes: Mapping[tuple[str, str], int] | None = None


def guard_checks(candidate: Scores, baseline: Scores | None, policy: Policy) -> list[GuardCheck]:
    """The guards that the scores allow; frozen clips need a metric that decodes frames, motion one of `MOTION`."""
    primary = [rule.metric for rule in policy.primary]
    checks = [
        lost_clips(candidate, baseline, primary, policy.max_lost),
        frozen_clips(candidate, baseline, policy.max_frozen),
        motion(candidate, baseline, policy.min_motion),
        copies(candidate, baseline),
        outside(candidate, baseline),
    ]
    return [check for check in checks if check is not None]


def lost_clips(candidate: Scores, baseline: Scores | None, primary: Sequence[str], most: float) -> GuardCheck:
    """Clips of the baseline that are missing, or have no value under a primary metric though the baseline's had one.

    Without a baseline, every clip that was expected and has none. A clip without a value because it is frozen is
    counted by `frozen_clips`.
    """
    ours = candidate.by_id
    expected = list(ours) if baseline is None else [clip.id for clip in baseline.clips]
    why = {id: ("MISSING", "") for id in expected if id not in ours}
    broken = set() if baseline is None else {clip.id for clip in baseline.clips if clip.status != "ok"}
    for id in expected:
        if id in ours and ours[id].status != "ok" and id not in broken:
            why.setdefault(id, ("UNREADABLE", (ours[id].error or {}).get("code", "failed")))
    for name in primary:
        result = candidate.by_name.get(name)
        if result is None:
            continue
        before = baseline.by_name.get(name) if baseline else None
        still = {item["id"] for item in result.items if item.get("frozen")}
        for id in _expected_ids(result, before) & set(expected) - set(_values(result)) - still:
            if id in ours and ours[id].frozen is not True:
                why.setdefault(id, ("NO_SCORE", name))
    share = len(why) / len(expected) if expected else 0.0
    return GuardCheck(name="lost clips", is_within=share <= most, limit=most, clips=tuple(sorted(why)), count=len(why),
                      num=len(expected), causes=Counter(why.values()))  # fmt: skip


def frozen_clips(candidate: Scores, baseline: Scores | None, most: float) -> GuardCheck | None:
    """Frozen clips; None where no metric decoded frames."""
    flags, own = ({c.id: c.frozen for c in _clips(side) if c.frozen is not None} for side in (candidate, baseline))
    return _share_check("frozen clips", candidate, flags, own, most) if flags else None


def copies(candidate: Scores, baseline: Scores | None) -> GuardCheck | None:
    """Clips whose bytes are those of another clip of the set; None where the bytes are not known."""
    flags, own = (_copy_flags(clip for clip in _clips(side) if clip.content) for side in (candidate, baseline))
    return _share_check("copies", candidate, flags, own, MAX_COPIES) if flags else None


def motion(candidate: Scores, baseline: Scores | None, least: float) -> GuardCheck | None:
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
        sums = cluster_sums(spare, [clip.cluster for clip in shared])
        slower = sorted(clip.id for clip in shared if new[clip.id] < least * old[clip.id])
        return GuardCheck(name="motion", is_within=share >= least, limit=least, p=_p(sums, most, 0.0), share=share,
                          metric=name, clips=tuple(slower) if share < least else ())  # fmt: skip
    return None


def outside(candidate: Scores, baseline: Scores | None) -> GuardCheck | None:
    """Clips that the judge warned of as unlike those it was trained on, or may not be asked about (UNAUDITED); None
    where no judge is asked about clips."""
    judged = [result for result in candidate.results if "outside" in result.counts and result.n]
    if not judged:
        return None
    worst = max(judged, key=lambda result: result.counts["outside"] / result.n)
    before = baseline.by_name.get(worst.name) if baseline else None
    count, num, metric = worst.counts["outside"], worst.n, worst.name
    own_count, own_num = (before.counts.get("outside", 0), before.n) if before is not None else (0, 0)
    own = own_count / own_num if own_num else None
    check = partial(GuardCheck, name="outside the judge's world", count=count, num=num, metric=metric)
    if count / num > MOST_OUTSIDE and (own is None or own > MOST_OUTSIDE):
        return check(is_within=False, limit=MOST_OUTSIDE)
    if own is None:  # some of any set are: without a baseline the usual share is unknown
        return check(is_within=True, limit=MOST_OUTSIDE)
    p = _excess_p((count, num), (own_count, own_num))
    is_within = count / num - own <= MAX_OUTSIDE
    chance = p if not is_within and p >= _CHANCE else None  # other seeds give other clips, and some of any set are
    return check(is_within=is_within or chance is not None, limit=MAX_OUTSIDE, p=p, own=own, chance=chance)


def _excess_p(counts: tuple[int, int], before: tuple[int, int]) -> float:
    """P of so many, of so many clips, or more if the baseline's clips were no better (Fisher's exact test)."""
    from scipy.stats import fisher_exact  # type: ignore[import-untyped]

    table = [[count, num - count] for count, num in (counts, before)]
    return float(fisher_exact(table, alternative="greater").pvalue)


def _share_check(
    name: Literal["frozen clips", "copies"],
    candidate: Scores,
    flags: Mapping[str, bool],
    own: Mapping[str, bool],
    most: float,
) -> GuardCheck:
    """The share of flagged clips by which the candidate exceeds the baseline, tested over prompts: paired by clip where
    both sides know a clip."""
    count, before = sum(flags.values()), fmean(own.values()) if own else 0.0
    clusters = {clip.id: clip.cluster for clip in candidate.clips}
    named, usual = [clusters[id] for id in flags], [float(own.get(id, before)) for id in flags]
    shares = cluster_sums(usual, named)
    gain = float((shares[:, 0] / shares[:, 1]).max())  # of a prompt that the sample lacks: as of one that it has
    excess = cluster_sums([one - flag for one, flag in zip(usual, flags.values(), strict=True)], named)
    new = sorted(id for id, flag in flags.items() if flag and not own.get(id))
    return GuardCheck(name=name, is_within=count / len(flags) - before <= most, limit=most, p=_p(excess, gain, most),
                      clips=tuple(new), count=count, num=len(flags), own=before or None)  # fmt: skip


def _p(sums: np.ndarray, span: float, accepted: float) -> float:
    """One-sided p of "not below -accepted" for one set of clusters, see `p_values`."""
    return float(p_values(sums[None], span, accepted)[0])


def _clips(scores: Scores | None) -> list[ItemScores]:
    return [] if scores is None else scores.clips


def _copy_flags(clips: Iterable[ItemScores]) -> dict[str, bool]:
    """Whether an earlier clip has the same bytes, by id."""
    seen: set[str | None] = set()
    flags = {}
    for clip in sorted(clips, key=lambda clip: clip.id):
        flags[clip.id] = clip.content in seen
        seen.add(clip.content)
    return flags


def _expected_ids(result: MetricResult, before: MetricResult | None) -> set[str]:
    """Ids that should have a value: those with one in the baseline, or all that were tried."""
    if before is not None:
        return set(_values(before))
    if not _values(result) and result.figures:  # one value of the whole set
        return {failure["id"] for failure in result.failures}
    return {item["id"] for item in result.items} | {failure["id"] for failure in result.failures}


def _values(result: MetricResult) -> dict[str, float]:
    return {item["id"]: item["value"] for item in result.items if item.get("value") is not None}
