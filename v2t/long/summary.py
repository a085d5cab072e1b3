"""Fewer notes from many, and the caption of a whole video from the captions of its parts.

In: notes in order. Out: notes that are few enough, or one text. Groups of notes become summaries, groups of summaries
become summaries, until what is left is enough (`fewer`; recursive task decomposition, Wu et al. 2021, arXiv
2109.10862). For a caption, a captioner that follows instructions never reads more than `GROUP_CHARS` of notes at once,
whatever the length of the video. For one that does not, the captions are joined.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from v2t.backends import Output
from v2t.data.notes import Note, notes_prompt

GROUP_CHARS = 6000  # about 1,500 tokens
_NOTE_CHARS = GROUP_CHARS // 3  # so that a group holds two notes at least, and every round leaves fewer
_PART_TOKENS = 128
_PART = (
    "These notes tell one stretch of a video. Sum them up in at most three sentences, in order, from the notes alone."
)
_WHOLE = "These notes tell a whole video, in order. Answer from the notes alone, without times and without a preamble: "

Ask = Callable[[str, int], Output]
Parted = Callable[[int, Sequence[Note]], list[list[Note]]]
Told = Callable[[int, Sequence[Sequence[Note]]], list[str]]


def join(captions: Sequence[str]) -> str:
    """Captions one after another; what is said twice in a row stands once. Sentences follow on, others take a line."""
    said = [text.strip() for text in captions]
    fresh = [text for text, before in zip(said, ["", *said], strict=False) if text and text != before]
    return (" " if all(text[-1] in ".!?。！？" and "\n" not in text for text in fresh) else "\n").join(fresh)


def sum_up(notes: Sequence[Note], prompt: str, max_new_tokens: int, ask: Ask) -> Output:
    """One caption for a video.

    Args:
        notes: what its parts show, in order, at least one.
        prompt: what is asked of a video in this run; it says how the caption shall be.
        max_new_tokens: its longest answer.
        ask: puts a question without a video to the captioner, `(prompt, max_new_tokens) -> answer`.

    Returns:
        The answer; `tokens` counts those of all questions.

    Raises:
        ItemError: the captioner gives no answer.
    """
    tokens = 0

    def told(level: int, groups: Sequence[Sequence[Note]]) -> list[str]:
        nonlocal tokens
        answers = [ask(notes_prompt(group, _PART), _PART_TOKENS) for group in groups]
        tokens += sum(answer.tokens for answer in answers)
        return [_short(answer.text) for answer in answers]

    short = [replace(note, text=_short(note.text)) for note in notes]
    last = fewer(short, lambda notes: len(_groups(notes)) == 1, lambda level, notes: _groups(notes), told)
    answer = ask(notes_prompt(last, _WHOLE + prompt), max_new_tokens)
    return replace(answer, tokens=tokens + answer.tokens)


def fewer(notes: Sequence[Note], is_enough: Callable[[Sequence[Note]], bool], parted: Parted, told: Told) -> list[Note]:
    """Notes made fewer until they are enough: groups of notes become one each, then groups of those.

    Args:
        notes: in order of time.
        is_enough: whether notes may stay as they are.
        parted: `(level, notes) -> groups` of notes that follow each other; levels count from 1.
        told: `(level, groups) -> texts`, what each group of several notes says; a group of one stays as it is.
    """
    level = 0
    while not is_enough(notes):
        level += 1
        groups = parted(level, notes)
        texts = iter(told(level, [group for group in groups if len(group) > 1]))
        notes = [
            Note(start_s=group[0].start_s, end_s=max(note.end_s for note in group), text=next(texts))
            if len(group) > 1
            else group[0]
            for group in groups
        ]
    return list(notes)


def _short(text: str) -> str:
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
