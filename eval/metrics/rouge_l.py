"""ROUGE-L as pycocoevalcap computes it.

In: tokens of captions and references. Out: F = (1 + b^2) P R / (R + b^2 P), b = 1.2, with P = max over references of
LCS / words of the caption and R = max over references of LCS / words of that reference, the two maxima taken apart
(Lin 2004; Vedantam's version for captions); LCS is the longest common subsequence. The score of a set is the mean. Not
rouge_score's or torchmetrics' ROUGE-L, which weigh P and R equally and have other tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import Summary, items_of
from v2t_eval.text.captions import CaptionMetric, Tokens
from v2t_eval.text.ngrams import common_subsequence

_WEIGHT = 1.2**2


class Metric(CaptionMetric):
    name = "rouge_l"
    misses = "paraphrase and synonyms; what no reference says; words in another order count as missing"

    def count(self, tokens: Tokens) -> Evidence:
        # A text without tokens counts as one empty word, as in pycocoevalcap: two empty texts agree.
        words = tokens.caption.split(" ")
        references = [reference.split(" ") for reference in tokens.references]
        common = common_subsequence(words, references)
        precision = max(common) / len(words)
        recall = max(length / len(reference) for length, reference in zip(common, references, strict=True))
        if not precision or not recall:
            return {"value": 0.0}
        return {"value": (1 + _WEIGHT) * precision * recall / (recall + _WEIGHT * precision)}

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        complete, tokenized = self.complete_rows(rows)
        rows = [replace(row, evidence=own) for row, own in zip(rows, complete, strict=True)]
        figures = {"rouge_l": self.mean(rows)}
        return Summary(headline="rouge_l", figures=figures, items=items_of(rows), **tokenized.as_arguments())
