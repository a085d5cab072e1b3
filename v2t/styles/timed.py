"""One line an event: `0.2-1.7s: a brown cat runs left in the snow.`"""

from __future__ import annotations

import re
from typing import Any

PROMPT = "List the events of the video with their times."
MAX_NEW_TOKENS = 320
_LINE = re.compile(r"^\W*(\d+(?:\.\d+)?)\s*s?\s*(?:-|–|to)\s*(\d+(?:\.\d+)?)\s*s?\W+(\S.*)$")


def segments(text: str, duration_s: float) -> list[dict[str, Any]]:
    """The events of an answer as `{start_s, end_s, caption}`, in the order they were told.

    Args:
        text: the answer, one event a line; lines without times are left out.
        duration_s: length of the clip in seconds; times beyond it are drawn back to it.
    """
    found = []
    for line in text.splitlines():
        match = _LINE.match(line.strip())
        if match:
            start_s, end_s = (min(float(second), duration_s) for second in match.group(1, 2))
            found.append({"start_s": start_s, "end_s": max(start_s, end_s), "caption": match.group(3).strip()})
    return found
