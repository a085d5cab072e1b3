"""Seconds as people write them: "34:22", "1:02:03", "12.5", "90s"; and events with their seconds.

In: text, or seconds. Out: seconds, events, or text. `parse_clock(format_clock(s))` is `s` to the nearest second, or
tenth.
"""

from __future__ import annotations

import re
from typing import Any

from cineloop.errors import UsageError

# (hours:)minutes:seconds; only the first part may be 60 or more, so that 90:00 is an hour and a half.
CLOCK = r"\d+(?::[0-5]?\d)?:[0-5]\d(?:\.\d+)?"
_CLOCK = re.compile(CLOCK, re.ASCII)
_SECONDS = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(?:s|sec|secs|second|seconds)?", re.ASCII | re.IGNORECASE)
_EVENT = re.compile(r"^\W*(\d+(?:\.\d+)?)\s*s?\s*(?:-|–|to)\s*(\d+(?:\.\d+)?)\s*s?\W+(\S.*)$")


def parse_clock(text: str) -> float:
    """Seconds >= 0 from "34:22", "1:02:03", "34:22.5", "12.5", "90s" or "90 seconds".

    Raises:
        UsageError: anything else.
    """
    text = text.strip()
    if _CLOCK.fullmatch(text):
        seconds = 0.0
        for part in text.split(":"):
            seconds = 60 * seconds + float(part)
        return seconds
    plain = _SECONDS.fullmatch(text)
    if plain and len(plain.group(1)) < 16:
        return float(plain.group(1))
    raise UsageError(f"expected a time such as 34:22, 1:02:03 or 12.5 (seconds), got {text[:60]!r}", code="TIME")


def format_clock(seconds: float, *, tenths: bool = False) -> str:
    """ "34:22" or "1:02:03", rounded to the nearest second; with `tenths` "34:22.4".

    Raises:
        ValueError: seconds that are negative or not finite.
    """
    if not 0 <= seconds < 1e12:
        raise ValueError(f"expected seconds >= 0, got {seconds!r}")
    units = int((seconds * 10 if tenths else seconds) + 0.5)
    whole, rest = divmod(units, 10) if tenths else (units, 0)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    text = f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
    return f"{text}.{rest}" if tenths else text


def timed_lines(text: str, duration_s: float) -> list[dict[str, Any]]:
    """The events of a text with one a line ("0.2-1.7s: a cat runs") as `{start_s, end_s, caption}`, in its order.

    Args:
        text: lines without times are left out.
        duration_s: length of the clip in seconds; times beyond it are drawn back to it.
    """
    segments = []
    for line in text.splitlines():
        match = _EVENT.match(line.strip())
        if match:
            start_s, end_s = (min(float(second), duration_s) for second in match.group(1, 2))
            segments.append({"start_s": start_s, "end_s": max(start_s, end_s), "caption": match.group(3).strip()})
    return segments
