"""Guards: what no metric can outweigh.

In: the scores of a candidate, those of a baseline where there is one, a policy. Out: a `Guard` each for clips that are
lost, that stand still, that are copies of each other, and that lie outside the judge's world. What is so in the
baseline too is not held against the candidate: a share may exceed the baseline's own by so much, and where the baseline
has such clips it must exceed it by more than chance (Fisher's exact test, one-sided), since other seeds give others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from v2t_eval.gate.policy import Policy
from v2t_eval.gate.verdict import Guard, Outcome
from v2t_eval.metric import MetricResult
from v2t_eval.scores import Scored, Scores

MAX_COPIES = 0.05  # share of clips that may be the very bytes of another one
MAX_OUTSIDE = 0.05  # share of clips that may lie outside the judge's world beyond the baseline's own
MOST_OUTSIDE = 0.5  # from here on the judge says nothing of a set, be the baseline like it or unknown


def guards(candidate: Scores, baseline: Scores | None, policy: Policy) -> tuple[Guard, ...]:
    """The guards that can be told; without a metric that looks at frames nobody knows whether clips stand still."""
    primary = [rule.metric for rule in policy.primary]
    found = [
        lost(candidate, baseline, primary, policy.max_lost),
        frozen(candidate, baseline, policy.max_frozen, policy.alpha),
        copies(candidate, baseline, policy.alpha),
        outside(candidate, baseline, policy.alpha),
    ]
    return tuple(guard for guard in found if guard is not None)


def lost(candidate: Scores, baseline: Scores | None, primary: Sequence[str], most: float) -> Guard:
    """Clips of the baseline that are missing, or have no value under a primary metric though the baseline's had one.

    Without a baseline, every clip that was expected and has none. A clip without a value because it stands still is
    the business of `frozen`.
    """
    ours = {clip.id: clip for clip in candidate.clips}
    expected = list(ours) if baseline is None else [clip.id for clip in baseline.clips]
    why: dict[str, str] = {id: "missing" for id in expected if id not in ours}
    broken = set() if baseline is None else {clip.id for clip in baseline.clips if clip.status != "ok"}
    for id in expected:
        if id in ours and ours[id].status != "ok" and id not in broken:
            why.setdefault(id, f"unreadable ({(ours[id].error or {}).get('code', 'failed')})")
    for name in primary:
        result = _result(candidate, name)
        if result is None:
            continue
        before = None if baseline is None else _result(baseline, name)
        still = {item["id"] for item in result.items if item.get("frozen")}
        for id in _wanted(result, before) & set(expected) - set(_values(result)) - still:
            if id in ours and ours[id].frozen is not True:
                why.setdefault(id, f"no score by {name}")
    share = len(why) / len(expected) if expected else 0.0
    counts: dict[str, int] = defaultdict(int)
    for reason in why.values():
        counts[reason] += 1
    told = "; ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    message = f"{len(why)} of {len(expected)} clips are missing or have no score, {_percent(most)} may"
    return Guard(
        name="lost clips", outcome=_outcome(share <= most), clips=tuple(sorted(why)),
        message=message + (f": {told}" if told else ""),
    )  # fmt: skip


def frozen(candidate: Scores, baseline: Scores | None, most: float, alpha: float) -> Guard | None:
    """Clips that stand still; None where nobody looked."""
    known = [clip for clip in candidate.clips if clip.frozen is not None]
    if not known:
        return None
    ids = {clip.id for clip in known if clip.frozen}
    own = [clip for clip in baseline.clips if clip.frozen is not None] if baseline is not None else []
    before = {clip.id for clip in own if clip.frozen}
    counts = _Counts(len(ids), len(known), len(before), len(own))
    return _grown("frozen clips", "stand still", ids - before, counts, most, alpha)


def copies(candidate: Scores, baseline: Scores | None, alpha: float) -> Guard | None:
    """Clips whose bytes are those of another clip of the set; None where the bytes are not known."""
    known = [clip for clip in candidate.clips if clip.content]
    if not known:
        return None
    ids, own = _copied(known), [] if baseline is None else [clip for clip in baseline.clips if clip.content]
    before = _copied(own)
    counts = _Counts(len(ids), len(known), len(before), len(own))
    return _grown("copies", "are copies of another clip", ids - before, counts, MAX_COPIES, alpha)


def outside(candidate: Scores, baseline: Scores | None, alpha: float) -> Guard | None:
    """Clips that the judge warned of as unlike those it was trained on; None where no judge looks at clips."""
    told = [result for result in candidate.results if "outside" in result.counts and result.n]
    if not told:
        return None
    worst = max(told, key=lambda result: result.counts["outside"] / result.n)
    before = None if baseline is None else _result(baseline, worst.name)
    own = (before.counts.get("outside", 0), before.n) if before is not None else (0, 0)
    counts = _Counts(worst.counts["outside"], worst.n, *own)
    name, what = "outside the judge's world", f"are unlike what the judge of {worst.name} was trained on"
    if counts.share > MOST_OUTSIDE and (not counts.num_before or counts.own > MOST_OUTSIDE):
        message = (
            f"{counts.found} of {counts.num} clips {what}: its answers mean nothing here; name a judge that knows such "
            "clips (judge=v2t:MODEL)"
        )
        return Guard(name=name, outcome="fail", message=message)
    if not counts.num_before:  # some of any set are: what is usual here nobody knows yet
        return Guard(name=name, outcome="pass", message=f"{counts.found} of {counts.num} clips {what}")
    return _grown(name, what, set(), counts, MAX_OUTSIDE, alpha, always_by_chance=True)


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
        """Of so many or more if the baseline's clips were no better."""
        from scipy.stats import fisher_exact  # type: ignore[import-untyped]

        table = [[self.found, self.num - self.found], [self.before, self.num_before - self.before]]
        return float(fisher_exact(table, alternative="greater").pvalue)


def _grown(
    name: str, what: str, new: set[str], counts: _Counts, most: float, alpha: float, *, always_by_chance: bool = False
) -> Guard:
    """A guard over the share by which the candidate exceeds the baseline; `new` are the clips to name."""
    message = f"{counts.found} of {counts.num} clips {what}, {_percent(most)} may"
    if counts.before:
        message += f" beyond the baseline's {_percent(counts.own)}"
    too_many = counts.share - counts.own > most
    if too_many and (counts.before or always_by_chance) and (p := counts.p()) >= alpha:
        too_many, message = False, f"{message}; this may be chance (p = {p:.2g})"
    return Guard(name=name, outcome=_outcome(not too_many), message=message, clips=tuple(sorted(new)))


def _copied(clips: Iterable[Scored]) -> set[str]:
    """All but the first clip of each content."""
    seen: set[str] = set()
    found = set()
    for clip in sorted(clips, key=lambda clip: clip.id):
        if clip.content and clip.content in seen:
            found.add(clip.id)
        seen.add(clip.content or "")
    return found


def _wanted(result: MetricResult, before: MetricResult | None) -> set[str]:
    """Ids that ought to have a value: those the baseline has one of, or all that were tried."""
    if before is not None:
        return set(_values(before))
    if not _values(result) and result.figures:  # one value of the whole set
        return {failure["id"] for failure in result.failures}
    return {item["id"] for item in result.items} | {failure["id"] for failure in result.failures}


def _values(result: MetricResult) -> dict[str, float]:
    return {item["id"]: item["value"] for item in result.items if item.get("value") is not None}


def _result(scores: Scores, name: str) -> MetricResult | None:
    return next((result for result in scores.results if result.name == name), None)


def _outcome(is_fine: bool) -> Outcome:
    return "pass" if is_fine else "fail"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
