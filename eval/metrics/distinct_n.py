"""Distinct-n: how varied the captions of a set are, and how much they repeat.

In: captions. Out: distinct-1, -2 and -3, the number of different n-grams over the number of all of them in the whole
set (Li et al. 2016, arXiv:1510.03055). It falls as a set grows, so sets of different size are compared by the rarefied
form: the number of different n-grams to be expected among K drawn without replacement (Hurlbert 1971, Ecology 52:577),
over K. Repetition: `seq-rep-4`, the mean share of 4-grams of a caption that repeat one of the same caption (Welleck et
al. 2020, arXiv:1908.04319), and the share of captions that share a 4-gram with another caption. Words are runs of
letters, digits and apostrophes in lower case. Letters: N n-grams in all, U different ones, K drawn ones.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from math import exp, lgamma

import numpy as np

from cineloop.intervals import wilson
from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import BaseMetric, Figure, Summary, mean_of, share_of
from v2t_eval.core.sample import Sample
from v2t_eval.core.statistics import jackknife_interval
from v2t_eval.text.ngrams import ngrams

ORDERS = (1, 2, 3)
REPEATED = 4  # the n of the two measures of repetition
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return _WORD.findall(text.lower())


def distinct(frequencies: Counter[int]) -> float:
    """Different n-grams over all of them, in (0, 1]. `frequencies`: how many n-grams occur once, twice and so on.

    Raises:
        ValueError: there is none.
    """
    if not frequencies:
        raise ValueError("distinct-n needs at least one n-gram")
    return frequencies.total() / _total(frequencies)


def rarefied_share(frequencies: Counter[int], drawn: int) -> float:
    """Share of different n-grams to be expected among `drawn` of them, in (0, 1].

    Raises:
        ValueError: there are not so many, or fewer than one is to be drawn.
    """
    total = _total(frequencies)
    if not 1 <= drawn <= total:
        raise ValueError(f"{drawn} of {total} n-grams cannot be drawn")
    expected = 0.0
    for often, how_many in sorted(frequencies.items()):
        rest = total - often  # the others; with fewer than `drawn` of them this one is surely drawn
        missed = exp(_log_choose(rest, drawn) - _log_choose(total, drawn)) if rest >= drawn else 0.0
        expected += how_many * (1 - missed)
    return expected / drawn


def _total(frequencies: Counter[int]) -> int:
    return sum(often * how_many for often, how_many in frequencies.items())


def _log_choose(num: int, drawn: int) -> float:
    return lgamma(num + 1) - lgamma(drawn + 1) - lgamma(num - drawn + 1)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`drawn`: the K of the rarefied form, the same for sets that are to be compared."""

    drawn: int = 500

    def __post_init__(self) -> None:
        if self.drawn < 1:
            raise ValueError(f"drawn must be at least 1, got {self.drawn}")


class Metric(BaseMetric):
    name = "distinct_n"
    level = "set"
    needs = ("caption",)
    reduction = "set"
    detects = "captions that say the same in the same words, and a caption that repeats itself"
    misses = "whether a caption is true of its clip: varied nonsense scores best; languages written without spaces"
    Settings = Settings

    def measure(self, sample: Sample) -> Evidence:
        return {"words": words(sample.require("caption"))}

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        """Figures of the set, with intervals that leave one cluster out at a time; the headline is distinct-2.

        A bootstrap would not do: it draws captions twice, and a caption that comes twice is less varied.
        """
        texts = [row.evidence["words"] for row in rows]
        clusters = [row.cluster for row in rows]
        figures, notes = {}, []
        for order in ORDERS:
            grams = [list(ngrams(text, order)) for text in texts]
            counts = Counter(gram for text in grams for gram in text)
            if not counts:
                continue
            figures[f"distinct-{order}"] = _figure(counts, grams, clusters, None)
            if counts.total() < self.settings.drawn:
                notes.append(f"{counts.total()} {order}-grams: too few for {self.settings.drawn} to be drawn")
            else:
                figures[f"distinct-{order} among {self.settings.drawn}"] = _figure(
                    counts, grams, clusters, self.settings.drawn
                )
        long = [list(ngrams(text, REPEATED)) for text in texts]
        shared = _is_shared(long)
        figures["share a 4-gram with another"] = share_of(rows, shared)
        within = [1 - len(set(text)) / len(text) if text else 0.0 for text in long]
        repeats = [(row, share) for row, share, text in zip(rows, within, long, strict=True) if text]
        if repeats:
            figures["seq-rep-4"] = mean_of(*zip(*repeats, strict=True))
        items = [
            {"id": row.id, "value": None, "words": len(text), "seq-rep-4": share, "shares a 4-gram": bool(both)}
            for row, text, share, both in zip(rows, texts, within, shared, strict=True)
        ]
        return Summary(
            headline="distinct-2",
            figures=figures if "distinct-2" in figures else {},
            items=items,
            counts={"without words": sum(not text for text in texts)},
            notes=tuple(notes),
        )


def _figure(
    counts: Counter[tuple[str, ...]],
    grams: Sequence[list[tuple[str, ...]]],
    clusters: Sequence[Hashable],
    drawn: int | None,
) -> Figure:
    """A figure of the whole set, and its jackknife interval over clusters."""

    def value_of(kept: Counter[int]) -> float:
        return distinct(kept) if drawn is None else rarefied_share(kept, min(drawn, _total(kept)))

    of_cluster: dict[Hashable, Counter[tuple[str, ...]]] = {}
    for cluster, text in zip(clusters, grams, strict=True):
        of_cluster.setdefault(cluster, Counter()).update(text)
    frequencies = Counter(counts.values())
    left_out = []
    for own in of_cluster.values():
        kept = frequencies.copy()
        for gram, often in own.items():
            kept[counts[gram]] -= 1
            kept[counts[gram] - often] += 1
        kept = Counter({often: how_many for often, how_many in kept.items() if often and how_many})
        if kept:
            left_out.append(value_of(kept))
    value = value_of(frequencies)
    low, high = jackknife_interval(value, left_out) if len(left_out) > 1 else wilson(value, 1)
    return Figure(value=value, low=max(0.0, low), high=min(1.0, high), n=len(grams))


def _is_shared(grams: Iterable[list[tuple[str, ...]]]) -> np.ndarray:
    """Whether each caption has an n-gram that another caption has too: bool (n,)."""
    texts = [set(text) for text in grams]
    counts = Counter(gram for text in texts for gram in text)
    return np.array([any(counts[gram] > 1 for gram in text) for text in texts])
