"""A judged share with the judge's error taken out (Rogan and Gladen 1978), and its interval.

In: which answers of which clips the judge held true, and its error rates. Out: a `CorrectedShare`. With h = P(held true
| true) and a = P(held true | false), (yes - a) / (h - a) has the truth as its mean, whatever share is true. A clip's
value is a weighted sum of such terms, or of products of them where a question counts only if others are right too; the
mean of a product is the product of the truths where the errors in different facts of one clip are independent. The
interval puts two parts together by the square-root rule: the clips drawn, by `v2t_eval.core.statistics.mean_interval`
over prompts, and the audit's claims, by the share under every draw of the rates (Lang and Reiczigel 2014 do so for one
pair of rates and cases without clusters). Both ends and the share may leave [0, 1]; `clipped` cuts them.
Letters: M terms, P products, N clips, B draws.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean

import numpy as np

from cineloop.intervals import Interval, wilson
from v2t_eval.core.statistics import TAIL, mean_interval
from v2t_eval.correction.rates import ErrorRates

_AT_ONCE = 1 << 21  # terms in memory at a time


@dataclass(frozen=True, kw_only=True)
class Claims:
    """What a judge held true.

    Attributes:
        answer: (M,) which of the rates' answers a term claims; `yes`: (M,) whether the judge held it true.
        product: (M,) the number of its product, in ascending order.
        clip, weight: (P,) the clip of a product, and how much it adds to that clip's value; the weights of a clip sum
            to 1.
        clusters: N, of each clip.
    """

    answer: np.ndarray
    yes: np.ndarray
    product: np.ndarray
    clip: np.ndarray
    weight: np.ndarray
    clusters: Sequence[Hashable]

    @property
    def term_weights(self) -> np.ndarray | None:
        """(M,) how much each term adds to the mean over clips, where no product has two terms; else None."""
        if len(self.product) != len(self.clip):
            return None
        return np.asarray(self.weight / len(self.clusters))


@dataclass(frozen=True, kw_only=True)
class CorrectedShare:
    """A share and its interval of 95 %, not cut to [0, 1]; `values`: of each clip, whose mean it is; `depth`: of how
    many terms its longest product is."""

    value: float
    low: float
    high: float
    values: np.ndarray
    depth: int = 1

    @property
    def is_impossible(self) -> bool:
        """The whole interval is beyond 0 or 1: by these rates no share of true answers gives such answers."""
        return self.low > 1 or self.high < 0

    @property
    def clipped(self) -> tuple[float, float, float]:
        """Value, low and high within [0, 1]."""
        value, low, high = (min(max(each, 0.0), 1.0) for each in (self.value, self.low, self.high))
        return value, low, high


def corrected_share(claims: Claims, rates: ErrorRates) -> CorrectedShare:
    """The share; see the module's head. It needs rates that are not `weak`."""
    values = clip_values(claims, rates.hits, rates.alarms)  # (N,)
    value = fmean(values.tolist())
    drawn = np.quantile(_drawn_shares(claims, rates), (TAIL, 1 - TAIL))  # by the audit alone
    low, high = _of_clips(claims, rates, values)
    below = sqrt((value - low) ** 2 + max(0.0, value - float(drawn[0])) ** 2)
    above = sqrt((high - value) ** 2 + max(0.0, float(drawn[1]) - value) ** 2)
    return CorrectedShare(value=value, low=value - below, high=value + above, values=values,
                          depth=int(np.bincount(claims.product).max()))  # fmt: skip


def clip_values(claims: Claims, hits: np.ndarray, alarms: np.ndarray) -> np.ndarray:
    """The corrected value of each clip (N,), by rates (A,)."""
    at = claims.answer
    terms = (claims.yes - alarms[at]) / (hits[at] - alarms[at])  # (M,)
    if claims.term_weights is None:
        starts = np.searchsorted(claims.product, np.arange(len(claims.clip)))
        terms = np.multiply.reduceat(terms, starts)  # (P,)
    return np.bincount(claims.clip, terms * claims.weight, len(claims.clusters))


def _drawn_shares(claims: Claims, rates: ErrorRates) -> np.ndarray:
    """The share by each draw of the rates, (B,)."""
    weights, num = claims.term_weights, len(rates.keys)
    if weights is None:
        step = max(1, _AT_ONCE // max(len(claims.answer), 1))
        parts = [slice(start, start + step) for start in range(0, len(rates.drawn_hits), step)]
        return np.concatenate([_product_shares(claims, rates.drawn_hits[p], rates.drawn_alarms[p]) for p in parts])
    yes = np.bincount(claims.answer, weights * claims.yes, num)  # (A,)
    every = np.bincount(claims.answer, weights, num)  # (A,)
    contrast = rates.drawn_hits - rates.drawn_alarms
    shares: np.ndarray = ((yes - every * rates.drawn_alarms) / contrast).sum(1)
    return shares


def _product_shares(claims: Claims, hits: np.ndarray, alarms: np.ndarray) -> np.ndarray:
    """The share by each of some draws of the rates (b, A), (b,)."""
    at = claims.answer
    contrast = hits - alarms
    terms = claims.yes * (1 / contrast)[:, at] - (alarms / contrast)[:, at]  # (b, M)
    starts = np.searchsorted(claims.product, np.arange(len(claims.clip)))
    shares: np.ndarray = np.multiply.reduceat(terms, starts, axis=1) @ claims.weight / len(claims.clusters)
    return shares


def _of_clips(claims: Claims, rates: ErrorRates, values: np.ndarray) -> Interval:
    """The interval by the clips alone; where they do not differ, that of a share of so many clusters."""
    clusters, value = list(claims.clusters), float(values.mean())
    interval = mean_interval(values.tolist(), clusters)
    num = len(set(clusters))
    if num > 1 and interval.high - interval.low > 1e-9:
        return interval
    contrast = float((rates.hits - rates.alarms)[claims.answer].mean())
    ends = wilson(num * min(max(float(claims.yes.mean()), 0.0), 1.0), num)
    share = float(claims.yes.mean())
    return Interval(value - (share - ends.low) / contrast, value + (ends.high - share) / contrast)
