"""Cuts a text into the phrases that state facts: noun phrases, verbs, directions, places, times, links.

In: a sentence. Out: a list of `Phrase`; words that state nothing are dropped, words that are not known are kept as
`unknown`. The longest phrase wins. All wordings come from `lexicon`, so what is written can be read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import NamedTuple

from cineloop.world import vocabulary as words
from cineloop.world.language import lexicon as lex
from cineloop.world.language.grammar import inflect


class Phrase(NamedTuple):
    """One phrase: `kind` names what it states, `value` the fact."""

    kind: str
    value: object = None


class ActorPhrase(NamedTuple):
    """What a noun phrase says of an actor; None where it is silent."""

    kind: str
    color: str | None
    size: str | None
    number: int
    definite: bool


_NUMBERS = {word: number for number, word in lex.NUMBERS.items()} | {"1": 1, "2": 2, "3": 3, "4": 4}
_SIZES = {option.split("-")[0]: size for size, options in lex.SIZE_WORDS.items() for option in options}
_SIZES |= {"tiny": "small", "huge": "large", "sized": ""}
_NOUNS = {kind: (kind, 1) for kind in words.KINDS} | {plural: (kind, 2) for kind, plural in lex.PLURALS.items()}
_NOUNS |= {word: (kind, 2 if word.endswith("s") else 1) for word, kind in lex.KIND_SYNONYMS.items()}
_NOUNS["fish"] = ("fish", 0)  # the plural looks the same: the determiner decides
_ARTICLES = {"a": 1, "an": 1, "another": 1}
_PRONOUNS = {"it", "he", "she", "they", "him", "them"}
_PLACE_LEAD = {"in", "on", "at", "along", "through", "across", "inside", "over", "to", "of", "with", "shows"}
_PLACE_MIDDLE = {"a", "an", "the", "outer", "sandy", "green", "grassy", "snowy", "place"}
_IGNORED = {
    "is",
    "are",
    "there",
    "here",
    "we",
    "see",
    "you",
    "can",
    "the",
    "a",
    "an",
    "video",
    "clip",
    "shows",
    "watch",
}
_IGNORED |= {
    "this",
    "in",
    "which",
    "where",
    "who",
    "that",
    "everything",
    "with",
    "of",
    "showing",
    "scene",
    "its",
    "their",
}
_IGNORED |= {"his", "her", "each", "other", "both", "also", "on", "at", "to", "be", "being", "has", "have", "and", "by"}
_IGNORED |= {"made", "drawn", "cartoon", "drawing", "sketch", "art", "colors", "color", "large", "place", "while", "as"}
_LINKS = {
    "then": "then",
    "next": "then",
    "afterwards": "then",
    "afterward": "then",
    "finally": "then",
    "until": "then",
    "after that": "then",
    "after which": "then",
    "before": "before",
    "after": "after",
    "while": "while",
    "as": "while",
    "when": "while",
    "meanwhile": "same",
    "at the same time": "same",
    "and": "and",
    "by": "by",
    "first": "first",
    "at first": "first",
}
# Words of questions about clips (`questions`, `claims`, `times`, `plain_questions`) that no caption has.
_ASKING = set("any direction do doing does end exactly figure figures happen happening happens how kind last long many "
              "or picture scenes second seconds size start style way what".split())  # fmt: skip
_SECONDS = re.compile(r"\d+(?:\.\d+)?(?= ?(?:s|seconds?)\b)")
_ENDINGS = ("s", "pl", "bare", "ing")


def _longest_first() -> dict[str, list[tuple[tuple[str, ...], Phrase]]]:
    table: dict[str, Phrase] = {}
    for action, options in lex.VERBS.items():
        for option in options:
            generic = option in lex.GENERIC_TRAVEL
            for form in _ENDINGS:
                table[inflect(option, form)] = Phrase("act", "go by kind" if generic else action)
    for form in _ENDINGS:
        table[inflect("go", form)] = Phrase("act", "go")
        table[inflect("go back", form)] = Phrase("act", "go back")
    for action, options in lex.PASSIVES.items():
        for option in options:
            table[option] = Phrase("passive", action)
    for way in words.DIRECTIONS:
        for option in (*lex.DIRECTION_WORDS[way], *lex.HEADING[way]):
            table[option] = Phrase("direction", way)
        table[f"{way}ward"] = table[f"{way}wards"] = Phrase("direction", way)
    for way in ("left", "right"):
        other = "right" if way == "left" else "left"
        table[f"towards the {way}"] = table[f"from the {other} to the {way}"] = Phrase("direction", way)
    for speed, options in lex.SPEED_WORDS.items():
        for option in options:
            table[option] = Phrase("speed", speed)
    for relation in words.RELATIONS:
        table |= {option: Phrase("relation", (relation, False)) for option in lex.RELATION_WORDS[relation]}
        table |= {option: Phrase("relation", (relation, True)) for option in lex.INVERSE_WORDS[relation]}
    for camera, options in lex.CAMERA_VERBS.items():
        for option in options:
            for form in _ENDINGS:
                table[f"camera {inflect(option, form)}"] = Phrase("camera", camera)
    for link, kind in _LINKS.items():
        table[link] = Phrase(kind)
    for cut in (*lex.CUTS, "after a cut"):
        table[cut] = table["and " + cut] = table["then " + cut] = Phrase("cut")
    table |= {key: Phrase("style", style) for key, style in lex.STYLE_KEYS.items()}
    table |= {mark: Phrase(mark) for mark in (",", ".")}
    by_word: dict[str, list[tuple[tuple[str, ...], Phrase]]] = {}
    for option, phrase in table.items():
        key = tuple(option.split())
        by_word.setdefault(key[0], []).append((key, phrase))
    return {word: sorted(choices, key=lambda item: -len(item[0])) for word, choices in by_word.items()}


_TABLE = _longest_first()
_RECOLOR_VERBS = {inflect(verb, form) for verb in ("turn", "change", "become", "switch") for form in _ENDINGS}
_RECOLOR_FILL = {"its", "their", "his", "her", "color", "colors", "from", "to", "into"}
_TOKEN = re.compile(r"[^\W\d_]+|\d+|[.,;:!?]|[\u2190-\U0001faff]")  # words of any script, and pictures in their place


@lru_cache(maxsize=1)
def vocabulary() -> frozenset[str]:
    """Every word that some phrase or question of the world holds; a text may put it where it states nothing ("blue
    things")."""
    listed = {word for keys in _TABLE.values() for key, _ in keys for word in key}
    names = {*_NUMBERS, *_SIZES, *words.COLORS, *_NOUNS, *lex.PLACE_NOUNS, *_ARTICLES, *_PRONOUNS}
    filled = _RECOLOR_VERBS | _RECOLOR_FILL | _IGNORED | _PLACE_LEAD | _PLACE_MIDDLE
    return frozenset(listed | names | filled | _ASKING)


def unknown_words(text: str, known: Collection[str] | None = None) -> tuple[str, ...]:
    """The words of a question or an answer that are not among `known` (by default `vocabulary`), each once, in order;
    a number of seconds is no word."""
    words_known = vocabulary() if known is None else known
    tokens = _TOKEN.findall(_SECONDS.sub("", text.lower().replace("'s", " is")))
    return tuple(word for word in dict.fromkeys(tokens) if word not in ".,;:!?" and word not in words_known)


def why_unread(unread: Sequence[str]) -> str:
    """What is wrong with words that were not understood, to follow the reader's name: "does not know 'castle'"; words
    of the world are named only where there are no others."""
    unknown = [word for word in dict.fromkeys(unread) if word not in vocabulary()]
    if unknown:
        return f"does not know {', '.join(map(repr, unknown))}"
    return f"knows the words {', '.join(map(repr, dict.fromkeys(unread)))}, and not as they stand here"


def phrases(sentence: str) -> list[Phrase]:
    """The phrases of one sentence, in order."""
    return list(_cut(sentence.lower().strip()))


@lru_cache(maxsize=8192)
def _cut(sentence: str) -> tuple[Phrase, ...]:
    tokens = ["." if t in ".;:!?" else t for t in _TOKEN.findall(sentence.replace("'s", " is"))]
    phrases: list[Phrase] = []
    at = 0
    while at < len(tokens):
        length, phrase = _at(tokens, at)
        if phrase is not None:
            phrases.append(phrase)
        at += length
    return tuple(phrases)


def _at(tokens: list[str], at: int) -> tuple[int, Phrase | None]:
    """Length and meaning of the phrase that begins at token `at`; None for a word that states nothing."""
    for read in (_noun_phrase, _recolor, _phrase_at, _place):
        length, phrase = read(tokens, at)
        if length:
            return length, phrase
    word = tokens[at]
    if word in _PRONOUNS:
        return 1, Phrase("pronoun", word)
    if word in _IGNORED:
        return 1, None
    return 1, Phrase("unknown", word)


def _noun_phrase(tokens: list[str], at: int) -> tuple[int, Phrase | None]:
    count: int | None = None
    color = size = None
    definite = False
    for i in range(at, min(at + 7, len(tokens))):
        word = tokens[i]
        if word in _ARTICLES:
            count = 1
        elif word in ("the", "all", "other"):
            definite = True
        elif word in _NUMBERS:
            count = _NUMBERS[word]
        elif word in _SIZES:
            size = _SIZES[word] or size
        elif word in words.COLORS:
            color = word
        elif word in _NOUNS:
            kind, number = _NOUNS[word]
            noun = ActorPhrase(kind, color, size, count or number or 1, definite)
            return i + 1 - at, Phrase("noun", noun)
        else:
            return 0, None
    return 0, None


def _recolor(tokens: list[str], at: int) -> tuple[int, Phrase | None]:
    if tokens[at] not in _RECOLOR_VERBS:
        return 0, None
    colors: list[str] = []
    end = at + 1
    for i in range(at + 1, min(at + 8, len(tokens))):
        if tokens[i] in words.COLORS:
            colors.append(tokens[i])
            end = i + 1
        elif tokens[i] not in _RECOLOR_FILL:
            break
    return (end - at, Phrase("recolor", colors[-1])) if colors else (0, None)


def _phrase_at(tokens: list[str], at: int) -> tuple[int, Phrase | None]:
    for key, phrase in _TABLE.get(tokens[at], ()):
        if tuple(tokens[at : at + len(key)]) == key:
            if phrase.kind == "relation" and _place(tokens, at)[0]:
                continue  # "inside a room" is a place
            return len(key), phrase
    return 0, None


def _place(tokens: list[str], at: int) -> tuple[int, Phrase | None]:
    for i in range(at, min(at + 5, len(tokens))):
        word = tokens[i]
        if word in lex.PLACE_NOUNS:
            after = i + 1
            while after < len(tokens) and (tokens[after] in lex.PLACE_NOUNS or tokens[after] == "place"):
                after += 1
            return after - at, Phrase("place", lex.PLACE_NOUNS[word])
        if word not in (_PLACE_LEAD if i == at else _PLACE_MIDDLE) and word not in _PLACE_MIDDLE:
            return 0, None
    return 0, None
