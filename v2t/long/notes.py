"""Parsing of a captioner's notes, and joining of those that a window's border cut in two.

In: an answer about a window of a film, lines of `start-end: what happens` counted from the window's start. Out: `Note`s
with the film's seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from v2t.data.notes import Note
from v2t.long.film import Window
from v2t.long.recall import Placed, content
from v2t.long.spans import read_spans
from v2t.styles import Style

_TOUCH_S = 0.5  # largest distance from a window's border for an event to continue in the next window
_LEAD = re.compile(r"^[\W\d_]+|[\s\-–:,]+$")


def read_notes(text: str, window: Window, style: Style) -> list[Note]:
    """Notes in an answer about a window, their times moved to the film's. An answer without times is one note.

    Args:
        text: lines of `start-end: what happens`, in the style's form or any other that names times.
        window: (start, end) seconds of the film the answer is about.
        style: whose parser is tried first.
    """
    length_s = window[1] - window[0]
    read = style.segments(text, length_s) if style.segments else []
    found = [(part["start_s"], part["end_s"], part["caption"]) for part in read] or list(_any_form(text, length_s))
    if not found and text.strip():
        found = [(0.0, length_s, text)]
    notes = [
        Note(start_s=round(start + window[0], 2), end_s=round(end + window[0], 2), text=" ".join(text.split()))
        for start, end, text in dict.fromkeys(found)
        if text.strip()
    ]
    return sorted(notes, key=lambda note: (note.start_s, note.end_s))


def join_notes(placed: Sequence[Placed], windows: Sequence[Window], cuts_s: Sequence[float]) -> list[Placed]:
    """Notes in order of time, joined for an event that continues over the border of two windows of one scene.

    Args:
        placed: notes, `scene` being the number of the window they come from.
        windows: those windows, each beginning where the one before ends.
        cuts_s: where scenes end; no event continues over a cut.
    """
    out: list[Placed] = []
    for one in sorted(placed, key=lambda one: (one.note.start_s, one.note.end_s)):
        border = windows[one.scene][0]
        is_cut = any(abs(border - cut) < 0.01 for cut in cuts_s)
        before = None if is_cut else _continued_note(out, one, border)
        if before is None:
            out.append(one)
        else:
            whole = Note(start_s=before.note.start_s, end_s=one.note.end_s, text=before.note.text)
            out[out.index(before)] = Placed(whole, one.scene)
    return out


def _continued_note(earlier: Sequence[Placed], one: Placed, border: float) -> Placed | None:
    """The note of the previous window with the same words that ends at the border where `one` starts."""
    if one.note.start_s - border > _TOUCH_S:
        return None
    words = set(content(one.note.text))
    for other in reversed(earlier):
        if other.scene == one.scene - 1 and border - other.note.end_s <= _TOUCH_S:
            if set(content(other.note.text)) == words:
                return other
    return None


def _any_form(text: str, length_s: float) -> Iterable[tuple[float, float, str]]:
    for line in text.splitlines():
        reading = read_spans(line, length_s)
        text = _LEAD.sub("", line)
        if reading.spans and re.search(r"[^\W\d_]{3}", text):
            yield (*reading.spans[0], text)
