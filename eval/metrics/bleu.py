"""BLEU-1 to BLEU-4 of a set of captions, with pycocoevalcap's constants.

In: tokens of captions and references. Out: matches and lengths of each sample, and from their sums over the set
BLEU-k = (p_1 ... p_k)^(1/k) * min(1, exp(1 - 1/ratio)), p_n = (matches + 1e-15) / (n-grams + 1e-9), ratio of lengths
likewise (Papineni et al. 2002). The reference length of a caption is that of the reference closest in length, the
shorter one of two. Not sacrebleu: other tokens, no smoothing, 0 to 1. The score of a set is no mean of scores: its
interval draws samples and recomputes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import Summary, figure_of_sums
from v2t_eval.text.captions import CaptionMetric, Tokens
from v2t_eval.text.ngrams import MAX_N, clipped_matches

_TINY, _SMALL = 1e-15, 1e-9


def bleu(sums: np.ndarray) -> np.ndarray:
    """BLEU-1 to BLEU-4, float (R, 4), from sums (R, 10): matches and n-grams of each length, both lengths in words."""
    sums = np.atleast_2d(np.asarray(sums, dtype=np.float64))
    matches, grams, words, reference_words = sums[:, :4], sums[:, 4:8], sums[:, 8:9], sums[:, 9:]
    precision = np.cumprod((matches + _TINY) / (grams + _SMALL), axis=1)  # (R, 4)
    ratio = (words + _TINY) / (reference_words + _SMALL)  # (R, 1)
    short = np.exp(np.minimum(0.0, 1 - 1 / ratio))
    return precision ** (1 / np.arange(1, MAX_N + 1)) * short


class Metric(CaptionMetric):
    name = "bleu"
    reduction = "set"
    misses = "paraphrase and synonyms; what no reference says; the value of one caption is nearly always close to 0"

    def count(self, tokens: Tokens) -> Evidence:
        words = tokens.caption.split()
        references = [reference.split() for reference in tokens.references]
        length = len(words)
        closest = min((abs(len(reference) - length), len(reference)) for reference in references)[1]
        grams = [max(0, length - n) for n in range(MAX_N)]
        return {"sums": np.array([*clipped_matches(words, references), *grams, length, closest], dtype=np.float64)}

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        complete, tokenized = self.complete_rows(rows)
        sums = np.stack([evidence["sums"] for evidence in complete])  # (n, 10)
        figures = {
            f"bleu_{n + 1}": figure_of_sums(rows, sums, lambda parts, n=n: bleu(parts)[:, n])  # type: ignore[misc]
            for n in range(MAX_N)
        }
        items: list[dict[str, Any]] = [
            {"id": row.id, "value": own[3], "bleu_1": own[0], "bleu_2": own[1], "bleu_3": own[2]}
            for row, own in zip(rows, bleu(sums).tolist(), strict=True)
        ]
        return Summary(headline="bleu_4", figures=figures, items=items, **tokenized.as_arguments())
