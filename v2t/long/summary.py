"""Hierarchical summaries of notes, and the caption of a whole video from the captions of its parts.

In: notes in order. Out: notes that are few enough, or one text. Groups of notes become summaries, groups of summaries
become summaries, until they are few enough (`reduce_notes`; recursive task decomposition, Wu et al. 2021, arXiv
2109.10862). For a caption, a captioner that follows instructions never reads more than `GROUP_CHARS` of notes at once,
whatever the length of the video. For one that does not, the captions are joined.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from v2t.backends import Output
from v2t.data.notes import Note, notes_prompt

GROUP_CHARS = 6000  # about 1,500 tokens
_NOTE_CHARS = GROUP_CHARS // 3  # so that a group holds at least two notes, and every round reduces them
_PART_TOKENS = 128
_PART = (
    "These notes tell one stretch of a video. Sum them up in at most three sentences, in order, from the notes alone."
)
_WHOLE = "These notes tell a whole video, in order. Answer from the notes alone, without times and without a preamble: "

Ask = Callable[[str, int], Output]
Split = Callable[[int, Sequence[Note]], list[list[Note]]]
Summarise = Callable[[int, Sequence[Sequence[Note]]], list[str]]


def join(captions: Sequence[str]) -> str:
    """Captions in order without consecutive duplicates: sentences joined by spaces, others by line breaks."""
    texts = [text.strip() for text in captions]
    kept = [text for text, before in zip(texts, ["", *texts], strict=False) if text and text != before]
    return (" " if all(text[-1] in ".!?。！？" and "\n" not in text for text in kept) else "\n").join(kept)


def sum_up(notes: Sequence[Note], prompt: str, max_new_tokens: int, ask: Ask) -> Output:
    """One caption for a video.

    Args:
        notes: what its parts show, in order, at least one.
        prompt: of this run; it defines the form of the caption.
        ask: calls the captioner without a video, `(prompt, max_new_tokens) -> answer`.

    Returns:
        The answer; `tokens` counts those of all calls.

    Raises:
        ItemError: the captioner gives no answer.
    """
    tokens = 0

    def summarise(level: int, groups: Sequence[Sequence[Note]]) -> list[str]:
        nonlocal tokens
        answers = [ask(notes_prompt(group, _PART), _PART_TOKENS) for group in groups]
        tokens += sum(answer.tokens for answer in answers)
        return [_shorten(answer.text) for answer in answers]

    short = [replace(note, text=_shorten(note.text)) for note in notes]
    last = reduce_notes(short, lambda notes: len(_groups(notes)) == 1, lambda level, notes: _groups(notes), summarise)
    answer = ask(notes_prompt(last, _WHOLE + prompt), max_new_tokens)
    return replace(answer, tokens=tokens + answer.tokens)


def reduce_notes(
    notes: Sequence[Note], is_enough: Callable[[Sequence[Note]], bool], split: Split, summarise: Summarise
) -> list[Note]:
    """Reduce notes until they are few enough: each group of notes becomes one, then groups of those.

    Args:
        split: `(level, notes) -> groups` of notes that follow each other; levels count from 1.
        summarise: `(level, groups) -> texts`, a summary of each group of several notes; a group of one stays as it is.
    """
    level = 0
    while not is_enough(notes):
        level += 1
        groups = split(level, notes)
        texts = iter(summarise(level, [group for group in groups if len(group) > 1]))
        notes = [
            Note(start_s=group[0].start_s, end_s=max(note.end_s for note in group), text=next(texts))
            if len(group) > 1
            else group[0]
            for group in groups
        ]
    return list(notes)


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return text if len(line) <= _NOTE_CHARS - 32 else line[: _NOTE_CHARS - 33] + "…"


def _groups(notes: Sequence[Note]) -> list[list[Note]]:
    """Consecutive notes, as many to a group as may be read at once."""
    groups: list[list[Note]] = [[]]
    room = GROUP_CHARS
    for note in notes:
        length = len(note.line()) + 1
        if groups[-1] and length > room:
            groups.append([])
            room = GROUP_CHARS
        groups[-1].append(note)
        room -= length
    return groups
