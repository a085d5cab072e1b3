"""Questions about the requirements of a prompt, in words.

In: a prompt, or one of its requirements. Out: `Question`s, or one as text. Those of cartoon prompts have the wording
of `cineloop.world.language.claims` and `cineloop.world.language.questions`, which the starter was trained on; of
other prompts the same forms. Of prompts for one figure that does one thing the questions may be those of
`cineloop.world.language.plain_questions`, which presuppose nothing and so are independent: "which way does the figure
go" has an answer whatever the figure is. They have all answers of the world to choose from, or are claims to be
answered yes or no.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cineloop.world import vocabulary as words
from cineloop.world.language import lexicon as lex
from cineloop.world.language.claims import NamedFacts
from cineloop.world.language.grammar import article, inflect, noun
from cineloop.world.language.plain_questions import PLAIN, Plain, motion_of, values
from cineloop.world.language.read_text import parse_whole
from cineloop.world.language.stated import StatedFacts
from cineloop.world.language.words import PROMPTS
from v2t_eval.judge.grammar import english
from v2t_eval.judge.grammar.english import IRREGULAR
from v2t_eval.judge.grammar.free_text import Requirements, Thing
from v2t_eval.judge.grammar.prompt import of_prompt
from v2t_eval.judge.question import Question

DESCRIBE = PROMPTS["short"]
WHERE = "Where does this happen?"
_PLURALS = {one: many for many, one in IRREGULAR.items()} | dict.fromkeys(
    (*english.PLURAL_ONLY, *english.INVARIANT), ""
)
_PLURALS = {one: many or one for one, many in _PLURALS.items()}
_EMPHASIS = re.compile(
    r"\bright (?=(?:next|above|over|below|under\w*|beneath|on|at|in|beside|by|behind|before|near)\b)"
)
_SIDES = {"left": "to the left of", "right": "to the right of", "top": "above", "bottom": "below"}


def of_text(prompt: str, *, closed: bool = False) -> list[Question]:
    """Questions to which a clip of the prompt gives the wanted answer, parents first; empty where the grammar
    reads no requirement.

    Args:
        closed: of cartoon prompts ask where, which way, how big and so on with all answers of that world as choices,
            for a model trained on these; else everything is a question of yes or no. Of one figure and one event
            they are the plain questions; of others also what a description begins with ("A red dog", or cat, or car).
    """
    stated = parse_whole(prompt)
    if stated is None:
        return _questions_of(of_prompt(prompt))
    return (plain_questions(stated) if closed else []) or _of_world(stated, closed)


class _List:
    """A list of questions without duplicates."""

    def __init__(self, closed: bool = False) -> None:
        self.questions: list[Question] = []
        self.closed = closed

    def add(self, text: str, *parents: str, **more: Any) -> str:
        for question in self.questions:
            if question.question == text:
                return question.id
        id = f"q{len(self.questions) + 1}"
        self.questions.append(Question(id=id, question=text, parents=parents, **more))
        return id

    def add_either(self, claim: str, ask: str, answer: str, choices: Iterable[str], *parents: str, about: str) -> None:
        """Add the claim to be answered with yes or no, or the question with its choices."""
        if self.closed:
            self.add(ask, *parents, answer=answer, choices=tuple(choices), about=about)
        else:
            self.add(claim, *parents, about=about)


def unread_parts(prompt: str) -> tuple[str, ...]:
    """The parts of a prompt that the grammar cannot parse, so that `of_text` asks nothing about them."""
    return () if parse_whole(prompt) is not None else of_prompt(prompt).left


def coverage(prompt: str) -> float:
    """Share of a prompt's content words that `of_text` asks about; 1 for a prompt without such words."""
    return 1.0 if parse_whole(prompt) is not None else of_prompt(prompt).share_read


def exists(thing: Thing) -> str:
    """Is there a dog? Are there any red dogs? Is there any snow?"""
    if thing.is_mass:
        return f"Is there any {thing.phrase}?"
    is_one = thing.count == 1 and not _is_plural(thing)
    return f"Is there {article(thing.phrase)}?" if is_one else f"Are there any {_plural(thing.phrase)}?"


def exactly(thing: Thing) -> str:
    """Are there exactly two dogs? Where no number is given, whether there are any."""
    if thing.count < 2 or thing.is_mass:
        return exists(thing)
    return f"Are there exactly {lex.NUMBERS.get(thing.count, thing.count)} {_plural(thing.noun)}?"


def _be(thing: Thing) -> str:
    """Is the dog; are the dogs."""
    is_one = thing.is_mass or (thing.count == 1 and not _is_plural(thing))
    return f"Is the {thing.noun}" if is_one else f"Are the {_plural(thing.noun)}"


def _is_plural(thing: Thing) -> bool:
    return thing.noun.split()[-1] in english.PLURAL_ONLY


def is_colored(thing: Thing) -> str:
    """Is the car red?"""
    return f"{_be(thing)} {thing.color}?"


def without_emphasis(relation: str) -> str:
    """A relation in small letters without a "right" that is not a side: right next to, right behind."""
    return _EMPHASIS.sub("", relation.lower())


def stands(a: Thing, how: str, b: Thing) -> str:
    """Is the dog to the left of the cat? `how` is one of the world's relations, or any phrase ("on the left of")."""
    phrase = lex.RELATION_WORDS.get(how, (how,))[0]
    if how not in lex.RELATION_WORDS:
        phrase = next((plain for word, plain in _SIDES.items() if word in without_emphasis(how).split()), phrase)
    return f"{_be(a)} {phrase} the {b.noun if b.count == 1 or b.is_mass else _plural(b.noun)}?"


def happens(scene: str) -> str:
    """Does this happen on the beach? Is the scene an alley?"""
    place = lex.PLACE_NOUNS.get(scene, scene)
    if place in lex.PLACE_PHRASES:
        return f"Does this happen {lex.PLACE_PHRASES[place][0]}?"
    return f"Is the scene {article(scene)}?"


def does(prompt: str, action: str) -> str:
    """Does the ball roll? Is the person riding a bike? Asked of the first thing of the prompt."""
    stated = parse_whole(prompt)
    if stated is not None and action == of_prompt(prompt).action:
        actions = [
            q.question for q in _of_world(stated) if q.question.startswith(("Does the ", "Do the ")) and q.parents
        ]
        if actions:
            return actions[0]
    wanted = of_prompt(prompt)
    who = next((number for number, each in wanted.actions if each == action), 0 if wanted.things else None)
    return f"Is the person {action}?" if who is None else f"{_be(wanted.things[who])} {action}?"


def _questions_of(asked: Requirements) -> list[Question]:
    listed = _List()
    roots = []
    nouns = [thing.noun for thing in asked.things]
    for thing in asked.things:
        bare = Thing(noun=thing.noun, count=thing.count)
        roots.append(listed.add(exists(bare), about="kind"))
        if thing.color and nouns.count(thing.noun) > 1:  # "is the car red" would not say which
            roots[-1] = listed.add(exists(thing), roots[-1], about="color")
        elif thing.color:
            listed.add(is_colored(thing), roots[-1], about="color")
        if thing.count > 1:
            listed.add(exactly(thing), roots[-1], about="count")
    for who, action in asked.actions:
        if who is not None and nouns.count(asked.things[who].noun) == 1:
            listed.add(f"{_be(asked.things[who])} {action}?", roots[who], about="action")
    if asked.relation:
        a, how, b = asked.relation
        listed.add(stands(asked.things[a], how, asked.things[b]), roots[a], roots[b], about="relation")
    if asked.scene:
        listed.add(happens(asked.scene), about="place")
    return listed.questions


def _plural(noun_: str) -> str:
    *first, last = noun_.split()
    if last in _PLURALS:
        return " ".join([*first, _PLURALS[last]])
    if last.endswith(("s", "sh", "ch", "x")):
        return noun_ + "es"
    return noun_[:-1] + "ies" if noun_.endswith("y") and noun_[-2:-1] not in "aeiou" else noun_ + "s"


def _of_world(stated: StatedFacts, closed: bool = False) -> list[Question]:
    """In the words of `cineloop.world.language.claims`; of two figures of one name only what distinguishes
    them is asked."""
    actors = [{"kind": a.kind, "color": a.color, "count": a.count or 1} for a in stated.actors]
    events = [
        {"actor": e.actor, "action": e.action, "target": e.target, "direction": e.direction, "speed": e.speed,
         "to_color": e.to_color} for e in stated.events if e.actor is not None
    ]  # fmt: skip
    clip = NamedFacts({"actors": actors, "events": events, "shots": stated.shots})
    listed = _List(closed)
    roots = []
    for index, actor in enumerate(stated.actors):
        roots.append(_about_actor(clip, listed, index, actor.size))
    for event in clip.clear_events:
        _about_event(clip, listed, event, roots)
    for relation in stated.relations:
        if clip.names[relation.a] and clip.names[relation.b]:
            phrase = lex.RELATION_WORDS[relation.relation][0]
            text = f"{clip.be(relation.a).capitalize()} {clip.name(relation.a)} {phrase} {clip.name(relation.b)}?"
            listed.add(text, roots[relation.a], roots[relation.b], about="relation")
    one_shot = len(stated.shots) == 1
    for shot in stated.shots:
        if shot.place and one_shot:
            listed.add_either(happens(shot.place), WHERE, *_answers(lex.PLACE_PHRASES, shot.place), about="place")
        elif shot.place:
            listed.add(f"Is there a scene {lex.PLACE_PHRASES[shot.place][0]}?", about="place")
    camera = stated.shots[0].camera
    if one_shot and camera:
        moves = {name: (f"it {inflect(verbs[0], 's')}",) for name, verbs in lex.CAMERA_VERBS.items()}
        listed.add_either(
            f"Does the camera {lex.CAMERA_VERBS[camera][0]}?",
            "What does the camera do?",
            *_answers(moves, camera),
            about="camera",
        )
    if stated.style:
        claim = f"Is this {article(lex.STYLE_NOUNS[stated.style][0])}?"
        listed.add_either(claim, "What style is the video?", *_answers(lex.STYLE_NOUNS, stated.style), about="style")
    return listed.questions


def _answers(phrases: Mapping[Any, tuple[str, ...] | str], key: Any) -> tuple[str, list[str]]:
    """The answer for `key`, and all answers."""
    answers = {name: words if isinstance(words, str) else words[0] for name, words in phrases.items()}
    return answers[key], list(answers.values())


def _about_actor(clip: NamedFacts, listed: _List, index: int, size: str | None) -> str:
    actor = clip.actors[index]
    kind, count, color = actor["kind"], actor["count"], actor["color"]
    if listed.closed and color and len(clip.actors) == 1:
        begins = [_beginning(color, each, count) for each in words.KINDS]
        root = listed.add(
            DESCRIBE, answer=_beginning(color, kind, count), choices=tuple(begins), begins=True, about="kind"
        )
    else:
        root = listed.add(
            f"Is there {article(kind)}?" if count == 1 else f"Are there any {noun(kind, 2)}?", about="kind"
        )
    if count > 1:
        listed.add(f"Are there exactly {lex.NUMBERS[count]} {noun(kind, count)}?", root, about="count")
    be, name = clip.be(index).capitalize(), clip.names[index]
    if color and name == f"the {noun(kind, count)}":
        first = " at first" if clip.changes(index, "recolor") else ""
        listed.add(f"{be} {name} {color}{first}?", root, about="color")
    elif color:
        figure = article(f"{color} {kind}") if count == 1 else f"any {color} {noun(kind, 2)}"
        root = listed.add(f"{'Is' if count == 1 else 'Are'} there {figure}?", root, about="color")
    if size and name:
        first = " at first" if clip.changes(index, "grow", "shrink") else ""
        listed.add_either(
            f"{be} {name} {size}{first}?",
            f"How big {be.lower()} {name}{first}?",
            *_answers(lex.SIZE_WORDS, size),
            root,
            about="size",
        )
    return root


def _beginning(color: str, kind: str, count: int) -> str:
    """The beginning of a description that begins with the figure: A red dog. Two red dogs."""
    figure = f"{color} {noun(kind, count)}"
    return (article(figure) if count == 1 else f"{lex.NUMBERS[count]} {figure}").capitalize()


def _about_event(clip: NamedFacts, listed: _List, event: Mapping[str, Any], roots: Sequence[str]) -> None:
    actor, target = event["actor"], event["target"]
    parents = [roots[actor]] + ([roots[target]] if target is not None else [])
    ask = f"{clip.do(actor).capitalize()} {clip.name(actor)} {clip.verb(event, 'bare', way=False)}"
    does = listed.add(f"{ask}?", *parents, about="action")
    if event["direction"]:
        way, ways = _answers(lex.DIRECTION_WORDS, event["direction"])
        verb = "go" if target is not None else clip.verb(event, "bare", way=False)
        verb = "go after turning around" if event["action"] == "turn" else verb
        listed.add_either(
            f"{ask} {way}?",
            f"Which way {clip.do(actor)} {clip.name(actor)} {verb}?",
            way,
            ways,
            does,
            about="direction",
        )
    if event["speed"]:
        pace, paces = _answers(lex.SPEED_WORDS, event["speed"])
        how = f"How fast {clip.do(actor)} {clip.name(actor)} {clip.verb(event, 'bare', way=False)}?"
        listed.add_either(f"{ask} {pace}?", how, pace, paces, does, about="speed")


# Every closed list a judge is offered: the plain ones, and those of the whole clip (this module
# asks them).
LISTS: dict[str, Plain] = {
    **PLAIN,
    "camera": Plain(
        wordings=("What does the camera do?",),
        answers={camera: f"it {inflect(verbs[0], 's')}" for camera, verbs in lex.CAMERA_VERBS.items()},
        claims={camera: f"Does the camera {verbs[0]}?" for camera, verbs in lex.CAMERA_VERBS.items()},
    ),
    "style": Plain(
        wordings=("What style is the video?",),
        answers={style: nouns[0] for style, nouns in lex.STYLE_NOUNS.items()},
        claims={style: f"Is this {article(nouns[0])}?" for style, nouns in lex.STYLE_NOUNS.items()},
    ),
}


def listed_values(facts: Mapping[str, Any]) -> dict[str, str]:
    """What is true of a clip of the world (`Scene.facts()`), for every factor of `LISTS` that has a value."""
    every: dict[str, Any] = values(dict(facts))
    if len(facts["shots"]) == 1:
        every |= {"camera": facts["shots"][0].get("camera"), "style": facts.get("style")}
    return {factor: value for factor, value in every.items() if value in LISTS[factor].answers}


def plain_question(factor: str, value: str, id: str = "") -> Question:
    """The plain question about a factor, with the answer for `value` as the wanted one.

    Raises:
        KeyError: no such factor or value.
    """
    plain = LISTS[factor]
    first, *others = plain.wordings
    return Question(
        id=id or factor, question=first, wordings=tuple(others), about=factor,
        answer=plain.answers[value], choices=tuple(plain.answers.values()),
    )  # fmt: skip


def plain_claim(factor: str, value: str, id: str = "") -> Question:
    """The same as a claim, to be answered with yes.

    Raises:
        KeyError: no such factor, or a value without a claim.
    """
    return Question(id=id or factor, question=LISTS[factor].claims[value], about=factor)


def plain_values(stated: StatedFacts) -> dict[str, str]:
    """What is stated of one figure that does one thing, by the factors of `cineloop.world.language.plain_questions`;
    empty for any other prompt."""
    if len(stated.actors) != 1 or len(stated.events) != 1 or len(stated.shots) > 1 or stated.relations:
        return {}
    actor, event = stated.actors[0], stated.events[0]
    if event.actor is None or event.target is not None or (actor.count or 1) != 1:
        return {}
    try:
        motion = motion_of(event.action)
    except ValueError:
        return {}
    place = stated.shots[0].place if stated.shots else None
    every = {"place": place, "kind": actor.kind, "color": actor.color, "size": actor.size, "motion": motion,
             "to_color": event.to_color}  # fmt: skip
    if motion == "travel":
        pace = {"walk": "slow", "run": "fast"}.get(event.action, event.speed)
        every |= {"direction": event.direction, "speed": pace}
    return {factor: value for factor, value in every.items() if value is not None and value in PLAIN[factor].answers}


def plain_questions(stated: StatedFacts) -> list[Question]:
    """The plain questions of a prompt that they cover; none where it asks for a camera move or a style."""
    if stated.style or (stated.shots and stated.shots[0].camera):
        return []
    stated_values = plain_values(stated).items()
    return [plain_question(factor, value, f"q{n}") for n, (factor, value) in enumerate(stated_values, 1)]
