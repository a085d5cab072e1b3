"""Repetition in captions: greedy decoding of a language model may repeat the same words for ever.

In: text. Out: a description of the repetition, or None. Similar events at different times are not a loop: their times
differ. Only exact repetition counts (case and punctuation aside), which Holtzman et al. 2020 (arXiv 1904.09751) call
degeneration.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from cineloop.log import printable

_TAIL_WORDS = 4000  # a loop continues to the end, so only the end is searched
_LONGEST_PERIOD = 80
_TAIL_CHARS = 2000
_LONGEST_CHARS = 40
_SENTENCE = re.compile(r"[^.!?\n。！？]+")


def loop(text: str) -> str | None:
    """Description of a loop in `text`; None if there is no loop.

    A loop is: one word at least 6 times in a row, two words 5 times, three or more words 4 times (3 times from 12
    words on); or, in writing without spaces, the same characters at the end at least 8 times; or one sentence that
    makes up half of at least 8 sentences.
    """
    words = [word.strip(".,;:!?\"'()[]*_-") or word for word in text.casefold().split()[-_TAIL_WORDS:]]
    found = _longest_run(words)
    if found is not None:
        start, period, times = found
        phrase = printable(" ".join(words[start : start + period]), 60)
        return f'the words "{phrase}" come {times} times in a row'
    found = _tail_run(text.strip()[-_TAIL_CHARS:])
    if found is not None:
        start, period, times = found
        piece = text.strip()[-_TAIL_CHARS:][start : start + period]
        return f'the characters "{printable(piece, 60)}" come {times} times in a row at the end'
    sentences = [s for s in (" ".join(m.split()) for m in _SENTENCE.findall(text.casefold()[-200_000:])) if s]
    if len(sentences) >= 8:
        sentence, times = Counter(sentences).most_common(1)[0]
        if 2 * times >= len(sentences) and len(sentence.split()) >= 3:
            return f'the sentence "{printable(sentence, 60)}" comes {times} times'
    return None


def _min_repeats(period: int) -> int:
    """Repetitions in a row that make a loop of `period` words."""
    return {1: 6, 2: 5}.get(period, 4 if period < 12 else 3)


def _longest_run(words: Sequence[str]) -> tuple[int, int, int] | None:
    """(start, period, times) of the repetition that covers most words, the shortest period of equals."""
    best: tuple[int, int, int] | None = None
    covered = 0
    for period in range(1, min(_LONGEST_PERIOD, len(words) // 3) + 1):
        run = 0
        for i in range(len(words) - period):
            run = run + 1 if words[i] == words[i + period] else 0
            times = run // period + 1
            if run > covered and times >= _min_repeats(period):
                best, covered = (i - run + 1, period, times), run
    return best


def _tail_run(text: str) -> tuple[int, int, int] | None:
    """The same for characters at the end of a text; a ruled line (one character, up to 80 times) is not a loop."""
    for period in range(1, min(_LONGEST_CHARS, len(text) // 8) + 1):
        run = 0
        while run < len(text) - period and text[-1 - run] == text[-1 - run - period]:
            run += 1
        times = run // period + 1
        is_one = len(set(text[len(text) - period :])) == 1
        if times >= ((16 if text[-1].isalnum() else 81) if period == 1 else 8) and (period == 1 or not is_one):
            return len(text) - run - period, period, times
    return None
