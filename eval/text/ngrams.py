"""Counting words in a row: what BLEU, ROUGE-L and CIDEr are made of.

In: tokenised captions. Out: clipped n-gram matches, the length of the longest common subsequence, or the n-grams of
many texts as numbers; and how many clips of a corpus hold each in some reference (`Frequencies`, what CIDEr weighs
n-grams with: a frozen corpus makes CIDEr of different sets comparable). The subsequence is found with one addition for
each word of the other text, all its rows at once as the bits of an integer (Hyyro 2004, "Bit-parallel LCS-length
computation revisited").
Letters: n length of an n-gram, E entries (an n-gram in a text), T texts.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cineloop.documents import read_text, text_lines
from cineloop.errors import UsageError
from cineloop.files import open_file
from v2t_eval.core.tables import names_of, read_rows, references_of
from v2t_eval.text.ptb import read

MAX_N = 4


def ngrams(words: Sequence[str], n: int) -> Iterable[tuple[str, ...]]:
    """The n-grams of a text in their order."""
    return zip(*[words[start:] for start in range(n)], strict=False)


def token_f1(one: str, other: str) -> float:
    """F1 of two bags of words parted by spaces, in [0, 1]; where one is empty, whether both are."""
    given, true = Counter(one.split()), Counter(other.split())
    if not given or not true:
        return float(given == true)
    return 2 * (given & true).total() / (given.total() + true.total())


def clipped_matches(candidate: Sequence[str], references: Sequence[Sequence[str]]) -> list[int]:
    """For n = 1..4, how many n-grams of the candidate the references hold, each counted at most as often as in that
    reference where it is most frequent."""
    matches = []
    for n, grams in enumerate(_GRAMS, 1):
        counts = list(grams(candidate))
        distinct, held, near = set(counts), set(), []
        for words in references:
            own = distinct.intersection(grams(words))
            if own:
                held |= own
                near.append(words)
        references = near  # who shares no n-gram shares no longer one
        matches.append(len(held))
        if len(distinct) < len(counts):  # the candidate repeats itself: count those n-grams one by one
            for gram in held:
                times = counts.count(gram)
                if times > 1:
                    matches[-1] += min(times, max(list(grams(words)).count(gram) for words in near)) - 1
        if not near:
            return matches + [0] * (MAX_N - n)
    return matches


# The n-grams of a text for n = 1..4, spelled out for speed; a single word stands for itself.
_GRAMS: tuple[Callable[[Sequence[str]], Iterable[Any]], ...] = (
    lambda words: words,
    lambda words: zip(words, words[1:], strict=False),
    lambda words: zip(words, words[1:], words[2:], strict=False),
    lambda words: zip(words, words[1:], words[2:], words[3:], strict=False),
)


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


class NgramCounts(NamedTuple):
    """For n = 1..4 the entries, and where each n-gram begins one time in `words`, all words of all texts in a row;
    and the number of words of each text, int64 (T,)."""

    entries: list[Entries]
    place: list[np.ndarray]
    words: list[str]
    num_words: np.ndarray

    def gram(self, n: int, number: int) -> tuple[str, ...]:
        """The n-gram of that number."""
        start = int(self.place[n - 1][number])
        return tuple(self.words[start : start + n])


def count_ngrams(texts: Sequence[str]) -> NgramCounts:
    """Number the n-grams of many tokenised texts and count them in each."""
    row = f" {_END} ".join([*texts, ""]).split()  # one list for all texts: many small ones cost more than the counting
    numbers = {word: number for number, word in enumerate(dict.fromkeys([_END, *row]))}  # the end has number 0
    words = np.fromiter(map(numbers.__getitem__, row), np.int64, len(row))
    ends = np.flatnonzero(words == 0)
    num_words = np.diff(ends, prepend=-1) - 1  # (T,)
    words = words[words > 0]
    row = [word for word in row if word != _END]
    text_of = np.repeat(np.arange(len(texts)), num_words)
    left = np.repeat(np.cumsum(num_words), num_words) - np.arange(len(row))  # words from here to the end of the text
    entries, place = [], []
    starts, grams = np.arange(len(row)), words
    for n in range(1, MAX_N + 1):
        if n > 1:
            longer = left[starts] >= n
            starts, grams = starts[longer], grams[longer]
            # numbers of (n-1)-grams and of words are far below 2^31
            grams = dense_ranks(grams * len(numbers) + words[starts + n - 1])
        size = int(grams.max(initial=0)) + 1
        both, times = unique_counts(text_of[starts] * size + grams)
        entries.append(Entries(*np.divmod(both, size), times))
        at = np.zeros(size if len(grams) else 0, dtype=np.int64)
        at[grams] = starts
        place.append(at)
    return NgramCounts(entries, place, row, num_words)


def dense_ranks(keys: np.ndarray) -> np.ndarray:
    """Numbers 0, 1, 2 ... instead of `keys`, equal for equal ones and in their order."""
    bits = len(keys).bit_length()
    if keys.max(initial=0) >> (62 - bits):
        return np.unique(keys, return_inverse=True)[1]
    packed = np.sort(keys << bits | np.arange(len(keys)))  # sorting is several times faster than finding the order
    at = packed & (1 << bits) - 1
    packed >>= bits
    new = np.zeros(len(keys), dtype=np.int64)
    new[1:] = packed[1:] != packed[:-1]
    numbers = np.empty_like(keys)
    numbers[at] = np.cumsum(new)
    return numbers


_END = "\0"  # no token: texts are flattened


def unique_counts(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different values of `keys`, sorted, and how often each is there."""
    keys = np.sort(keys)
    new = np.ones(len(keys), dtype=bool)
    new[1:] = keys[1:] != keys[:-1]
    at = np.flatnonzero(new)
    return keys[at], np.diff(at, append=len(keys))


@dataclass(frozen=True)
class Frequencies:
    """`counts` of clips by n-gram, of `num_clips` clips; `num_outside` of `num_texts` texts are outside the exact class
    of our tokenizer."""

    counts: dict[tuple[str, ...], int]
    num_clips: int
    num_texts: int
    num_outside: int


def file_hash(path: str) -> str:
    """sha256 of a corpus file.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        with open_file(path) as source:
            return hashlib.file_digest(source, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"cannot read the corpus {path}: {error.strerror}") from error


def frequencies(path: str) -> Frequencies:
    """Frequencies of the captions of a file.

    Raises:
        UsageError: the file cannot be read or holds no captions.
    """
    clips = _captions_by_clip(Path(path))
    if not clips:
        raise UsageError(
            f"the corpus {path} holds no captions", hint="a manifest, COCO's .json, or a .txt with a clip a line"
        )
    counts: Counter[tuple[str, ...]] = Counter()
    num_outside = 0
    for captions in clips:
        held: set[tuple[str, ...]] = set()
        for tokens, exact in map(read, captions):
            num_outside += not exact
            words = tokens.split()
            for n in range(1, MAX_N + 1):
                held.update(ngrams(words, n))
        counts.update(held)
    return Frequencies(dict(counts), len(clips), sum(map(len, clips)), num_outside)


def _captions_by_clip(path: Path) -> list[list[str]]:
    try:
        if path.suffix == ".txt":
            return [line.split("\t") for _, line in text_lines(read_text(path))]
        clips: dict[str, list[str]] = {}
        for number, row in enumerate(read_rows(path)):
            name = str(row.get("image_id") or (names_of(row) or [f"row {number}"])[0])
            clips.setdefault(name, []).extend(references_of(row))
    except OSError as error:
        raise UsageError(f"cannot read the corpus {path}: {error.strerror}") from error
    return [captions for captions in clips.values() if captions]
