"""SQuAD: does a short answer agree with one of several right ones, as a string and word by word.

In: an answer and its right answers. Out: exact match (EM) and F1 over words, the best over the right answers, as the
script of SQuAD 2.0 computes them (Rajpurkar et al. 2018, arXiv:1806.03822), on a scale of 0 to 1; and where four people
or more have answered, the accuracy of VQA (Antol et al. 2015, arXiv:1505.00468): the mean over all ways to leave one
of them out of min(number who agree / 3, 1). Its words are compared in SQuAD's spelling, not in VQA's.
"""

from __future__ import annotations

from collections.abc import Sequence

from cineloop.errors import ItemError
from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import BaseMetric, Summary, share_of
from v2t_eval.core.sample import Sample
from v2t_eval.judge.replies import normalise
from v2t_eval.text.ngrams import token_f1

MIN_PEOPLE = 4  # with fewer, no answer could reach a VQA accuracy of 1


def f1(answer: str, right: str) -> float:
    """F1 of two bags of words, in [0, 1]; where one is empty, whether both are."""
    return token_f1(normalise(answer), normalise(right))


def vqa_accuracy(answer: str, people: Sequence[str]) -> float:
    """Mean over the people left out of min(others who gave this answer / 3, 1).

    Raises:
        ValueError: fewer than two people.
    """
    if len(people) < 2:
        raise ValueError(f"leaving one out needs two people, got {len(people)}")
    agree = [normalise(one) == normalise(answer) for one in people]
    return sum(min(1.0, (sum(agree) - left_out) / 3) for left_out in agree) / len(people)


class Metric(BaseMetric):
    name = "squad"
    level = "text"
    needs = ("answer", "answers")
    detects = "the words of an answer, whatever their order, case, punctuation and articles"
    misses = "paraphrase (it scores 0), order of words (F1), and a 'not' among many right words"

    def measure(self, sample: Sample) -> Evidence:
        """EM and F1 of the answer; "vqa" is None for fewer than `MIN_PEOPLE` right answers.

        An empty list of right answers stands for a question that has none, to which only an empty answer is right.

        Raises:
            ItemError: BAD_ROW, the answer is not a text or the right answers are not a list of texts.
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
            "vqa": vqa_accuracy(answer, right) if len(right) >= MIN_PEOPLE else None,
        }

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        """Means over the answers; the headline is F1."""
        exact = share_of(rows, [row.evidence["exact"] for row in rows])
        figures = {"f1": self.mean(rows, "f1"), "exact match": exact}
        by_people = [row for row in rows if row.evidence["vqa"] is not None]
        if by_people:
            figures["VQA accuracy"] = self.mean(by_people, "vqa")
        items = [{"id": row.id, "value": row.evidence["f1"], **row.evidence} for row in rows]
        notes = ("VQA accuracy compares answers in SQuAD's spelling, not in VQA's",) if by_people else ()
        return Summary(headline="f1", figures=figures, items=items, notes=notes)
