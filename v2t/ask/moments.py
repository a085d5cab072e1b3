"""Moments that a question names, and their conversion to seconds of a segment of the video.

In: a question ("What happens at 34:22?", "Who jumps between 1:00 and 1:05?"). Out: a `Moment`, or None; and the
question for a captioner that sees only a part ("What happens at 3.2 seconds?", "Who jumps?").
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cineloop.clock import CLOCK, format_clock, parse_clock
from cineloop.errors import UsageError

_SECONDS = r"\d{1,6}(?:\.\d+)?\s*-?\s*(?:seconds?|secs?|s)\b"
_TIME = rf"(?<![\w:.])(?:{CLOCK}|{_SECONDS}|seconds?\s+\d{{1,6}}(?:\.\d+)?)(?![\w:])"
_LOOSE = rf"(?<![\w:.])(?:{CLOCK}|{_SECONDS}|(?:seconds?\s+)?\d{{1,6}}(?:\.\d+)?)"  # its unit is at the other end
_AND = r"\s*(?:-|–|—|\band\b|\bto\b|\buntil\b|\btill\b)\s*"
_RANGE = re.compile(rf"\s*,?\s*\b(?:between|from|in|during)?\s*(?P<a>{_LOOSE}){_AND}(?P<b>{_TIME})\s*,?", re.IGNORECASE)
_POINT = re.compile(rf"(?:\bthe\s+)?(?P<a>{_TIME})(?:\s+mark\b)?", re.IGNORECASE)
_LENGTH = re.compile(r"\b(?:for|in|within|last|least|than|of|every|first|another)\s+(?:the\s+)?(?:first\s+|last\s+)?$")


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A second, or a stretch, that a question names; `words` is its position in the question."""

    start_s: float
    end_s: float
    words: tuple[int, int]

    @property
    def is_point(self) -> bool:
        """Whether it is one second and not a stretch."""
        return self.start_s == self.end_s


def find(question: str) -> Moment | None:
    """The moment a question names first; None when it names none.

    Raises:
        UsageError: a stretch that ends before it starts.
    """
    stretch = _RANGE.search(question)
    if stretch:
        start, end = (_seconds(stretch.group(name)) for name in ("a", "b"))
        if end < start:
            raise UsageError(
                f"the question names a stretch that ends before it starts: {stretch.group().strip()!r}", code="TIME"
            )
        if end > start:
            return Moment(start_s=start, end_s=end, words=stretch.span())
    for point in _POINT.finditer(question):
        # "for 3 seconds", "in the first 3 seconds" are lengths; a clock such as 0:03 is always a moment.
        if ":" in point.group("a") or not _LENGTH.search(question[: point.start()].lower()):
            second = _seconds(point.group("a"))
            return Moment(start_s=second, end_s=second, words=point.span())
    return None


def within(question: str, moment: Moment, start_s: float) -> str:
    """The question for a clip that starts at `start_s`: a second counted from there; a stretch, being the whole clip,
    is left out."""
    before, after = question[: moment.words[0]], question[moment.words[1] :]
    if moment.is_point:
        return f"{before}{moment.start_s - start_s:.1f} seconds{after}"
    return f"{before.rstrip()} {after.lstrip()}".replace(" ?", "?").replace(" .", ".").strip(" ,").strip()


def check_within(start_s: float, end_s: float, duration_s: float, wording: str = "") -> None:
    """Refuse seconds the video does not have; `wording` is how the user wrote them.

    Raises:
        UsageError: code BEYOND_END.
    """
    if start_s >= duration_s or end_s > duration_s + 1.0:
        late = start_s if start_s >= duration_s else end_s
        tenths = duration_s < 60
        raise UsageError(
            f"the video is {format_clock(duration_s, tenths=tenths)} long, so there is nothing at "
            f"{wording or format_clock(late, tenths=tenths)}",
            code="BEYOND_END",
            hint="times are minutes:seconds, or seconds from the start",
        )


def _seconds(text: str) -> float:
    inner = re.search(rf"{CLOCK}|\d+(?:\.\d+)?", text)
    if inner is None:
        raise ValueError(f"no time in {text!r}")
    return parse_clock(inner.group())
