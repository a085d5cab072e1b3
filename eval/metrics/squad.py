"""SQuAD: does a short answer agree with one of several right ones, as a string and word by word.

In: an answer and its right answers. Out: exact match (EM) and F1 over words, the best over the right answers, as the
script of SQuAD 2.0 computes them (Rajpurkar et al. 2018, arXiv:1806.03822), on a scale of 0 to 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from cineloop.errors import ItemError
from v2t_eval.judge.replies import normalise
from v2t_eval.metric import BaseMetric, Evidence, Measured, Summary, share_of
from v2t_eval.sample import Sample


def f1(answer: str, right: str) -> float:
    """F1 of two bags of words, in [0, 1]; where one is empty, whether both are."""
    given, true = normalise(answer).split(), normalise(right).split()
    if not given or not true:
        return float(given == true)
    shared = sum((Counter(given) & Counter(true)).values())
    return 2 * shared / (len(given) + len(true))


class Metric(BaseMetric):
    name = "squad"
    level = "text"
    needs = ("answer", "answers")
    detects = "the words of an answer, whatever their order, case, punctuation and articles"
    misses = "paraphrase (it scores 0), order of words (F1), and a 'not' among many right words"

    def measure(self, sample: Sample) -> Evidence:
        """EM and F1 of the answer.

        An empty list of right answers stands for a question that has none, to which only an empty answer is right.
        """
        answer, right = sample.require("answer"), sample.require("answers")
        if not isinstance(answer, str) or not isinstance(right, Sequence) or isinstance(right, str):
            raise ItemError(f"{sample.id}: expected a text answer and a list of answers", code="BAD_ROW")
        if not all(isinstance(one, str) for one in right):
            raise ItemError(f"{sample.id}: answers must be texts, got {right!r}", code="BAD_ROW")
        wordy = [one for one in right if normalise(one)] or [""]
        return {
            "exact": max(float(normalise(answer) == normalise(one)) for one in wordy),
            "f1": max(f1(answer, one) for one in wordy),
        }

    def summarise(self, rows: Sequence[Measured], references: Sequence[Measured]) -> Summary:
        """Means over the answers; the headline is F1."""
        exact = share_of(rows, [row.evidence["exact"] for row in rows])
        figures = {"f1": self.mean(rows, "f1"), "exact match": exact}
        items = [{"id": row.id, "value": row.evidence["f1"], **row.evidence} for row in rows]
        return Summary(headline="f1", figures=figures, items=items)
