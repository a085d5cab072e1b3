"""Answers to questions about a video, with their times and evidence.

In: text, spans, notes. Out: `VideoAnswer`, as an object and as JSON-able data.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cineloop.errors import Notice
from v2t.data.notes import Note
from v2t.long.segments import Segment
from v2t.long.spans import Span, format_span


@dataclass(frozen=True, kw_only=True)
class Occurrence:
    """A time at which something happens, seconds of the file.

    `score` in [0, 1] is how well the note fits; `is_seen` whether the captioner confirmed it on frames, rather than
    only noted it.
    """

    start_s: float
    end_s: float
    score: float = 1.0
    note: str = ""
    is_seen: bool = True

    @property
    def span(self) -> Span:
        """(start, end) in seconds."""
        return self.start_s, self.end_s


@dataclass(frozen=True, kw_only=True)
class VideoAnswer:
    """An answer and its evidence.

    Attributes:
        answer: its times are seconds of the file, with the clock time beyond the first minute.
        raw: the answer as the model wrote it.
        look: "whole", "window", "notes" or "when".
        model: name@revision.
        windows: parts whose frames were used for this question.
        warnings: what a reader of the answer must know, one of each code.
    """

    question: str
    answer: str
    raw: str
    look: str
    model: str
    spans: tuple[Occurrence, ...] = ()
    windows: tuple[Segment, ...] = ()
    notes: tuple[Note, ...] = ()
    warnings: tuple[Notice, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        spans = [
            {"start_s": round(s.start_s, 3), "end_s": round(s.end_s, 3), "text": format_span(s.span)}
            | ({"score": round(s.score, 3), "note": s.note, "seen": s.is_seen} if self.look == "when" else {})
            for s in self.spans
        ]
        return {
            "question": self.question,
            "answer": self.answer,
            "spans": spans,
            "look": self.look,
            "windows": [{"start_s": round(start, 3), "end_s": round(end, 3)} for start, end in self.windows],
            "notes": [{"start_s": n.start_s, "end_s": n.end_s, "text": n.text} for n in self.notes],
            "model": self.model,
            "warnings": [warning.record() for warning in self.warnings],
        }


def one_per_code(warnings: Iterable[Notice]) -> tuple[Notice, ...]:
    """One warning for each code, the first, with the number of further ones (a long video has many windows)."""
    by_code: dict[str, list[str]] = {}
    for warning in dict.fromkeys(warnings):
        by_code.setdefault(warning.code, []).append(warning.message)
    return tuple(
        Notice(code, texts[0] if len(texts) == 1 else f"{texts[0]} (and {len(texts) - 1} more like it)")
        for code, texts in by_code.items()
    )
