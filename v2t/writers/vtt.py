"""`clip.mp4` → `clip.vtt`: WebVTT subtitles, a cue per segment (W3C WebVTT 1).

Text is escaped as the standard asks (`&amp; &lt; &gt;`), so "-->", tags and `</script>` are shown and do nothing. A
cue's text has no empty line (it would end the cue), no control characters but tabs (NUL becomes U+FFFD, the others go),
and only "\\n" as a line break. A caption without segments is one cue over the whole clip; times are seconds of the
video file. A changed file is left alone but not read back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from v2t.writers import Record

SUFFIX = ".vtt"
_TO_THE_END_S = 359_999.0  # 99:59:59: a caption written by hand for a video of unknown length
_BREAKS = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")
_CONTROLS = re.compile(r"[\x01-\x08\x0e-\x1f\x7f]")


def render(record: Record) -> bytes:
    """The subtitle file of an `ok` record."""
    blocks = ["WEBVTT\n"]
    for start_s, end_s, text in cues(record):
        text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        blocks.append(f"{clock(start_s, '.')} --> {clock(end_s, '.')}\n{text}\n")
    return "\n".join(blocks).encode("utf-8")


def cues(record: Record) -> Iterator[tuple[float, float, str]]:
    """(start_s, end_s, text) with `end_s` at least a millisecond after `start_s`, and text that is not empty."""
    parts = record.get("segments") or []
    if not parts:
        start_s = float(record.get("start_s") or 0.0)
        end_s, duration_s = record.get("end_s"), record.get("duration_s")
        if end_s is None:
            end_s = _TO_THE_END_S if duration_s is None else start_s + duration_s
        parts = [{"start_s": start_s, "end_s": end_s, "caption": record["caption"]}]
    for part in sorted(parts, key=lambda part: part["start_s"]):
        lines = (_CONTROLS.sub("", line).strip() for line in _BREAKS.split(part["caption"].replace("\0", "\ufffd")))
        text = "\n".join(line for line in lines if line)
        if text:
            start_s = max(0.0, float(part["start_s"]))
            yield start_s, max(start_s + 0.001, float(part["end_s"])), text


def clock(seconds: float, comma: str) -> str:
    """`01:02:03.456` with the format's own decimal mark; hours grow beyond two digits when they must."""
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{comma}{milliseconds % 1000:03}"
