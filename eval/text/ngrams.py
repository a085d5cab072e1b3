"""Counting words in a row: what BLEU, ROUGE-L and CIDEr are made of.

In: tokenised captions. Out: clipped n-gram matches, the length of the longest common subsequence, or the n-grams of
many texts as numbers. The subsequence is found with one addition for each word of the other text, all its rows at once
as the bits of an integer (Hyyro 2004, "Bit-parallel LCS-length computation revisited").
Letters: n length of an n-gram, E entries (an n-gram in a text), T texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

MAX_N = 4


def ngrams(words: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    """The n-grams of a text in their order."""
    return zip(*[words[start:] for start in range(n)], strict=False)


def clipped_matches(candidate: Sequence[str], references: Sequence[Sequence[str]]) -> list[int]:
    """For n = 1..4, how many n-grams of the candidate the references hold, each counted at most as often as in that
    reference where it is most frequent."""
    matches = []
    for n in range(1, MAX_N + 1):
        found = list(ngrams(candidate, n))
        distinct, held, near = set(found), set(), []
        for words in references:
            own = distinct.intersection(ngrams(words, n))
            if own:
                held |= own
                near.append(words)
        references = near  # who shares no n-gram shares no longer one
        matches.append(len(held))
        if len(distinct) < len(found):  # the candidate repeats itself: count those n-grams one by one
            for gram in held:
                times = found.count(gram)
                if times > 1:
                    matches[-1] += min(times, max(list(ngrams(words, n)).count(gram) for words in near)) - 1
    return matches


def common_subsequence(words: Sequence[str], others: Sequence[Sequence[str]]) -> list[int]:
    """The length of the longest common subsequence of `words` with each of `others`."""
    places: dict[str, int] = {}
    for number, word in enumerate(words):
        places[word] = places.get(word, 0) | 1 << number
    full = (1 << len(words)) - 1
    lengths = []
    for other in others:
        free = full  # a zero bit ends a row in which the length has grown
        for word in other:
            if word in places:
                hit = free & places[word]
                free = (free + hit | free - hit) & full
        lengths.append(len(words) - free.bit_count())
    return lengths


class Entries(NamedTuple):
    """The different n-grams of many texts, sorted by text and n-gram: `text`, `gram` and `times`, int64 (E,)."""

    text: np.ndarray
    gram: np.ndarray
    times: np.ndarray


class Counted(NamedTuple):
    """For n = 1..4 the entries and where each n-gram first begins in `words`, all words of all texts in a row; and the
    number of words of each text, int64 (T,)."""

    entries: list[Entries]
    first: list[np.ndarray]
    words: list[str]
    num_words: np.ndarray

    def gram(self, n: int, number: int) -> tuple[str, ...]:
        """The n-gram of that number."""
        start = int(self.first[n - 1][number])
        return tuple(self.words[start : start + n])


def count_ngrams(texts: Sequence[Sequence[str]]) -> Counted:
    """Number the n-grams of many texts and count them in each."""
    row = [word for text in texts for word in text]
    numbers: dict[str, int] = {}
    words = np.array([numbers.setdefault(word, len(numbers)) for word in row], dtype=np.int64)
    num_words = np.array([len(text) for text in texts], dtype=np.int64)  # (T,)
    text_of = np.repeat(np.arange(len(texts)), num_words)
    left = np.repeat(np.cumsum(num_words), num_words) - np.arange(len(row))  # words from here to the end of the text
    entries, first = [], []
    starts, grams = np.arange(len(row)), words
    for n in range(1, MAX_N + 1):
        if n > 1:
            longer = left[starts] >= n
            starts, grams = starts[longer], grams[longer]
            grams = grams * len(numbers) + words[starts + n - 1]  # numbers of (n-1)-grams and words are far below 2^31
        known, at, grams = np.unique(grams, return_index=True, return_inverse=True)
        size = max(1, len(known))
        both, times = np.unique(text_of[starts] * size + grams, return_counts=True)
        entries.append(Entries(both // size, both % size, times))
        first.append(starts[at])
    return Counted(entries, first, row, num_words)
