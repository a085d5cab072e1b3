"""What a prompt in plain English asks for: things with colour and number, one relation, a scene, an action, a style.

In: a sentence as people and prompt collections write them ("a red car on the left of a bicycle, in a street"). Out:
`Asked`. A small grammar and no more: noun phrases start at a determiner, at the start, or after "and"; a scene is a
known place; an action is what follows "is" or "are" and ends on -ing. What it does not read it leaves out, so that a
metric can say "nothing asked" instead of guessing. Texts of the cartoon world are read by `v2t.world.read_text`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from v2t.judge.plain_words import COLORS, IRREGULAR, NO_THINGS, NUMBERS, PLACES, PLAIN, STOPS, THINGS_ON_ING

_ENDS = STOPS | frozenset(",.;:")  # of a noun phrase
_LEADING = _ENDS - {"and", ",", "is", "are", "."}  # a noun phrase after one of these does not begin a clause
_LEADS = ("in", "on", "at", "of", "through", "inside")  # a bare noun may follow: "in park"
_RELATIONS = (  # wording, relation, whether the two are told the other way round
    (r"(?:on|to|at) the left(?: side)? of|left of", "left of", False),
    (r"(?:on|to|at) the right(?: side)? of|right of", "left of", True),
    (r"(?:on|at) the bottom of|below|underneath|beneath|under", "above", True),
    (r"(?:on|at) the top of|on top of|above|over", "above", False),
    (r"in front of", "behind", True),
    (r"behind", "behind", False),
    (r"inside(?: of)?", "inside", False),
)
_STYLE = re.compile(
    r"(?:in (?:the )?style of ([^,.;]+))|((?:[\w'-]+ ){0,2}[\w'-]+ style)\b"
    r"|((?:oil|watercolou?r|acrylic|ink wash) painting)"
    r"|\b(black and white(?= (?:film|photo|picture|video|style)|[,.]|$))"
    r"|\b(pixel art|pencil (?:drawing|sketch)|surrealism|cyberpunk|ukiyo-?e)\b"
)


@dataclass(frozen=True, kw_only=True)
class Thing:
    """A kind of thing in the singular, its colour where one is told, how many."""

    noun: str
    color: str | None = None
    count: int = 1

    @property
    def told(self) -> str:
        """Colour and noun: red car."""
        return f"{self.color} {self.noun}" if self.color else self.noun


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a prompt asks for; empty or None where it asks for nothing of the kind.

    `relation` is (number of a thing, one of `v2t.world.vocabulary.RELATIONS`, number of another): a is left of b.
    `action` is what the first thing does, as a gerund ("riding a bike").
    """

    things: tuple[Thing, ...] = ()
    relation: tuple[int, str, int] | None = None
    scene: str | None = None
    action: str | None = None
    style: str | None = None


def read(prompt: str) -> Asked:
    """What a prompt asks for; never raises, an empty text asks for nothing."""
    text = " ".join(prompt.lower().split())
    style = _style(text)
    words = re.findall(r"[a-z0-9']+(?:-[a-z0-9']+)*|[,.;:]", text.replace(style, " ") if style else text)
    phrases = _noun_phrases(words)
    places = [(_place_in(p.noun), p) for p in phrases]
    scene = next((place for place, p in places if place and (p.led or len(phrases) == 1 or p is phrases[0])), None)
    things = [p for place, p in places if not place or len(phrases) == 1]
    return Asked(
        things=tuple(Thing(noun=p.noun, color=p.color, count=p.count) for p in things),
        relation=_relation(words, things),
        scene=scene,
        action=_action(words),
        style=style,
    )


@dataclass(frozen=True)
class _NounPhrase:
    noun: str
    color: str | None
    count: int
    start: int  # of its words in the sentence
    end: int
    led: bool  # a preposition stands before it


def _noun_phrases(words: list[str]) -> list[_NounPhrase]:
    found, at = [], 0
    while at < len(words):
        start, opens = at, words[at] in NUMBERS
        bare = at == 0 or words[at - 1] in ("and", ",", *_LEADS)
        if not opens and not (bare and _goes_on(words[at])):
            at += 1
            continue
        at += opens
        while at < len(words) and (_goes_on(words[at]) or _joins_colors(words, at)):
            at += 1
        if words[at - 1 : at + 1] == ["pair", "of"] and at + 1 < len(words):
            at += 2
        found += _noun_phrase(words, start, at)
    return found


def _noun_phrase(words: list[str], start: int, end: int) -> list[_NounPhrase]:
    """The thing that words `start` to `end` name; none where they name the picture or only a colour."""
    opens = words[start] in NUMBERS
    said = [word for word in words[start + opens : end] if word != "and"]
    if said[:2] == ["pair", "of"]:
        said = said[2:]
    # "an orange" is a fruit and "a traffic light" a thing: the last word is the name, whatever else it may be
    name = [word for word in said[:-1] if word not in PLAIN and plain_color(word) not in COLORS] + said[-1:]
    if not name or name[-1] in NO_THINGS or (plain_color(name[-1]) in COLORS and not opens):
        return []
    color = next((plain_color(word) for word in said[:-1] if plain_color(word) in COLORS), None)
    led = start > 0 and words[start - 1] in _LEADING
    return [_NounPhrase(singular(" ".join(name)), color, NUMBERS.get(words[start], 1), start, end, led)]


def _goes_on(word: str) -> bool:
    return word not in _ENDS and word not in NUMBERS and not _is_gerund(word)


def _joins_colors(words: list[str], at: int) -> bool:
    """Whether an "and" stands between two colours of one thing: a black and white dog."""
    around = words[at - 1 : at + 3]
    return len(around) == 4 and around[1] == "and" and {plain_color(around[0]), plain_color(around[2])} <= set(COLORS)


def _place_in(noun: str) -> str | None:
    """The place that a noun ends on: "coastal beach" is a beach."""
    parts = noun.split()
    return next((place for i in range(len(parts)) if (place := " ".join(parts[i:])) in PLACES), None)


def _is_gerund(word: str) -> bool:
    return word.endswith("ing") and len(word) > 4 and word not in THINGS_ON_ING


def _relation(words: list[str], things: list[_NounPhrase]) -> tuple[int, str, int] | None:
    """The first relation told between two things that stand on both sides of its wording."""
    for number, (a, b) in enumerate(zip(things, things[1:], strict=False)):
        between = " ".join(words[a.end : b.start])
        for wording, relation, turned in _RELATIONS:
            if re.search(rf"\b(?:{wording})$", between):
                return (number + 1, relation, number) if turned else (number, relation, number + 1)
    return None


def _action(words: list[str]) -> str | None:
    """What stands after "is" or "are" (or right after the first noun phrase) and begins with a gerund."""
    for at, word in enumerate(words):
        if _is_gerund(word) and at > 0:
            begins = next((i + 1 for i in range(max(0, at - 3), at) if words[i] in ("is", "are")), at)
            said = words[begins:]  # "is roller skating"
            stop = next((i for i, w in enumerate(said) if w in (",", ".", ";", ":", "while", "then")), len(said))
            return " ".join(_without_place(said[:stop]))
    return None


def _without_place(said: list[str]) -> list[str]:
    """Without "in the park" at its end."""
    for at in range(len(said) - 1, 0, -1):
        if said[at] in ("in", "on", "at", "through", "across", "along"):
            rest = [w for w in said[at + 1 :] if w not in NUMBERS and w not in PLAIN]
            if " ".join(rest) in PLACES:
                return said[:at]
    return said


def _style(text: str) -> str | None:
    found = _STYLE.search(text)
    if found is None:
        return None
    said = next(group for group in found.groups() if group)
    said = re.sub(r"^(?:in|with|of|the|a|an|and) (?:(?:a|an|the) )?", "", said.strip())
    return None if said in ("style", "the style") else said


def plain_color(word: str) -> str:
    """One spelling for each colour: grey is gray."""
    return {"grey": "gray", "golden": "gold"}.get(word, word)


def singular(noun: str) -> str:
    """The noun in the singular; what is not surely a plural stays."""
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
