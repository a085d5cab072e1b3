"""Questions without presuppositions about a clip of one figure and one action, in the words of the cartoon world, and
every closed list of answers that a judge is offered.

In: a factor and a value, or a parsed prompt. Out: `Question`s with all answers of the world to choose from, in
both wordings of `cineloop.world.language.plain_questions`, or claims to be answered yes or no. They are independent:
"which way does the figure go" has an answer for a cat, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cineloop.world.language import lexicon as lex
from cineloop.world.language.grammar import article, inflect
from cineloop.world.language.plain_questions import PLAIN, Plain, motion_of, values
from cineloop.world.language.stated import Stated
from v2t_eval.judge.question import Question

# Every closed list a judge is offered: the plain ones, and those of the whole clip (`v2t_eval.judge.wording` asks
# them).
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
    found: dict[str, Any] = values(dict(facts))
    if len(facts["shots"]) == 1:
        found |= {"camera": facts["shots"][0].get("camera"), "style": facts.get("style")}
    return {factor: value for factor, value in found.items() if value in LISTS[factor].answers}


def plain_question(factor: str, value: str, id: str = "") -> Question:
    """The plain question about a factor, with the answer for `value` as the wanted one."""
    plain = LISTS[factor]
    first, *others = plain.wordings
    return Question(
        id=id or factor, question=first, wordings=tuple(others), about=factor,
        answer=plain.answers[value], choices=tuple(plain.answers.values()),
    )  # fmt: skip


def plain_claim(factor: str, value: str, id: str = "") -> Question:
    """The same as a claim, to be answered with yes."""
    return Question(id=id or factor, question=LISTS[factor].claims[value], about=factor)


def plain_values(stated: Stated) -> dict[str, str]:
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
    found = {"place": place, "kind": actor.kind, "color": actor.color, "size": actor.size, "motion": motion,
             "to_color": event.to_color}  # fmt: skip
    if motion == "travel":
        pace = {"walk": "slow", "run": "fast"}.get(event.action, event.speed)
        found |= {"direction": event.direction, "speed": pace}
    return {factor: value for factor, value in found.items() if value is not None and value in PLAIN[factor].answers}


def plain_questions(stated: Stated) -> list[Question]:
    """The plain questions of a prompt that they cover; none where it asks for a camera move or a style."""
    if stated.style or (stated.shots and stated.shots[0].camera):
        return []
    stated_values = plain_values(stated).items()
    return [plain_question(factor, value, f"q{n}") for n, (factor, value) in enumerate(stated_values, 1)]
