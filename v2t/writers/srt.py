"""`clip.mp4` → `clip.srt`: SubRip subtitles, a cue per segment.

SubRip knows no escapes, and readers guess where a cue begins: so "-->" becomes "→", and a cue's text is one line (line
breaks become spaces). Everything else is kept, and a player may take `<i>` or `{\\an8}` in a caption for a
layout. See `v2t.writers.vtt` for control characters. A changed file is left alone but not read back.
"""

from __future__ import annotations

from v2t.writers import Record
from v2t.writers.vtt import clock, cues

SUFFIX = ".srt"


def render(record: Record) -> bytes:
    """The subtitle file of an `ok` record."""
    blocks = []
    for number, (start_s, end_s, text) in enumerate(cues(record), 1):
        text = text.replace("-->", "\u2192").replace("\n", " ")
        blocks.append(f"{number}\n{clock(start_s, ',')} --> {clock(end_s, ',')}\n{text}\n")
    return "\n".join(blocks).encode("utf-8")
