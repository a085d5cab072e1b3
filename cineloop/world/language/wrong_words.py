"""The words of a caption that state something false.

In: a caption and the clip's facts. Out: places in the text. A word is to blame for a false fact when the caption
without it states that kind of fact wrongly less often (or makes up less); of such words those that take the fewest true
facts with them, and leave the fewest words that cannot be read. So "left" is found and not the verb that it belongs to.
What is not stated at all has no word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from cineloop.world.language.comparison import FactComparison, compare
from cineloop.world.language.read_text import parse

_WORD = re.compile(r"[^\W_]+(?:[-'][^\W_]+)*")
_MADE_UP = "made up"


def wrong_words(text: str, facts: Mapping[str, Any], style: str = "short") -> list[tuple[int, int]]:
    """Begin and end of each, in the order of the text; words that stand side by side are one.

    Raises:
        KeyError, TypeError, AttributeError: no facts of the cartoon world. ValueError: an unknown style.
    """
    whole = compare(parse(text), facts, style)
    wrong = _wrong(whole)
    if not wrong:
        return []
    without = {(a, b): parse(f"{text[:a]} {text[b:]}") for a, b in (word.span() for word in _WORD.finditer(text))}
    compared = {place: compare(stated, facts, style) for place, stated in without.items()}
    blamed: set[tuple[int, int]] = set()
    for kind, count in wrong.items():
        costs = {
            place: (whole.total.right - other.total.right, len(without[place].unread))
            for place, other in compared.items()
            if _wrong(other).get(kind, 0) < count
        }
        blamed |= {place for place, cost in costs.items() if cost == min(costs.values())}
    return list(_merge_places(sorted(blamed), text))


def _wrong(comparison: FactComparison) -> dict[str, int]:
    """Wrong facts by kind, and what is made up."""
    counts = {kind: tally.wrong for kind, tally in comparison.tallies.items()} | {_MADE_UP: comparison.made_up}
    return {kind: count for kind, count in counts.items() if count}


def _merge_places(places: list[tuple[int, int]], text: str) -> Iterator[tuple[int, int]]:
    begin, end = places[0] if places else (0, 0)
    for a, b in places[1:]:
        if text[end:a].strip():
            yield begin, end
            begin = a
        end = b
    if places:
        yield begin, end
