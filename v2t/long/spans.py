"""Times in an answer: parsed as spans of seconds, and shifted from a part of a film to the whole film.

In: a captioner's answer about a clip, its times counted from the clip's start. Out: spans in seconds; or the same text
with the film's seconds in it. The starter writes "from 1.2 to 3.0 seconds", "at 2.9 seconds", "it does not happen";
other models phrase freely, so ranges ("0:02 - 0:04", "[2, 4.5]", "starts at 2 s and ends at 4 s"), moments ("at 0:03",
"around the 3-second mark", "3 seconds in") and refusals are understood in many forms. Durations ("for 3 seconds",
"3.4 seconds") and counts are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from cineloop.clock import CLOCK, format_clock, parse_clock

Span = tuple[float, float]

_NUMBER = r"\d{1,6}(?:\.\d+)?"
_UNIT = r"(?:\s*-?\s*(?:seconds?|secs?|s)\b)"
_TIME = rf"(?:the\s+)?(?:seconds?\s+|t\s*=\s*)?(?<![\w.:])(?:{CLOCK}|{_NUMBER})"
_DASH = r"\s*(?:-{1,2}>?|–|—|→|\bto\b|\buntil\b|\btill\b|\bthrough\b)\s*"
_MARK = r"(?:\s*-?\s*(?:seconds?|secs?|s)\b)?(?:\s+mark\b)?"
_AT = r"(?:\bat|\baround|\babout|\bnear|\bby|\bapproximately|@|\bsecond|\bt\s*=)\s*(?:about\s+|around\s+)?"


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text.replace("A", rf"(?P<a>{_TIME})").replace("B", rf"(?P<b>{_TIME})"), re.IGNORECASE)


# Ranges first, the most specific first; matched text is not matched again. A number alone is not a time: it
# needs a clock's colon, a unit, a bracket, or the words around it.
_RANGES = (
    _pattern(rf"\bfrom\s+A{_MARK}{_DASH}B(?:{_MARK}(?![\w.:])(?!\s+[a-z]+s\b)|{_UNIT})"),
    _pattern(rf"\bbetween\s+A{_MARK}\s+and\s+B(?:{_MARK}(?![\w.:])(?!\s+[a-z]+s\b)|{_UNIT})"),
    _pattern(rf"[\[(<]\s*A{_MARK}\s*(?:,|;|{_DASH})\s*B{_MARK}\s*[\])>]"),
    _pattern(rf"A{_UNIT}{_DASH}B{_MARK}(?![\w.:])"),
    _pattern(rf"A{_MARK}{_DASH}B{_UNIT}"),
    _pattern(
        r"\b(?:start|begin)\w*['\"]?(?:\s*[:=]|\s+(?:at|around|from))\s*(?:around\s+|about\s+)?['\"]?A" + _MARK
        + r"['\"]?[^\d.;]{1,40}?\b(?:end|stop|finish)\w*['\"]?(?:\s*[:=]|\s+(?:at|around|by))\s*['\"]?B" + _MARK
    ),
    re.compile(rf"(?P<a>(?<![\d:.]){CLOCK}){_DASH}(?P<b>{CLOCK})(?![\w:])", re.IGNORECASE),
)  # fmt: skip
_MOMENTS = (
    _pattern(rf"{_AT}A{_UNIT}(?:\s+mark\b)?"),
    _pattern(rf"A{_UNIT}\s+(?:mark\b|in\b(?!\s+(?:total|length|all))|into\b)"),
    _pattern(rf"{_AT}A(?=\s*(?:$|[.,;!?)]\s|[.,;!?)]$))"),
    re.compile(rf"(?<![\w:.])(?P<a>{CLOCK})(?![\w:])"),
    re.compile(rf"^\W*(?P<a>{_NUMBER})(?:{_UNIT})?\W*$", re.IGNORECASE),
)
_NEVER = re.compile(
    r"\b(?:(?:does|did|do|is|was)(?:\s+not|n['’]t)(?:\s+\w+)?\s+(?:happen|occur|take place|appear|shown|seen|visible|"
    r"present|depicted|in the video)\w*|never\s+(?:happen|occur|appear|shown|seen)\w*|not (?:happening|shown|seen)|"
    r"no such (?:event|moment|thing|scene))\b|^\W*(?:never|no|none|not at all|n/a)\W*$",
    re.IGNORECASE,
)  # fmt: skip
_ALWAYS = re.compile(
    r"\b(?:throughout|(?:during|for|in|through) the (?:whole|entire|full) (?:video|clip|film|time)|"
    r"the (?:whole|entire) (?:video|clip|film|time)|all the time)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The times of an answer: spans in order of mention, or that it never happens, or neither."""

    spans: tuple[Span, ...]
    never: bool = False


@dataclass(frozen=True)
class _TimeMatch:
    """A time or a range of times in a text: its position, its numbers with their positions, and their values."""

    start: int
    end: int
    numbers: tuple[tuple[int, int, str], ...]

    @property
    def span(self) -> Span:
        times = [parse_clock(text) for _, _, text in self.numbers]
        return min(times), max(times)


def read_spans(text: str, length_s: float, *, bare: bool = False) -> Reading:
    """When something happens, by an answer's words.

    Args:
        text: the answer.
        length_s: seconds of the clip it is about; times beyond its end are clamped, spans after it left out.
        bare: whether an answer that is nothing but a number counts as a moment (it does if a time was asked for).
    """
    if _NEVER.search(text):
        return Reading(spans=(), never=True)
    spans = [match.span for match in _find(text, bare=bare)]
    kept = [(start, min(end, length_s)) for start, end in spans if start <= length_s + 0.5]
    kept = [(min(start, end), end) for start, end in kept]
    if not spans and _ALWAYS.search(text):
        kept = [(0.0, length_s)]
    return Reading(spans=tuple(dict.fromkeys(kept)))


def shift_times(text: str, offset_s: float) -> str:
    """The text with its times moved by `offset_s` seconds, with the clock time added where that helps a reader.

    "from 1.2 to 3.0 seconds" moved by 722 becomes "from 723.2 to 725.0 seconds (12:03.2-12:05.0)".
    """
    out, position = "", 0
    for match in _find(text):
        out += text[position : match.start]
        piece, position = text[match.start : match.end], match.end
        for start, end, number in reversed(match.numbers):
            piece = piece[: start - match.start] + _shift_number(number, offset_s) + piece[end - match.start :]
        out += piece
        times = [parse_clock(number) + offset_s for _, _, number in match.numbers]
        if max(times) >= 60 and not any(":" in number for _, _, number in match.numbers):
            out += f" ({'-'.join(format_clock(time, tenths=True) for time in times)})"
    return out + text[position:]


def format_span(span: Span) -> str:
    """`12:03.2-12:05.0`, or `12:03.2` for a moment."""
    start, end = (format_clock(second, tenths=True) for second in span)
    return start if start == end else f"{start}-{end}"


def merge_spans(spans: list[Span], gap_s: float = 0.0) -> list[Span]:
    """Spans in order of time; those that overlap or are within `gap_s` of each other are joined."""
    out: list[Span] = []
    for start, end in sorted(spans):
        if out and start <= out[-1][1] + gap_s:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return out


def _shift_number(number: str, offset_s: float) -> str:
    seconds = parse_clock(number) + offset_s
    is_whole = "." not in number and offset_s == int(offset_s)
    if ":" in number:
        return format_clock(seconds, tenths=not is_whole)
    decimals = 0 if is_whole else max(1, len(number.partition(".")[2]))
    return f"{seconds:.{decimals}f}"


def _find(text: str, *, bare: bool = False) -> list[_TimeMatch]:
    """All times in a text, from left to right, none within another."""
    times: list[_TimeMatch] = []
    for pattern in (*_RANGES, *(_MOMENTS if bare else _MOMENTS[:-1])):
        for match in pattern.finditer(text):
            if all(match.end() <= other.start or other.end <= match.start() for other in times):
                times.append(_TimeMatch(match.start(), match.end(), tuple(_numbers(match))))
    return sorted(times, key=lambda one: one.start)


def _numbers(match: re.Match[str]) -> Iterator[tuple[int, int, str]]:
    for name in match.re.groupindex:
        inner = re.search(rf"{CLOCK}|{_NUMBER}", match.group(name))
        if inner is None:
            raise ValueError(f"the pattern took {match.group(name)!r} for a time")
        start = match.start(name)
        yield start + inner.start(), start + inner.end(), inner.group()
