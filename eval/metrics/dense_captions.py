"""Dense captions: events with times and words, against true ones: SODA_c, and captions scored where the times fit.

In: the events stated of a clip and the true ones. Out: SODA_c (Fujita et al. 2020, ECCV): of all ways to pair stated
with true events in order of time the one with the greatest sum of temporal IoU times similarity of words; over the
number of stated events it is precision, over that of true ones recall, both of the sums over all clips, and SODA_c is
their F1. In addition, as ActivityNet's evaluation (Krishna et al. 2017, arXiv:1705.00754): each stated caption with
every true one whose IoU reaches 0.3, 0.5, 0.7, 0.9 (with none of them: with a meaningless word), the pairs of a clip
scored together, the mean over clips and over the four. Similarity is METEOR where Java is available, else F1 of words:
the title names it where it is not METEOR. Mode `compat` is as the published programs compute: METEOR within SODA_c with
the true caption as the hypothesis, and CIDEr with the document frequencies of the pairs of one clip; mode `fixed` has
the stated caption as the hypothesis, and frequencies of all true events of the set. Letters: P stated events, G true
ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any, Literal

import numpy as np

from cineloop.errors import ItemError
from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import BaseMetric, Figure, Summary, figure_of_sums, mean_of
from v2t_eval.core.sample import Sample
from v2t_eval.metrics.cider import cider
from v2t_eval.metrics.spans import is_valid, tiou
from v2t_eval.text.captions import Tokens
from v2t_eval.text.java import jar_hash, java_missing, need_java
from v2t_eval.text.ngrams import MAX_N, Frequencies, ngrams, token_f1
from v2t_eval.text.ptb import read

THRESHOLDS = (0.3, 0.5, 0.7, 0.9)
NONSENSE = "qxzvkwj"  # what a caption is compared with where no true event fits its time
_METEOR = "meteor/meteor-1.5.jar"
_NAMES = {"meteor": "METEOR", "token_f1": "token F1"}
Pair = tuple[str, str]  # tokens of a hypothesis and of its reference


def best_in_order(values: np.ndarray) -> float:
    """Greatest sum of values of pairs, each row and column in one pair at most, that do not cross. `values`: >= 0, (P,
    G).
    """
    before = np.zeros(values.shape[1] + 1)  # best with the rows so far and the first so many columns
    for row in values:
        both = before[:-1] + row  # this row with each column
        before = np.concatenate([[0.0], np.maximum.accumulate(np.maximum(before[1:], both))])
    return float(before[-1])


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`similarity`: of two captions; auto is METEOR where it can run. `mode`: see the module's head."""

    similarity: Literal["auto", "meteor", "token_f1"] = "auto"
    mode: Literal["compat", "fixed"] = "compat"


class Metric(BaseMetric):
    name = "dense_captions"
    level = "text"
    needs = ("events", "reference_events")
    uses = ("duration_s",)
    reduction = "set"
    detects = "when events happen, in which order, and in which words"
    misses = "paraphrase that METEOR does not know; an event stated twice; CIDEr and METEOR over IoU: the order"
    requires = "for METEOR a Java runtime and the package pycocoevalcap; without them F1 of words is taken"
    Settings = Settings

    @property
    def similarity(self) -> str:
        """Which one is taken: meteor or token_f1."""
        if self.settings.similarity == "auto":
            return "token_f1" if java_missing(_METEOR) else "meteor"
        return str(self.settings.similarity)

    @property
    def title(self) -> str:
        """The name, with the similarity where it is not METEOR and the mode where it is not compat."""
        own = [f"similarity={self.similarity}"] * (self.similarity != "meteor")
        own += [f"mode={self.settings.mode}"] * (self.settings.mode != "compat")
        return f"{self.name}[{','.join(own)}]" if own else self.name

    def prepare(self) -> None:
        if self.similarity == "meteor":
            need_java(_METEOR)

    def describe(self) -> dict[str, str]:
        jar = {"meteor": jar_hash(need_java(_METEOR))} if self.similarity == "meteor" else {}
        return {"similarity": self.similarity} | jar

    def measure(self, sample: Sample) -> Evidence:
        """IoU of every stated with every true event, `ious` (P, G), both in order of time, and their tokens.

        Raises:
            ItemError: BAD_ROW, an event lacks seconds or words; BAD_REFERENCE, no true event, or one without a span.
        """
        stated, true = (_events(sample, name) for name in self.needs)
        if not true or not all(is_valid(span) for span, _ in true):
            raise ItemError(f"{sample.id}: expected true events with start_s <= end_s", code="BAD_REFERENCE")
        valid = [is_valid(span, sample.get("duration_s")) for span, _ in stated]
        read_all = {text: read(text) for _, text in (*stated, *true)}
        return {
            "ious": [
                [tiou(span, other) if good else 0.0 for other, _ in true]
                for (span, _), good in zip(stated, valid, strict=True)
            ],
            "stated": [read_all[text][0] for _, text in stated],
            "true": [read_all[text][0] for _, text in true],
            "num_invalid": valid.count(False),
            "num_outside": sum(not exact for _, exact in read_all.values()),
        }

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        """Figures of the set; the headline is SODA_c."""
        clips = [_Clip(row.evidence) for row in rows]
        swapped = self.settings.mode == "compat"
        scorer = _scorer(self.similarity, [pair for clip in clips for pair in clip.all_pairs(swapped)])
        sums = np.array([
            (best_in_order(clip.ious * clip.similarities(scorer, swapped)), *clip.ious.shape) for clip in clips
        ])  # (n, 3): sum over pairs, P, G  # fmt: skip
        figures = {
            "SODA_c": _ratio(rows, sums, (0.5, 0.5)),
            "SODA_c precision": _ratio(rows, sums, (1, 0)),
            "SODA_c recall": _ratio(rows, sums, (0, 1)),
        }
        corpus = None if swapped else _corpus([clip.true for clip in clips])
        at: dict[str, dict[float, list[float]]] = {_NAMES[self.similarity]: {}, "CIDEr": {}}
        for least in THRESHOLDS:
            pairs = [clip.pairs(least) for clip in clips]
            at[_NAMES[self.similarity]][least] = [scorer.together(of_clip) if of_clip else 0.0 for of_clip in pairs]
            at["CIDEr"][least] = [_cider(of_clip, corpus) for of_clip in pairs]
        for name, by_threshold in at.items():
            over = np.mean(list(by_threshold.values()), axis=0)  # (n,)
            most = 10.0 if name == "CIDEr" else 1.0
            figures[f"{name} over tIoU"] = _mean(rows, over, most)
            figures |= {f"{name} tIoU>={least}": _mean(rows, by_threshold[least], most) for least in THRESHOLDS}
        missing = sum(not clip.stated for clip in clips)
        outside = sum(row.evidence["num_outside"] for row in rows)
        notes = [f"words are compared by {_NAMES[self.similarity]}", "CIDEr is on its own scale, from 0 to 10"]
        if outside:
            notes.append(f"{outside} captions are outside the class for which our PTB tokenizer is exact")
        return Summary(
            headline="SODA_c",
            figures=figures,
            items=[
                {
                    "id": row.id,
                    "value": 2 * best / (num_stated + num_true),
                    "stated": int(num_stated),
                    "true": int(num_true),
                }
                for row, (best, num_stated, num_true) in zip(rows, sums.tolist(), strict=True)
            ],
            counts={"missing": missing, "invalid": sum(row.evidence["num_invalid"] for row in rows)},
            notes=tuple(notes),
        )


class _Clip:
    """One clip's evidence as arrays."""

    def __init__(self, evidence: Evidence) -> None:
        self.stated: list[str] = evidence["stated"]
        self.true: list[str] = evidence["true"]
        self.ious = np.asarray(evidence["ious"], dtype=np.float64).reshape(len(self.stated), len(self.true))  # (P, G)

    def pairs(self, least: float) -> list[Pair]:
        """Stated captions with the true ones that fit their time, or with nonsense."""
        matches = []
        for caption, row in zip(self.stated, self.ious, strict=True):
            fits = [(caption, self.true[number]) for number in np.flatnonzero(row >= least)]
            matches += fits or [(caption, NONSENSE)]
        return matches

    def all_pairs(self, swapped: bool) -> Iterable[Pair]:
        for caption, row in zip(self.stated, self.ious, strict=True):
            yield caption, NONSENSE
            for number in np.flatnonzero(row > 0):
                yield (self.true[number], caption) if swapped else (caption, self.true[number])
                yield caption, self.true[number]

    def similarities(self, scorer: _TokenF1 | _Meteor, swapped: bool) -> np.ndarray:
        """(P, G), 0 where the times do not touch."""
        values = np.zeros_like(self.ious)
        for p, g in np.argwhere(self.ious > 0):
            pair = (self.stated[p], self.true[g])
            values[p, g] = scorer.one(pair[::-1] if swapped else pair)
        return values


class _TokenF1:
    def one(self, pair: Pair) -> float:
        return token_f1(*pair)

    def together(self, pairs: Sequence[Pair]) -> float:
        return sum(map(self.one, pairs)) / len(pairs)


class _Meteor:
    """METEOR of all pairs, by one run of its program."""

    def __init__(self, pairs: Iterable[Pair]) -> None:
        from v2t_eval.metrics.meteor import meteor, statistics

        wanted = sorted(set(pairs))
        rows = statistics([Tokens(caption, (other,)) for caption, other in wanted])  # (n, 23)
        self._meteor, self._rows = meteor, dict(zip(wanted, rows, strict=True))
        self._ones = dict(zip(wanted, meteor(rows).tolist(), strict=True))

    def one(self, pair: Pair) -> float:
        return self._ones[pair]

    def together(self, pairs: Sequence[Pair]) -> float:
        return float(self._meteor(np.sum([self._rows[pair] for pair in pairs], axis=0))[0])


def _scorer(similarity: str, pairs: list[Pair]) -> _TokenF1 | _Meteor:
    return _Meteor(pairs) if similarity == "meteor" and pairs else _TokenF1()


def _cider(pairs: Sequence[Pair], corpus: Frequencies | None) -> float:
    return float(cider([Tokens(caption, (other,)) for caption, other in pairs], corpus).mean()) if pairs else 0.0


def _corpus(clips: Sequence[Sequence[str]]) -> Frequencies:
    """Document frequencies of all true events, each a document."""
    counts: Counter[tuple[str, ...]] = Counter()
    texts = [text.split() for clip in clips for text in clip]
    for words in texts:
        counts.update({gram for n in range(1, MAX_N + 1) for gram in ngrams(words, n)})
    return Frequencies(dict(counts), len(texts), len(texts), 0)


def _mean(rows: Sequence[Observation], values: Any, most: float) -> Figure:
    """Mean of values from 0 to `most`."""
    figure = mean_of(rows, [value / most for value in values])
    return Figure(value=figure.value * most, low=figure.low * most, high=figure.high * most, n=figure.n)


def _ratio(rows: Sequence[Observation], sums: np.ndarray, weights: tuple[float, float]) -> Figure:
    """The sum over pairs, over the numbers of stated and of true events by `weights`; (1/2, 1/2) gives F1."""

    def statistic(totals: np.ndarray) -> np.ndarray:
        events = totals[:, 1:] @ np.asarray(weights, dtype=float)  # (R,)
        return totals[:, 0] / np.where(events > 0, events, 1.0)

    return figure_of_sums(rows, sums, statistic)


def _events(sample: Sample, name: str) -> list[tuple[tuple[float, float], str]]:
    """Spans and words, by start."""
    given: Any = sample.require(name)
    try:
        events = [((float(one["start_s"]), float(one["end_s"])), one["caption"]) for one in given]
    except (TypeError, ValueError, KeyError) as error:
        raise ItemError(f"{sample.id}: {name} must be rows of start_s, end_s and caption", code="BAD_ROW") from error
    if not all(isinstance(text, str) for _, text in events):
        raise ItemError(f"{sample.id}: the caption of each of its {name} must be a text", code="BAD_ROW")
    return sorted(events, key=lambda event: (*(end if isfinite(end) else inf for end in event[0]), event[1]))
