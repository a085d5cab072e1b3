"""Questions to a clip of one figure that does one thing, which presuppose nothing, in the words of the cartoon world.

In: a factor and a value, or what a prompt states. Out: `Question`s with all answers of the world to choose from, in
both wordings of `v2t.world.plain_questions`, or claims to be answered yes or no. None hangs on another: of a cat, too,
it can be said which way the figure goes.
"""

from __future__ import annotations

from v2t.judge.question import Question
from v2t.world.plain_questions import PLAIN, motion_of
from v2t.world.stated import Stated


def plain_question(factor: str, value: str, id: str = "") -> Question:
    """The plain question about a factor, with the answer for `value` as the wanted one.

    Raises:
        KeyError: no such factor or value.
    """
    plain = PLAIN[factor]
    first, *others = plain.wordings
    return Question(
        id=id or factor, question=first, wordings=tuple(others), about=factor,
        answer=plain.answers[value], choices=tuple(plain.answers.values()),
    )  # fmt: skip


def plain_claim(factor: str, value: str, id: str = "") -> Question:
    """The same as a claim, to be answered with yes.

    Raises:
        KeyError: no such factor, or a value of which nothing is claimed.
    """
    return Question(id=id or factor, question=PLAIN[factor].claims[value], about=factor)


def plain_values(stated: Stated) -> dict[str, str]:
    """What is stated of one figure that does one thing, by the factors of `v2t.world.plain_questions`; empty where
    there is more than that, or less."""
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
    """The plain questions of a prompt that asks for nothing besides: a camera that moves and a style have none."""
    if stated.style or (stated.shots and stated.shots[0].camera):
        return []
    told = plain_values(stated).items()
    return [plain_question(factor, value, f"q{n}") for n, (factor, value) in enumerate(told, 1)]
