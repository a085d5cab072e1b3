"""Parse the requirements of a prompt in plain English: things, relations, a scene, actions, a style.

In: a sentence as people and prompt collections write them ("a red car on the left of a bicycle, in a street"). Out:
`Requirements`, with the parts of the sentence that were not parsed (`left`). A small grammar over the words of
`v2t_eval.judge.grammar.english`: a noun phrase ends in a known name, and what follows it must be something that ends a
noun phrase; an action is a verb with the phrases after it. Negated phrases and clauses that the grammar does not know
are skipped, so that a metric can report "nothing asked" instead of guessing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from v2t_eval.judge.grammar import english
from v2t_eval.judge.grammar.english import NO_THINGS, NUMBERS, PLACES, PLAIN, STOPS
from v2t_eval.judge.grammar.noun_phrases import (
    ADVERBS,
    BE,
    DETERMINERS,
    MARKS,
    POSSESSIVES,
    PRONOUNS,
    NounPhrase,
    finite_base,
    gerund,
    is_adverb,
    is_gerund,
    is_unknown,
    noun_phrase,
)

_RELATIONS = (  # wording, relation, whether the operands are swapped
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


_PLACE_LEADS = frozenset("in on at inside through across along around down within throughout".split())
_NO_COUNT = frozenset("country downtown sky space".split())  # places that are not one thing among others
_SPLIT = {phrase.replace(" ", "-"): phrase for phrase in english.PHRASES}
_VIEWS = frozenset("view shot tableau picture photo video clip footage image scene close-up painting".split())
_STATIC = BE | frozenset(
    "that which standing sitting lying located placed hanging parked stands sits lies right just "
    "directly perched on at the".split()
)
_FUNCTION = STOPS | DETERMINERS | POSSESSIVES | PRONOUNS | ADVERBS | NO_THINGS | frozenset(NUMBERS)
_CLAUSES = frozenset("while as when then because but until".split())


@dataclass(frozen=True, kw_only=True)
class Thing:
    """A kind of thing in the singular, its colour where one is given, how many; 0 where only that there are several."""

    noun: str
    color: str | None = None
    count: int = 1

    @property
    def phrase(self) -> str:
        """Colour and noun: red car."""
        return f"{self.color} {self.noun}" if self.color else self.noun

    @property
    def is_mass(self) -> bool:
        """Whether it is stuff, which has no number: snow."""
        return self.noun.split()[-1] in english.MASS


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """The requirements of a prompt; empty or None where it has none of a kind.

    `relation` is (number of a thing, one of `cineloop.world.vocabulary.RELATIONS`, number of another): a is left of b.
    `actions` are (number of a thing or None, what it does as a gerund: "riding a bike"). `left` holds the parts of the
    prompt that were not parsed, in its own words; `share_read` is the share of its content words outside them.
    """

    things: tuple[Thing, ...] = ()
    relation: tuple[int, str, int] | None = None
    scene: str | None = None
    actions: tuple[tuple[int | None, str], ...] = ()
    style: str | None = None
    left: tuple[str, ...] = ()
    share_read: float = 1.0

    @property
    def action(self) -> str | None:
        """The first action."""
        return self.actions[0][1] if self.actions else None


def read(prompt: str) -> Requirements:
    """The requirements of a prompt; never raises, an empty text has none."""
    text = re.sub(r"\([^)]*\)", " ", prompt.lower().replace("\u2019", "'"))
    text = " ".join(text.split())
    style = _style(text)
    for word, phrase in _SPLIT.items():
        text = text.replace(phrase, word)
    words = re.findall(r"[a-z0-9']+(?:-[a-z0-9']+)*|[,.;:]", text.replace(style, " , ") if style else text)
    reader = _Reader(words)
    for start, end in _clauses(words):
        reader.clause(start, end)
    return reader.requirements(style)


@dataclass
class _Reader:
    """Reads clause after clause; `covered` holds the parsed words."""

    words: list[str]
    phrases: list[NounPhrase] = field(default_factory=list)
    actions: list[tuple[NounPhrase | None, str]] = field(default_factory=list)
    covered: set[int] = field(default_factory=set)
    clauses: list[tuple[int, int]] = field(default_factory=list)

    def clause(self, start: int, end: int) -> None:
        """Read words `start` to `end` - 1."""
        self.clauses.append((start, end))
        words, at = self.words, start
        subject: NounPhrase | None = None  # of a finite verb: the first that no preposition leads
        last: NounPhrase | None = None  # right before this word, or before a form of "be" or an adverb
        while at < end and words[at] not in english.NEGATIONS:
            word = words[at]
            if word in BE or is_adverb(word):
                last = subject if word in BE else last
                at += 1
                continue
            done = self._action(at, end, subject, last)
            if done > at:
                last = next((phrase for phrase in self.phrases if phrase.end == done), None)
                at = done
                continue
            phrase = noun_phrase(words, at, start, end)
            if phrase is not None:
                self.phrases.append(phrase)
                self.covered |= set(range(phrase.start, phrase.end))
                if subject is None and (at == start or words[at - 1] not in STOPS):
                    subject = phrase
                at, last = phrase.end, phrase
                continue
            last = None if word not in ("and", ",") else last
            at += 1

    def _action(self, at: int, end: int, subject: NounPhrase | None, last: NounPhrase | None) -> int:
        """The end of an action that begins at word `at`, recorded with its subject; `at` where none begins."""
        words, word = self.words, self.words[at]
        after_be = at > 0 and words[at - 1] in BE
        rest = " ".join(words[at:end])
        if after_be and rest in english.ACTIVITIES:
            self.actions.append((subject, rest))
            self.covered |= set(range(at, end))
            return end
        base = finite_base(word)
        if last is not None and (is_gerund(word) or (after_be and _starts_gerund(words, at, end))):
            # "is roller skating": the gerund may have a name before it
            who, verb = last, word
        elif base and subject is not None and last is not None:
            who = last if last.led == "and" else subject
            if not _agrees(word, base, who) or (at + 1 < end and is_unknown(words[at + 1])):
                return at
            verb = gerund(base)
        else:
            return at
        first = next((i for i in range(at, min(at + 3, end)) if is_gerund(words[i])), at)
        stop = _end_of_action(words, (first if after_be else at) + 1, end)
        for inner in range(at + 1, stop):
            phrase = noun_phrase(words, inner, at, end)
            if phrase is not None and phrase.end <= stop and inner not in self.covered:
                self.phrases.append(replace(phrase, in_action=True))
                self.covered |= set(range(phrase.start, phrase.end))
        self.actions.append((who, " ".join(_without_place([verb, *words[at + 1 : stop]]))))
        self.covered |= set(range(at, stop))
        return stop

    def requirements(self, style: str | None) -> Requirements:
        """The requirements of all clauses read."""
        phrases, words = sorted(self.phrases, key=lambda phrase: phrase.start), self.words
        places = [(_place_in(phrase.noun), phrase) for phrase in phrases]
        all_of_it = [(p, place) for place, p in places if place and _is_scene(p, phrases, words)]
        scenes = [(p.led not in _PLACE_LEADS, place) for p, place in all_of_it]
        scene = min(scenes, key=lambda each: each[0])[1] if scenes else None
        things = [p for place, p in places if not p.is_owned and (not place or _is_thing(p, place, scene, phrases))]
        content = [at for start, end in self.clauses for at in range(start, end) if words[at] not in _FUNCTION]
        number = {id(phrase): index for index, phrase in enumerate(things)}
        return Requirements(
            things=tuple(Thing(noun=p.noun, color=p.color, count=p.count) for p in things),
            relation=_relation(words, things),
            scene=scene,
            actions=tuple((number.get(id(who)), action) for who, action in self.actions),
            style=style,
            left=self._left(),
            share_read=1.0 - sum(at not in self.covered for at in content) / max(1, len(content)),
        )

    def _left(self) -> tuple[str, ...]:
        """Runs of words that were not parsed, without those of function words only."""
        parts = []
        for start, end in self.clauses:
            run: list[int] = []
            for at in [*range(start, end), -1]:
                if at >= 0 and at not in self.covered:
                    run.append(at)
                    continue
                if any(self.words[i] not in _FUNCTION for i in run):
                    parts.append(" ".join(_SPLIT.get(self.words[i], self.words[i]) for i in run))
                run = []
        return tuple(parts)


def _clauses(words: list[str]) -> list[tuple[int, int]]:
    """Where clauses begin and end: at marks, and at words that join clauses."""
    clauses, start = [], 0
    for at, word in enumerate([*words, "."]):
        joins = word in _CLAUSES or (word in ("before", "after") and at + 1 < len(words) and words[at + 1] in PRONOUNS)
        if word in MARKS or joins:
            if at > start:
                clauses.append((start, at))
            start = at + 1
    return clauses


def _is_scene(phrase: NounPhrase, phrases: list[NounPhrase], words: list[str]) -> bool:
    """Whether a place is the scene, and not one thing among others."""
    if phrase.led in _PLACE_LEADS or len(phrases) == 1:
        return True
    if phrase is phrases[0] and not phrase.led and phrase.noun not in english.MASS:
        return True
    return phrase.led == "of" and phrase.start > 1 and words[phrase.start - 2] in _VIEWS


def _is_thing(phrase: NounPhrase, place: str, scene: str | None, phrases: list[NounPhrase]) -> bool:
    """Whether a place is one thing among others ("near a pond"), or all that is named: a tall building."""
    is_alone = len(phrases) == 1 and not phrase.led and phrase.noun.split()[-1] in english.NOUNS
    return is_alone or (place != scene and place not in _NO_COUNT)


def _place_in(noun: str) -> str | None:
    """The place that a noun ends on: "coastal beach" is a beach."""
    parts = noun.split()
    if parts[-1] in NO_THINGS:
        parts = parts[:-1]
    return next((place for i in range(len(parts)) if (place := " ".join(parts[i:])) in PLACES), None)


def _starts_gerund(words: list[str], at: int, end: int) -> bool:
    """Whether a gerund stands within three words, "roller skating", and nothing but names before it."""
    return any(is_gerund(w) for w in words[at : min(at + 3, end)]) and words[at] not in _FUNCTION


def _agrees(word: str, base: str, subject: NounPhrase) -> bool:
    """Whether a finite verb can be that of a subject: she walks, they walk."""
    return (word == base) == subject.is_plural or subject.noun in english.INVARIANT


def _end_of_action(words: list[str], at: int, end: int) -> int:
    """Where what belongs to a verb ends: before "and", another verb, a participle or a negation."""
    while at < end:
        word, before = words[at], words[at - 1]
        after_name = before not in STOPS and before not in DETERMINERS and not is_gerund(before)
        if word == "and" or word in english.NEGATIONS:
            return at
        if after_name and (is_gerund(word) or word.endswith("ed")):
            return at
        if after_name and finite_base(word) and word != finite_base(word) and before not in PLAIN:
            return at
        at += 1
    return end


def _relation(words: list[str], things: list[NounPhrase]) -> tuple[int, str, int] | None:
    """The first relation stated between two things at rest on both sides of its wording."""
    for number, (a, b) in enumerate(zip(things, things[1:], strict=False)):
        between = " ".join(words[a.end : b.start])
        for wording, relation, turned in _RELATIONS:
            match = None if a.in_action else re.search(rf"\b(?:{wording})$", between)
            if match and set(between[: match.start()].split()) <= _STATIC:
                return (number + 1, relation, number) if turned else (number, relation, number + 1)
    return None


def _without_place(words: list[str]) -> list[str]:
    """Without "in the park" at its end."""
    for at in range(len(words) - 1, 0, -1):
        if words[at] in ("in", "on", "at", "through", "across", "along"):
            rest = [w for w in words[at + 1 :] if w not in NUMBERS and w not in PLAIN]
            if " ".join(rest) in PLACES:
                return words[:at]
    return words


def _style(text: str) -> str | None:
    match = _STYLE.search(text)
    if match is None:
        return None
    style = next(group for group in match.groups() if group)
    style = re.sub(r"^(?:in|with|of|the|a|an|and) (?:(?:a|an|the) )?", "", style.strip())
    return None if style in ("style", "the style") else style
