"""Captions: the text of a row, and faults that a text shows alone: refusals, repetition, another script, few words.

In: rows of captions, a caption. Out: a text, names of faults, shares of repeated word triples and of other letters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

_REFUSALS = re.compile(
    r"\b(i('m| am) (sorry|unable|not able)|i (can ?not|can't|do not|don't) (see|view|access|process|help|describe)|"
    r"as an ai\b|as a language model|unable to (see|view|process|describe|provide)|"
    r"(there is|i see) no (video|image)s?\b|please (provide|upload))",
    re.IGNORECASE,
)
FEWEST_WORDS = 3
MOST_REPEATED = 0.3


def caption_of(row: Mapping[str, Any]) -> str:
    """The caption of a row of a manifest (`captions`, of several the first) or a record of `v2t caption` (`caption`);
    "" where it has none."""
    found = row.get("captions") or row.get("caption")
    while found and isinstance(found, dict | list):
        found = next(iter(found.values() if isinstance(found, dict) else found))
    return found if isinstance(found, str) else ""


def repeated(text: str) -> float:
    """Share of the triples of words that came before, from 0 to 1; 0 of fewer than four words."""
    words = re.findall(r"\w+", text.lower())
    triples = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(triples)) / len(triples) if len(triples) > 1 else 0.0


def is_refusal(text: str) -> bool:
    """Whether the model speaks of itself, or of a missing video, instead of what it sees."""
    return _REFUSALS.search(text.replace("\u2019", "'")) is not None


def other_script(text: str, script: str) -> float:
    """Share of the letters that are of no script of this name, such as LATIN; 0 without letters."""
    letters = [char for char in text if char.isalpha()]
    own = sum(unicodedata.name(char, "").startswith(script.upper()) for char in letters)
    return 1 - own / len(letters) if letters else 0.0


def faults(text: str) -> list[str]:
    """What is wrong with a caption: "short", "refusal", "repeats"; nothing of a sound one."""
    found = {
        "short": len(text.split()) < FEWEST_WORDS,
        "refusal": is_refusal(text),
        "repeats": repeated(text) > MOST_REPEATED,
    }
    return [name for name, is_there in found.items() if is_there]
