"""Captions: the text of a row, and faults that a text shows alone: refusals, repetition, another script or language.

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
# Words of every sentence, which few other languages of the list have too.
LANGUAGES = {
    name: frozenset(words.split())
    for name, words in {
        "de": "der die das und ist ein eine einen einem auf mit den dem nicht sich von im zu wird sind",
        "en": "the and is are a an of with on it its his her their from to while then this that",
        "es": "el los las y es un una del que con por para su está sobre mientras se en al",
        "fr": "le les des et est un une du dans qui avec pour sur son sa il elle au ce se",
        "it": "il lo gli e è un una di che con per su del della nel sono mentre si al",
        "nl": "de het een en is van met op niet zijn er door naar wordt terwijl aan voor dat bij",
        "pt": "o os as e é um uma do da que com por para seu sua está no na enquanto ao",
    }.items()
}
FEWEST_WORDS = 3
MOST_REPEATED = 0.3


def caption_of(row: Mapping[str, Any]) -> str:
    """The caption of a row of a manifest (`captions`, of several the first) or a record of `v2t caption` (`caption`);
    "" where it has none."""
    value = row.get("captions") or row.get("caption")
    while value and isinstance(value, dict | list):
        value = next(iter(value.values() if isinstance(value, dict) else value))
    return value if isinstance(value, str) else ""


def repetition(text: str) -> float:
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


def other_language(text: str, language: str) -> float:
    """1 where more words of the text are of another one of `LANGUAGES` than of this one, else 0."""
    words = re.findall(r"\w+", text.lower())
    counts = {name: sum(word in own for word in words) for name, own in LANGUAGES.items()}
    return float(max(counts.values()) > counts[language])


def faults(text: str) -> list[str]:
    """What is wrong with a caption: "short", "refusal", "repeats"; nothing of a sound one."""
    checks = {
        "short": len(text.split()) < FEWEST_WORDS,
        "refusal": is_refusal(text),
        "repeats": repetition(text) > MOST_REPEATED,
    }
    return [name for name, is_there in checks.items() if is_there]
