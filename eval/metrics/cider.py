"""CIDEr-D as pycocoevalcap computes it under the name of CIDEr.

In: tokens of captions and references. Out: for each clip 10 times the mean over n = 1..4 and over references of
exp(-(l_c - l_r)^2 / 72) * sum_g min(v_c, v_r) v_r / (|v_c| |v_r|), where v(g) = times * ln(N / max(1, df)) of an n-gram
g, df counts the clips with g in some reference, N counts clips, and a length l is the number of bigrams (Vedantam et
al. 2015; no stemming). The score of a set is the mean. df and N are of the scored set, so that scores of different sets
cannot be compared, unless `corpus` names a file of captions to take them from. All clips are weighed at once.
Letters: E entries (an n-gram in a text), T texts, n length of an n-gram.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from v2t_eval.core.measurement import Observation
from v2t_eval.core.metric import Summary, mean_of
from v2t_eval.text.captions import CaptionMetric, Tokens, tokens_of
from v2t_eval.text.ngrams import (
    MAX_N,
    Entries,
    Frequencies,
    NgramCounts,
    count_ngrams,
    file_hash,
    frequencies,
    unique_counts,
)

_SIGMA = 6.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`corpus`: a file of reference captions whose document frequencies are used; "" for those of the scored set."""

    corpus: str = ""


class Metric(CaptionMetric):
    name = "cider"
    value_range = (0.0, 10.0)
    misses = (
        "paraphrase and synonyms; words that most clips share weigh nothing; without a corpus the score depends on "
        "which other clips are in the set, and one clip alone scores 0"
    )
    Settings = Settings

    def prepare(self) -> None:
        self._corpus: Frequencies | None = frequencies(self.settings.corpus) if self.settings.corpus else None

    def fingerprint(self) -> dict[str, str]:
        """The corpus is identified by its bytes, not by its path."""
        corpus = f"sha256:{file_hash(self.settings.corpus)}" if self.settings.corpus else "the scored set"
        return super().fingerprint() | {"settings": "{}", "corpus": corpus}

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        complete, tokenized = self.complete_rows(rows)
        if not hasattr(self, "_corpus"):
            self.prepare()
        values = cider([tokens_of(own) for own in complete], self._corpus).tolist()
        return Summary(
            headline="cider",
            figures={"cider": mean_of(rows, values, self.value_range)},
            items=[{"id": row.id, "value": value} for row, value in zip(rows, values, strict=True)],
            **tokenized.as_arguments(*self._notes(len(rows))),
        )

    def _notes(self, num_clips: int) -> list[str]:
        corpus = self._corpus
        if corpus is None:
            notes = [f"document frequencies are of the {num_clips} scored clips: not comparable with another set."]
            return [*notes, "one clip alone always scores 0: name a corpus."] if num_clips == 1 else notes
        notes = [f"document frequencies of {corpus.num_clips} clips of {self.settings.corpus}."]
        if corpus.num_clips == 1:
            notes.append("a corpus of one clip makes every score 0.")
        if corpus.num_outside:
            notes.append(
                f"{corpus.num_outside} of {corpus.num_texts} texts of the corpus are outside the class for which our "
                "tokenizer is exact."
            )
        return notes


def cider(samples: Sequence[Tokens], corpus: Frequencies | None = None) -> np.ndarray:
    """CIDEr-D of every sample, float (n,); document frequencies of `corpus`, or of the samples' references."""
    num = len(samples)
    references = [reference for sample in samples for reference in sample.references]
    texts = [sample.caption for sample in samples] + references
    sample_of = np.concatenate(
        [np.arange(num), np.repeat(np.arange(num), [len(sample.references) for sample in samples])]
    )  # (T,)
    counted = count_ngrams(texts)
    frequency = _of_samples(counted, sample_of, num) if corpus is None else _of_corpus(counted, corpus)
    log_clips = np.log(float(num if corpus is None else corpus.num_clips))
    bigrams = np.maximum(0, counted.num_words - 1)
    length_gap = (bigrams[sample_of] - bigrams)[num:]
    fits = np.exp(-(length_gap.astype(np.float64) ** 2) / (2 * _SIGMA**2))
    values = np.zeros(len(references))
    for entries, df in zip(counted.entries, frequency, strict=True):
        values += _similarity(entries, log_clips - np.log(np.maximum(1.0, df)), sample_of, num)
    scores = np.bincount(sample_of[num:], values * fits / MAX_N, num)
    return 10 * scores / np.bincount(sample_of[num:], minlength=num)


def _similarity(entries: Entries, idf: np.ndarray, sample_of: np.ndarray, num: int) -> np.ndarray:
    """Clipped cosine of every reference with the caption of its sample, for one length of n-grams."""
    weight = entries.times * idf[entries.gram]  # (E,)
    norm = np.sqrt(np.bincount(entries.text, weight**2, len(sample_of)))  # (T,)
    of_caption = entries.text < num
    size = max(1, len(idf))
    keys = entries.text[of_caption] * size + entries.gram[of_caption]  # sorted
    text, gram, own = entries.text[~of_caption], entries.gram[~of_caption], weight[~of_caption]
    wanted = sample_of[text] * size + gram
    at = np.searchsorted(keys, wanted)
    there = at < len(keys)
    there[there] = keys[at[there]] == wanted[there]
    shared = np.minimum(weight[of_caption][at[there]], own[there]) * own[there]
    sums = np.bincount(text[there] - num, shared, len(sample_of) - num).astype(np.float64)  # int where all is empty
    both = norm[sample_of[num:]] * norm[num:]
    return np.divide(sums, both, out=np.zeros_like(sums), where=both > 0)


def _of_samples(counted: NgramCounts, sample_of: np.ndarray, num: int) -> list[np.ndarray]:
    """In how many samples some reference holds each n-gram."""
    frequency = []
    for entries, first in zip(counted.entries, counted.place, strict=True):
        size = max(1, len(first))
        of_reference = entries.text >= num
        held, _ = unique_counts(sample_of[entries.text[of_reference]] * size + entries.gram[of_reference])
        frequency.append(np.bincount(held % size, minlength=len(first)).astype(np.float64))
    return frequency


def _of_corpus(counted: NgramCounts, corpus: Frequencies) -> list[np.ndarray]:
    """The corpus' frequency of each n-gram of the texts."""
    return [
        np.array([corpus.counts.get(counted.gram(n, number), 0) for number in range(len(first))], dtype=np.float64)
        for n, first in enumerate(counted.place, 1)
    ]
