"""The caption of a whole video from the captions of its parts.

In: notes, one for each part, in order. Out: one text. A captioner that follows instructions is asked to sum them up;
it never reads more than `GROUP_CHARS` of notes at once, whatever the length of the video: groups of notes become
summaries, groups of summaries become summaries, until one group is left (recursive task decomposition, Wu et al. 2021,
arXiv 2109.10862). For one that does not, the captions are joined.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    level = [_short(note) for note in notes]
    tokens = 0
    while len(groups := _groups(level)) > 1:
        shorter = []
        for group in groups:
            answer = ask(notes_prompt(group, _PART), _PART_TOKENS) if len(group) > 1 else None
            tokens += answer.tokens if answer else 0
            text = answer.text if answer else group[0].text
            shorter.append(_short(Note(start_s=group[0].start_s, end_s=group[-1].end_s, text=text)))
        level = shorter
    answer = ask(notes_prompt(level, _WHOLE + prompt), max_new_tokens)
    return Output(text=answer.text, tokens=tokens + answer.tokens, finish=answer.finish, warnings=answer.warnings)


def _short(note: Note) -> Note:
    text = " ".join(note.text.split())
    if len(text) <= _NOTE_CHARS - 32:
        return note
    return Note(start_s=note.start_s, end_s=note.end_s, text=text[: _NOTE_CHARS - 33] + "…")


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
