"""Captions of a cartoon clip: short (one sentence), detailed (two to four sentences), timed (one line an event), and
notes (one line an event in the canonical wording, see `cineloop.world.language.notes`).

In: `Scene.facts()` and a `random.Random`. Out: English; a pure function of the facts and the stream (only
`rng.random()` is called, so it is the same on every machine). `read_text.parse` is the inverse: what a caption must
state by `stated.required(style)` can be read back from it exactly.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from cineloop.world.language import lexicon as lex
from cineloop.world.language import notes
from cineloop.world.language.grammar import (
    AFTER_VERB,
    END,
    LEAD,
    SLOTS,
    Fact,
    Item,
    Ref,
    Teller,
    article,
    chance,
    inflect,
    pick,
)
from cineloop.world.language.stated import STYLES, steps_of

PROMPTS: dict[str, str] = {
    "short": "Describe the video in one sentence.",
    "detailed": "Describe the video in detail.",
    "timed": "List the events of the video with their times.",
    "notes": "Note every event with its times in plain words.",
}
_OPENERS = ("we see", "you can see", "the video shows", "the clip shows")
_NEXT = ("then", "after that,", "next,", "afterwards,")
_HORIZONTAL = ("left", "right")


def captions(facts: Fact, rng: random.Random, n: int = 3) -> dict[str, list[str]]:
    """`n` paraphrases in each style (short, detailed, timed)."""
    return {style: [caption(facts, style, rng) for _ in range(n)] for style in STYLES}


def caption(facts: Fact, style: str, rng: random.Random) -> str:
    """One caption; the style "prompt" is a short one that seldom leaves out speed, as people write prompts.

    Raises:
        ValueError: on an unknown style.
    """
    if style == "short":
        return _short(facts, rng)
    if style == "prompt":
        return _short(facts, rng, sizes=0.4, speeds=0.9)
    if style == "detailed":
        return _detailed_text(facts, rng)
    if style == "timed":
        return _timed_text(facts, rng)
    if style == "notes":
        return notes.write(facts)
    raise ValueError(f"style must be one of {', '.join(PROMPTS)}, not {style!r}")


# --- from items to text
def say(teller: Teller, items: Sequence[Item], *, place: str | None = None, end: str = ".") -> str:
    """Put a clause into words: mentions become noun phrases, the place takes one of the slots left for it."""
    slots = [i for i, item in enumerate(items) if item in SLOTS]
    chosen = pick(teller.rng, slots) if slots and place is not None else -1
    text = ""
    for position, item in enumerate(items):
        if isinstance(item, Ref):
            word = teller.mention(item)
        elif item in SLOTS:
            if position != chosen:
                continue
            where = _where(teller, items, position, place or "")
            word = where + "," if item == LEAD else where
        else:
            word = item
        text += word if word == "," or not text else " " + word
    return text[0].upper() + text[1:] + end


def _where(teller: Teller, items: Sequence[Item], position: int, place: str) -> str:
    before = items[position - 1] if position else ""
    sideways = isinstance(before, str) and before.endswith(_HORIZONTAL)
    if items[position] == AFTER_VERB and sideways and chance(teller.rng, 0.3):
        return lex.PLACE_ACROSS[place]
    return pick(teller.rng, lex.PLACE_PHRASES[place])


# --- the plot: what to tell in which clause
def _steps(facts: Fact, shot: int) -> list[list[Fact]]:
    events = [e for e in facts["events"] if e["shot"] == shot]
    groups: list[list[Fact]] = []
    for event, step in zip(events, steps_of([(e["start_s"], e["end_s"]) for e in events]), strict=True):
        if step == len(groups):
            groups.append([])
        groups[step].append(event)
    return groups


def _units(steps: Sequence[list[Fact]]) -> list[list[list[Fact]]]:
    """Join consecutive steps in which the same actor acts alone."""
    units: list[list[list[Fact]]] = []
    for step in steps:
        last = units[-1] if units else None
        alone = len(step) == 1 and last is not None and len(last[-1]) == 1
        if alone and last is not None and last[-1][0]["actor"] == step[0]["actor"]:
            last.append(step)
        else:
            units.append([step])
    return units


def _unit(teller: Teller, unit: Sequence[list[Fact]], form: str, *, plain: bool = False) -> list[Item]:
    if len(unit[0]) > 1:
        return teller.together(unit[0], form)
    return teller.solo([step[0] for step in unit], form, plain=plain)


def _join(teller: Teller, units: Sequence[Sequence[list[Fact]]], form: str, *, plain: bool = False) -> list[Item]:
    """One sentence that tells all `units` in order."""
    rng = teller.rng
    if len(units) == 1:
        return _unit(teller, units[0], form, plain=plain)
    short = all(len(unit) == 1 and len(unit[0]) == 1 for unit in units)
    if len(units) == 2 and short and not plain and form == "fin" and chance(rng, 0.6):
        first, second = (_unit(teller, unit, "fin") for unit in units)
        shape = int(rng.random() * 5)
        if shape == 0:
            return ["after", *first, ",", *second]
        if shape == 1:
            return [*second, "after", *first]
        if shape == 2:
            return ["before", *second, ",", *first]
        if shape == 3:
            return ["first", *first, ",", "then", *second]
        return [*first, "before", *second]
    sentence = _unit(teller, units[0], form, plain=True)
    for unit in units[1:]:
        link = pick(rng, ([",", "then"], ["and then"], [",", "and then"], [",", "and after that"]))
        sentence = [*sentence, *link, *_unit(teller, unit, form, plain=True)]
    return sentence


def _sentence(teller: Teller, units: Sequence[Sequence[list[Fact]]], opening: str = "") -> list[Item]:
    """A whole sentence with one of the openings; `opening` forces a noun such as "a pencil drawing of"."""
    rng = teller.rng
    if opening:
        return [opening, *_join(teller, units, "ing"), END]
    single = len(units) == 1 and len(units[0]) == 1 and len(units[0][0]) == 1
    draw = rng.random()
    if draw < 0.5:
        return [LEAD, *_join(teller, units, "fin"), END]
    if draw < 0.62:
        return [LEAD, *_join(teller, units, "prog" if single else "fin"), END]
    if draw < 0.72:
        clause = _join(teller, units, "ing")
        first = next(item for item in clause if isinstance(item, Ref))
        be = "there are" if teller.actors[first.actor]["count"] > 1 else "there is"
        return [LEAD, be, *clause, END]
    if draw < 0.86:
        return [LEAD, pick(rng, _OPENERS), *_join(teller, units, "ing"), END]
    if draw < 0.94:
        return [LEAD, *_join(teller, units, "ing"), END]
    return ["watch", *_join(teller, units, "bare"), END]


# --- the three styles
def _short(facts: Fact, rng: random.Random, *, sizes: float = 0.2, speeds: float = 0.3) -> str:
    parts: list[str] = []
    for number, shot in enumerate(facts["shots"]):
        teller = Teller(facts, number, rng, sizes=sizes, speeds=speeds)
        units = _units(_steps(facts, number))
        if not number:
            parts.append(say(teller, _sentence(teller, units), place=shot["place"], end=""))
            continue
        parts.append(_cut(teller, units, shot["place"], plain=True))
    return ", ".join(parts) + "."


def _cut(teller: Teller, units: Sequence[Sequence[list[Fact]]], place: str, *, plain: bool) -> str:
    """A clause (no capital, no full stop) that opens a new shot."""
    rng = teller.rng
    if chance(rng, 0.6):
        clause = _lower(say(teller, _join(teller, units, "fin", plain=plain), end=""))
        return f"then {pick(rng, lex.CUTS)} {lex.PLACE_NAMES[place]}, where {clause}"
    clause = _lower(say(teller, [LEAD, *_join(teller, units, "fin", plain=plain)], place=place, end=""))
    return f"and after a cut, {clause}"


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]


def _detailed_text(facts: Fact, rng: random.Random) -> str:
    style = facts["style"]
    sentences: list[str] = []
    styled = chance(rng, 0.5)  # the style opens the text, or else it ends it
    alone = len(facts["shots"]) == 1
    for number, shot in enumerate(facts["shots"]):
        teller = Teller(facts, number, rng, sizes=1.0, speeds=1.0)
        units = _units(_steps(facts, number))
        of_shot: list[str] = []
        opening = ""
        if styled and not number:
            opening = f"{article(pick(rng, lex.STYLE_NOUNS[style]))} {pick(rng, ('of', 'showing'))}"
        if alone and chance(rng, 0.6 if teller.relations else 0.3):
            of_shot.append(_setup(teller, shot["place"], opening))
            if len(teller.here) > 1:
                teller.forget_pronouns()
            of_shot += _event_sentences(teller, units, None, "", most=2)
        elif number:
            of_shot.append(_upper(_cut(teller, units, shot["place"], plain=False)) + ".")
        else:
            of_shot += _event_sentences(teller, units, shot["place"], opening, most=2 if alone else 1)
        last = number == len(facts["shots"]) - 1
        closing = styled or not last
        if closing and (len(of_shot) > 1 or not alone) and chance(rng, 0.5 if alone else 1.0):
            busy = " while " in of_shot[-1] or " as " in of_shot[-1].lower()
            of_shot[-1] = f"{of_shot[-1][:-1]} {_camera_clause(rng, shot['camera'], busy)}."
        elif closing:
            of_shot.append(_camera_sentence(rng, shot["camera"]))
        else:
            of_shot.append(_tail(rng, shot["camera"], style))
        sentences += of_shot
    return " ".join(sentences)


def _setup(teller: Teller, place: str, opening: str) -> str:
    """A sentence that says who is where, before anything happens."""
    rng = teller.rng
    items: list[Item] = []
    related = {i for r in teller.relations for i in (r["a"], r["b"])}
    for index in teller.here:
        if index in related and index != teller.relations[0]["a"]:
            continue  # named by its relation
        items += [*(["and"] if items else []), Ref(index)]
    first = teller.actors[next(item for item in items if isinstance(item, Ref)).actor]
    be = "there are" if first["count"] > 1 else "there is"
    name = lex.PLACE_NAMES[place]
    shape = int(rng.random() * 3)
    if opening:
        return (
            say(teller, [opening, *items, END], place=place)
            if shape
            else say(teller, [f"{opening} {name} with", *items])
        )
    if shape == 0:
        return say(teller, [f"the scene is {name} with", *items])
    if shape == 1:
        return say(teller, [LEAD, be, *items], place=place)
    return say(teller, [be, *items, END], place=place)


def _event_sentences(
    teller: Teller, units: Sequence[Sequence[list[Fact]]], place: str | None, opening: str, *, most: int
) -> list[str]:
    rng = teller.rng
    steps = [step for unit in units for step in unit]
    cut = 1 + int(rng.random() * (len(steps) - 1)) if len(steps) > 1 and most > 1 and chance(rng, 0.7) else len(steps)
    if place is None:
        items = _join(teller, _units(steps[:cut]), "fin")
    else:
        items = _sentence(teller, _units(steps[:cut]), opening)
    sentences = [say(teller, items, place=place)]
    if cut < len(steps):
        items = [pick(rng, _NEXT), *_join(teller, _units(steps[cut:]), "fin", plain=True)]
        sentences.append(say(teller, items))
    return sentences


def _camera_clause(rng: random.Random, camera: str, busy: bool) -> str:
    """A clause to hang on a sentence; a `busy` one has a "while" or "as" already."""
    verb = pick(rng, lex.CAMERA_VERBS[camera])
    shape = 2 if busy else int(rng.random() * 3)
    if shape == 0:
        return f"while the camera {inflect(verb, 's')}"
    if shape == 1:
        return f"as the camera {inflect(verb, 's')}"
    return f"with the camera {inflect(verb, 'ing')}"


def _camera_sentence(rng: random.Random, camera: str) -> str:
    return f"The camera {inflect(pick(rng, lex.CAMERA_VERBS[camera]), 's')}."


def _tail(rng: random.Random, camera: str, style: str) -> str:
    """Camera and style in the last sentence."""
    verb, how = inflect(pick(rng, lex.CAMERA_VERBS[camera]), "s"), pick(rng, lex.STYLE_HOW[style])
    named = article(pick(rng, lex.STYLE_NOUNS[style]))
    shape = int(rng.random() * 4)
    if shape == 0:
        return f"The video is {how}, and the camera {verb}."
    if shape == 1:
        return f"The camera {verb}, and everything is {how}."
    if shape == 2:
        return f"It is {named}, and the camera {verb}."
    return f"This is {named} in which the camera {verb}."


def _timed_text(facts: Fact, rng: random.Random) -> str:
    lines: list[str] = []
    for number, shot in enumerate(facts["shots"]):
        teller = Teller(facts, number, rng, sizes=1.0, speeds=1.0)
        camera = shot["camera"]
        for position, event in enumerate(e for e in facts["events"] if e["shot"] == number):
            items: list[Item] = [LEAD, *teller.clause(event, "fin"), END]
            clause = say(teller, items, place=None if position else shot["place"])
            if number and not position:
                clause = f"after a cut, {_lower(clause)}"
            lines.append(f"{event['start_s']:.1f}-{event['end_s']:.1f}s: {_lower(clause)}")
            teller.forget_pronouns()
        if camera != "static":
            verb = inflect(pick(rng, lex.CAMERA_VERBS[camera]), "s")
            lines.append(f"{shot['start_s']:.1f}-{shot['end_s']:.1f}s: the camera {verb}.")
    return "\n".join(lines)
