"""How far the answers of a judge agree with the truth: pure functions of claims.

In: claims, each true or false, with the chance a judge gave it. Out: `Agreement`: Cohen's kappa (1960), AUROC, bias to
yes, expected calibration error (Naeini et al. 2015, over bins of equal number), each with a 95 % interval by the
jackknife over clips. A judge without any error is no proof that it makes none: the ends then are those of Wilson's
interval for a share of that many clips. Letters: n claims, G clips, R sets of weights, B bins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from v2t_eval.audit.record import Agreement
from v2t_eval.stats import Interval, jackknife_interval, wilson

ALL = "all"
NUM_BINS = 10
_FLAT = 1e-12


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim about one clip: its kind of fact, whether it is true, the chance the judge gave it, and whether it took
    it for true."""

    clip: str
    kind: str
    true: bool
    chance: float
    yes: bool


def kappa(num: np.ndarray, yes: np.ndarray, true: np.ndarray, both: np.ndarray) -> np.ndarray:
    """Cohen's kappa of counts: claims, those said to be true, those that are, those that are both; (R,) each.

    0 where luck alone must agree: nothing but true claims and nothing but yes.
    """
    agree = (num - yes - true + 2 * both) / num
    luck = (yes * true + (num - yes) * (num - true)) / num**2
    return np.where(1 - luck > _FLAT, (agree - luck) / np.maximum(1 - luck, _FLAT), 0.0)


def of_claims(kind: str, claims: Sequence[Claim], *, unanswered: int = 0, unread: int = 0) -> Agreement:
    """The agreement over claims; AUROC is one half, from 0 to 1, where none is true or none is false.

    Raises:
        ValueError: no claim.
    """
    if not claims:
        raise ValueError("agreement needs at least one claim")
    where = {clip: number for number, clip in enumerate(dict.fromkeys(claim.clip for claim in claims))}
    at, num_clips = np.array([where[claim.clip] for claim in claims]), len(where)  # (n,)
    yes, true, chance = (np.array([getattr(c, key) for c in claims], float) for key in ("yes", "true", "chance"))
    counts = _by_clip(np.stack([np.ones(len(claims)), yes, true, yes * true], 1), at, num_clips)  # (G, 4)
    err = 1 - wilson(num_clips, num_clips).low if (yes == true).all() else 0.0  # what so few clips may hide

    same, same_ends = _value(counts, lambda sums: kappa(*sums.T), -1.0, 1.0)
    bias, bias_ends = _value(counts, lambda sums: (sums[:, 1] - sums[:, 2]) / sums[:, 0], -1.0, 1.0)
    area, area_ends = _area(chance, true > 0.5, at, num_clips)
    gaps = np.concatenate([_gaps(chance, true, at, num_clips), counts[:, :1]], 1)  # (G, B + 1)
    off, off_ends = _value(gaps, lambda sums: np.abs(sums[:, :-1]).sum(1) / sums[:, -1], 0.0, 1.0)
    if area == 1.0:
        area_ends = Interval(min(area_ends.low, wilson(num_clips, num_clips).low), 1.0)
    return Agreement(
        kind=kind,
        kappa=same,
        kappa_low=min(same_ends.low, 1 - 2 * err) if err else same_ends.low,
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
    )


def by_kind(
    claims: Sequence[Claim], unanswered: Mapping[str, int] | None = None, unread: Mapping[str, int] | None = None
) -> tuple[Agreement, ...]:
    """The agreement over all claims, then that over each kind in the order in which the kinds come."""
    lost, dark = unanswered or {}, unread or {}
    if not claims:
        return ()
    found = [of_claims(ALL, claims, unanswered=sum(lost.values()), unread=sum(dark.values()))]
    for kind in dict.fromkeys(claim.kind for claim in claims):
        own = [claim for claim in claims if claim.kind == kind]
        found.append(of_claims(kind, own, unanswered=lost.get(kind, 0), unread=dark.get(kind, 0)))
    return tuple(found)


def bins(chance: np.ndarray, num: int = NUM_BINS) -> np.ndarray:
    """The bin of each chance, (n,) from 0: at most `num` of about equal number; equal chances share one."""
    edges = np.unique(np.quantile(chance, np.arange(1, num) / num))
    return np.searchsorted(edges, chance, side="left")


def _gaps(chance: np.ndarray, true: np.ndarray, at: np.ndarray, num_clips: int) -> np.ndarray:
    """Per clip and bin the sum of chance minus truth, (G, B)."""
    found = np.zeros((num_clips, NUM_BINS))
    np.add.at(found, (at, bins(chance)), chance - true)
    return found


def _area(chance: np.ndarray, true: np.ndarray, at: np.ndarray, num_clips: int) -> tuple[float, Interval]:
    above, below = chance[true], chance[~true]
    if not above.size or not below.size:
        return 0.5, Interval(0.0, 1.0)
    # Pairs of claims that are won, ties one half, added up by the clips of the true and of the false one.
    won = (above[:, None] > below[None]) + 0.5 * (above[:, None] == below[None])  # (n true, n false)
    rows = _by_clip(won, at[true], num_clips)  # (G, n false)
    wins = _by_clip(rows.T, at[~true], num_clips).T  # (G, G)
    num_above, num_below = (_by_clip(np.ones((int(m.sum()), 1)), at[m], num_clips)[:, 0] for m in (true, ~true))

    def statistic(times: np.ndarray) -> np.ndarray:
        pairs = (times @ num_above) * (times @ num_below)
        right = np.einsum("ri,ij,rj->r", times, wins, times, optimize=True)
        return np.where(pairs > 0, right / np.maximum(pairs, 1.0), 0.5)

    return _value(np.eye(num_clips), statistic, 0.0, 1.0)


def _by_clip(rows: np.ndarray, at: np.ndarray, num_clips: int) -> np.ndarray:
    """Sums of the rows (n, k) of each clip: (G, k)."""
    found = np.zeros((num_clips, rows.shape[1]))
    np.add.at(found, at, rows)
    return found


def _value(
    sums: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], least: float, most: float
) -> tuple[float, Interval]:
    """A statistic of sums over clips (G, k), and its interval within `least` and `most`."""
    total = sums.sum(0)
    value = float(statistic(total[None])[0])
    if len(sums) == 1:
        return value, Interval(least, most)
    found = jackknife_interval(value, statistic(total - sums))
    return value, Interval(max(least, min(found.low, value)), min(most, max(found.high, value)))
