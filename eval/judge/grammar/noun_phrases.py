"""Noun phrases and verb forms of plain English, by the words of `v2t_eval.judge.grammar.english`.

In: the words of a sentence in small letters, and a place among them. Out: `NounPhrase`, or None where
there is no certain one: it ends in a known name, and what follows is something that ends a noun phrase.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from v2t_eval.judge.grammar import english
from v2t_eval.judge.grammar.english import COLORS, IRREGULAR, NO_THINGS, NUMBERS, PLACES, PLAIN, STOPS, THINGS_ON_ING

MARKS = frozenset(",.;:")
DETERMINERS = frozenset("a an the this that these those another each every".split())
POSSESSIVES = frozenset("his her its their my our your".split())
BE = frozenset("is are was were".split())
ADVERBS = frozenset(
    "away together forward backward leftward rightward upward downward overhead barefoot outside inside home apart "
    "fast high low alone back hard still off out up down again around".split()
)
PRONOUNS = frozenset("it he she they him them us we you i there who which what itself himself herself".split())
LONG_NAMES = english.COMPOUNDS | {tuple(place.split()) for place in PLACES if " " in place}


@dataclass(frozen=True)
class NounPhrase:
    """A name in the singular with its colour and number, 0 where only that there are several, and its position."""

    noun: str
    color: str | None
    count: int
    start: int  # of its words in the sentence
    end: int
    led: str  # the word before it
    is_owned: bool = False  # her hand
    in_action: bool = False  # what something is done to or with

    @property
    def is_plural(self) -> bool:
        return self.count != 1


def noun_phrase(words: list[str], at: int, start: int, end: int) -> NounPhrase | None:
    """The noun phrase that begins at word `at`; None where there is no certain one."""
    led = words[at - 1] if at > start else ""
    first, count = at, 1
    owned = words[at] in POSSESSIVES
    opens = owned or words[at] in DETERMINERS or words[at] in NUMBERS or words[at] in english.MANY
    if opens:
        count = 0 if words[at] in english.MANY else NUMBERS.get(words[at], 1)
        at += 1
    elif at > start and led not in STOPS and led not in MARKS and not is_gerund(led) and not finite_base(led):
        return None  # amid unknown words
    group = _past_group(words, at, end)
    if group:
        at, count, opens = group, 0, True
    if at < end and words[at] in NUMBERS and NUMBERS[words[at]] > 1:
        count, at = NUMBERS[words[at]], at + 1
    run_end = at
    while run_end < end and (_is_modifier_or_name(words[run_end]) or _joins_colors(words, run_end)):
        run_end += 1
    span = _name(words, at, run_end, opens=opens, is_first=first == start)
    if span is None:
        return None
    name_at, stop = span
    name = words[name_at:stop]
    if name[-1] in NO_THINGS:
        return None
    noun = singular(" ".join(name))
    colors = [plain_color(word) for word in words[at:name_at] if plain_color(word) in COLORS]
    if count == 1 and (noun != " ".join(name) or noun in english.PLURAL_ONLY) and noun.split()[-1] not in english.MASS:
        count = 1 if noun in english.PLURAL_ONLY else 0
    return NounPhrase(noun, colors[0] if colors else None, count, first, stop, led, owned)


def _name(words: list[str], at: int, end: int, *, opens: bool, is_first: bool) -> tuple[int, int] | None:
    """Where the name in a run of words begins and ends; None where it is uncertain."""
    begins = next((i for i in range(at, end) if _long_name(words, i, end) or _is_name(words, i, end)), None)
    if begins is None:
        return None
    stop = begins + (_long_name(words, begins, end) or 1)
    while stop < end and not _is_verb_here(words, stop):
        number = _long_name(words, stop, end) or int(_is_name(words, stop, end))
        if not number:
            break
        stop += number
    before, head = words[at:begins], words[stop - 1]
    odd = [word for word in before if is_unknown(word)]
    doubtful = finite_base(head) is not None and stop - begins == 1
    if (odd and not opens) or (doubtful and (odd or not (opens or is_first))):
        return None
    if stop < end and not _may_follow(words, stop):
        return None
    return begins, stop


def _is_name(words: list[str], at: int, end: int) -> bool:
    """Whether a word is a known name; a colour is one only at the end ("an orange")."""
    word = words[at]
    if plain_color(word) in COLORS and at + 1 < end and not _is_verb_here(words, at + 1):
        return False
    return singular(word) in english.NOUNS or word in english.NOUNS or singular(word) in PLACES or word in NO_THINGS


def _long_name(words: list[str], at: int, end: int) -> int:
    """Number of words of a name of several words that begins here; 0 for none."""
    for number in (4, 3, 2):
        if at + number <= end and tuple(singular(" ".join(words[at : at + number])).split()) in LONG_NAMES:
            return number
    return 0


def _is_verb_here(words: list[str], at: int) -> bool:
    """Whether a word after a name is its verb: "a dog watches", "dogs watch", and not "a dog watch"."""
    word, before = words[at], words[at - 1]
    base = finite_base(word)
    if is_gerund(word):
        return True
    if base is None or before in english.INVARIANT:
        return base is not None
    return (word != base) == (singular(before) == before)


def _may_follow(words: list[str], at: int) -> bool:
    """Whether a word after a name certainly does not belong to it."""
    word = words[at]
    is_ending = word.endswith("ed") or (word.endswith("s") and not word.endswith("ss"))
    return _is_verb_here(words, at) or is_adverb(word) or is_ending or finite_base(word) is not None


def _past_group(words: list[str], at: int, end: int) -> int:
    """The word after "flock of" or "small group of"; 0 where there is none."""
    for i in range(at, min(at + 2, end - 1)):
        if words[i] in english.GROUPS and words[i + 1] == "of":
            return i + 2
    return 0


def _is_modifier_or_name(word: str) -> bool:
    return (
        word not in MARKS
        and word not in STOPS
        and word not in BE
        and word not in english.NEGATIONS
        and (word not in DETERMINERS and word not in NUMBERS and word not in PRONOUNS and word not in POSSESSIVES)
    )


def is_unknown(word: str) -> bool:
    """Whether a word is in no list."""
    return not (
        not _is_modifier_or_name(word)
        or word in PLAIN
        or plain_color(word) in COLORS
        or is_adverb(word)
        or singular(word) in english.NOUNS
        or singular(word) in PLACES
        or is_gerund(word)
        or word in NO_THINGS
        or word in english.NOUNS
    )


def _joins_colors(words: list[str], at: int) -> bool:
    """Whether an "and" stands between two colours of one thing: a black and white dog."""
    around = words[at - 1 : at + 3]
    return len(around) == 4 and around[1] == "and" and {plain_color(around[0]), plain_color(around[2])} <= set(COLORS)


def is_gerund(word: str) -> bool:
    """Whether a word ends as gerunds do, and is not one of the names that do."""
    return word.endswith("ing") and len(word) > 4 and word not in THINGS_ON_ING


def is_adverb(word: str) -> bool:
    """Whether a word is an adverb of manner or direction: slowly, away."""
    is_name = word in english.NOUNS or word in PLAIN or word == "family"
    return word in ADVERBS or (word.endswith("ly") and len(word) > 4 and not is_name)


def finite_base(word: str) -> str | None:
    """The base form of a known verb in the present, "trots" and "trot"; None for any other word."""
    if word in english.VERBS:
        return word
    for ending, instead in (("ies", "y"), ("es", ""), ("s", "")):
        if word.endswith(ending) and (base := word[: -len(ending)] + instead) in english.VERBS:
            return base
    return None


def gerund(base: str) -> str:
    """The gerund of a verb: trot, trotting."""
    if base.endswith("ie"):
        return base[:-2] + "ying"
    if base.endswith("e") and not base.endswith(("ee", "oe", "ye")) and base != "be":
        return base[:-1] + "ing"
    short = re.fullmatch(r"[^aeiou]*(?:qu)?[aeiou][bdgklmnprtz]", base)
    return base + (base[-1] if short or base in ("begin", "unwrap") else "") + "ing"


def plain_color(word: str) -> str:
    """One spelling for each colour: grey is gray."""
    return {"grey": "gray", "golden": "gold"}.get(word, word)


def singular(noun: str) -> str:
    """The noun in the singular; unchanged where it may not be a plural."""
    *first, last = noun.split()
    if last in IRREGULAR:
        last = IRREGULAR[last]
    elif last.endswith("ies") and len(last) > 4:
        last = last[:-3] + "y"
    elif last.endswith(("ches", "shes", "xes", "sses", "zzes")):
        last = last[:-2]
    elif last.endswith("s") and not last.endswith(("ss", "us", "is")):
        last = last[:-1]
    return " ".join([*first, last])
