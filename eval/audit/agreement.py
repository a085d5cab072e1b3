"""Agreement of a judge's answers with the truth: pure functions of claims.

In: claims, each true or false, with the chance a judge gave it. Out: `Agreement`: Cohen's kappa (1960), AUROC, bias to
yes, expected calibration error (Naeini et al. 2015, over bins of equal number), each with a 95 % interval over clips:
by the jackknife; that of kappa by Wilson's interval of the share of claims that agree, with the design effect of clips,
since the jackknife knows nothing of errors that few clips may hide (`scripts/measure_offered.py`). Letters: n claims, G
clips, B bins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cineloop.intervals import Interval, wilson
from v2t_eval.audit.record import Agreement, ByAnswer
from v2t_eval.core.statistics import auroc, estimate_of_sums, number_clusters, sum_by_cluster, weighted_shares

ALL = "all"
NUM_BINS = 10


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim about one clip: its kind of fact, whether it is true, the chance the judge gave it, whether it
    answered yes, and the answer that is claimed, "" without a closed list."""

    clip: str
    kind: str
    true: bool
    chance: float
    yes: bool
    answer: str = ""


def by_luck(num: float, yes: float, true: float) -> float:
    """Share of `num` claims that agree by luck, where `yes` are answered yes and `true` are true."""
    return (yes * true + (num - yes) * (num - true)) / num**2


def of_claims(kind: str, claims: Sequence[Claim], *, unanswered: int = 0, unread: int = 0, facts: int = 0) -> Agreement:
    """The agreement over claims. Where none is true or none is false kappa is undefined, and AUROC one half, from 0 to
    1.

    Raises:
        ValueError: no claim.
    """
    if not claims:
        raise ValueError("agreement needs at least one claim")
    true, chance = (np.array([getattr(c, key) for c in claims], float) for key in ("true", "chance"))
    counts, at, err = _counts(claims)
    num_clips = len(counts)
    same, same_ends = agreement_of(claims)
    bias, bias_ends = estimate_of_sums(counts, lambda sums: (sums[:, 1] - sums[:, 2]) / sums[:, 0], (-1.0, 1.0))
    is_true = true > 0.5
    area, area_ends = 0.5, Interval(0.0, 1.0)
    if is_true.any() and not is_true.all():
        area, area_ends = auroc(chance[is_true], chance[~is_true], at[is_true], at[~is_true], num_clips)
    gaps = np.concatenate([_gaps(chance, true, at, num_clips), counts[:, :1]], 1)  # (G, B + 1)
    off, off_ends = estimate_of_sums(gaps, lambda sums: np.abs(sums[:, :-1]).sum(1) / sums[:, -1])
    if area == 1.0:
        area_ends = Interval(min(area_ends.low, wilson(num_clips, num_clips).low), 1.0)
    return Agreement(
        kind=kind,
        kappa=same,
        kappa_low=same_ends.low,
        kappa_high=same_ends.high,
        auroc=area,
        auroc_low=area_ends.low,
        auroc_high=area_ends.high,
        yes_bias=bias,
        yes_bias_low=min(bias_ends.low, -err) if err else bias_ends.low,
        yes_bias_high=max(bias_ends.high, err) if err else bias_ends.high,
        expected_calibration_error=off,
        expected_calibration_error_low=off_ends.low,
        expected_calibration_error_high=off_ends.high,
        n=len(claims),
        clips=num_clips,
        unanswered=unanswered,
        unread=unread,
        facts=facts,
        undefined="" if same is not None else f"no claim is {'false' if is_true.any() else 'true'}",
    )


def agreement_of(claims: Sequence[Claim]) -> tuple[float | None, Interval]:
    """Cohen's kappa over claims, and its interval: that of the share that agree, with agreement by luck as it is. None,
    from -1 to 1, where no claim is true or none is false.

    Raises:
        ValueError: no claim.
    """
    if not claims:
        raise ValueError("agreement needs at least one claim")
    num, yes, true = len(claims), sum(claim.yes for claim in claims), sum(claim.true for claim in claims)
    if true in (0, num):
        return None, Interval(-1.0, 1.0)
    luck = by_luck(num, yes, true)
    clips = [claim.clip for claim in claims]
    agree = np.array([[claim.yes == claim.true] for claim in claims], float)  # (n, 1)
    share, ends = weighted_shares(agree, np.ones_like(agree), (1.0,), clips)
    if len(set(clips)) == 1:
        ends = Interval(0.0, 1.0)
    value, low, high = ((each - luck) / (1 - luck) for each in (share, ends.low, ends.high))
    return value, Interval(max(-1.0, low), high)


def _counts(claims: Sequence[Claim]) -> tuple[np.ndarray, np.ndarray, float]:
    """Of each clip its claims, those answered yes, those that are true, those that are both (G, 4); the clip of each
    claim (n,); and where none is wrong, the share of errors that so few clips may hide."""
    at, num = number_clusters(claim.clip for claim in claims)
    yes, true = (np.array([getattr(claim, key) for claim in claims], float) for key in ("yes", "true"))
    counts = sum_by_cluster(np.stack([np.ones(len(claims)), yes, true, yes * true], 1), at, num)  # (G, 4)
    return counts, at, 1 - wilson(num, num).low if (yes == true).all() else 0.0


def by_answer(claims: Sequence[Claim], planted: Mapping[tuple[str, str], int]) -> tuple[ByAnswer, ...]:
    """The agreement answer by answer. `planted`: by kind of fact and answer, how many clips it is true of."""
    own: dict[tuple[str, str], list[Claim]] = {key: [] for key in planted}
    for claim in claims:
        if claim.answer:
            own.setdefault((claim.kind, claim.answer), []).append(claim)
    answers = []
    for (kind, answer), group in own.items():
        true = [claim for claim in group if claim.true]
        value, ends = agreement_of(group) if group else (None, Interval(-1.0, 1.0))
        answers.append(
            ByAnswer(
                kind=kind, answer=answer, planted=planted.get((kind, answer), 0), n=len(true), claims=len(group),
                right=sum(claim.yes for claim in true), kappa=value, kappa_low=ends.low, kappa_high=ends.high,
            )
        )  # fmt: skip
    return tuple(answers)


def by_kind(
    claims: Sequence[Claim],
    unanswered: Mapping[str, int] | None = None,
    unread: Mapping[str, int] | None = None,
    facts: Mapping[str, int] | None = None,
) -> tuple[Agreement, ...]:
    """The agreement over all claims, then that over each kind in the order in which the kinds come."""
    counts = {"unanswered": unanswered or {}, "unread": unread or {}, "facts": facts or {}}
    if not claims:
        return ()
    agreements = [of_claims(ALL, claims, **{name: sum(by.values()) for name, by in counts.items()})]
    for kind in dict.fromkeys(claim.kind for claim in claims):
        own = [claim for claim in claims if claim.kind == kind]
        agreements.append(of_claims(kind, own, **{name: by.get(kind, 0) for name, by in counts.items()}))
    return tuple(agreements)


def bins(chance: np.ndarray, num: int = NUM_BINS) -> np.ndarray:
    """The bin of each chance, (n,) from 0: at most `num` of about equal number; equal chances share one."""
    edges = np.unique(np.quantile(chance, np.arange(1, num) / num))
    return np.searchsorted(edges, chance, side="left")


def _gaps(chance: np.ndarray, true: np.ndarray, at: np.ndarray, num_clips: int) -> np.ndarray:
    """Per clip and bin the sum of chance minus truth, (G, B)."""
    gaps = np.zeros((num_clips, NUM_BINS))
    np.add.at(gaps, (at, bins(chance)), chance - true)
    return gaps
