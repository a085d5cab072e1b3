"""Notes on a long video as the text a captioner is asked with: one line an event, then the question.

In: notes (seconds of the file, one sentence each) and a question. Out: the words of a user's turn, the same in training
and in `v2t ask`:

    Notes:
    0:12-0:14 a brown dog jumps.
    1:02-1:05 a red car rolls left.
    How many times does the dog jump?
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cineloop.clock import format_clock

HEADING = "Notes:"


@dataclass(frozen=True, kw_only=True)
class Note:
    """What happens from `start_s` to `end_s`, seconds of the file, in one sentence."""

    start_s: float
    end_s: float
    text: str

    def __post_init__(self) -> None:
        if not 0 <= self.start_s <= self.end_s:
            raise ValueError(f"a note runs from a second >= 0 to a later one, got {self.start_s} to {self.end_s}")

    def line(self) -> str:
        """`0:12-0:14 a brown dog jumps.`, to the nearest second, on one line."""
        return f"{format_clock(self.start_s)}-{format_clock(self.end_s)} {' '.join(self.text.split())}"


def notes_prompt(notes: Iterable[Note], question: str) -> str:
    """The user's turn for a question about notes: a heading, a line for each note in order of time, the question."""
    lines = [note.line() for note in sorted(notes, key=lambda note: (note.start_s, note.end_s))]
    return "\n".join([HEADING, *lines, question.strip()])
