"""`clip.mp4` → `clip.vtt`: WebVTT subtitles, a cue per segment (W3C WebVTT 1).

Text is escaped as the standard asks (`&amp; &lt; &gt;`), so "-->", tags and `</script>` are shown and do nothing; see
`v2t.writers.cues` for line breaks and control characters. A changed file is left alone but not read back.
"""

from __future__ import annotations

from typing import Any

from v2t.writers.cues import clock, cues

SUFFIX = ".vtt"


def render(record: dict[str, Any]) -> bytes:
    """The subtitle file of an `ok` record."""
    blocks = ["WEBVTT\n"]
    for start_s, end_s, text in cues(record):
        text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        blocks.append(f"{clock(start_s, '.')} --> {clock(end_s, '.')}\n{text}\n")
    return "\n".join(blocks).encode("utf-8")
