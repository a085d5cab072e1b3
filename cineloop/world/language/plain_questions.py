"""Questions that presuppose nothing: what a judge asks of a clip with one figure, whatever that clip was meant to show.

"Which way does the dog roll?" cannot be answered of a clip that shows a cat; "Which way does the figure go?" can. Every
question has a closed list of answers, so that a model's likelihoods over the list are a probability for each value.

In: `Scene.facts()` of a clip. Out: what is true of it (`values`), and conversations of open questions or of claims to
be answered yes or no (`open_turns`, `claim_turns`) for training. A factor that a clip leaves undefined has no value.
Factors: place, kind, color, size, count, motion (a class of actions), direction, speed, to_color.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from cineloop.world import vocabulary as words
from cineloop.world.language import lexicon as lex
from cineloop.world.language.grammar import Fact, article, pick

NONE = "none"  # the value of a direction, pace or last colour that a figure which does not move or change has
MOTIONS: dict[str, tuple[str, ...]] = {
    "travel": words.TRAVEL, "hop": ("jump", "bounce"), "still": ("stand",), **{a: (a,) for a in (
        "spin", "grow", "shrink", "shake", "fall", "appear", "vanish", "recolor")},
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Plain:
    """One factor: how it is asked, the answer for each value, and the same as a claim."""

    wordings: tuple[str, ...]
    answers: Mapping[str, str]
    claims: Mapping[str, str]


def _plain(wordings: tuple[str, ...], answers: Mapping[str, str], claim: str, phrases: Mapping[str, str]) -> Plain:
    return Plain(
        wordings=wordings, answers=answers, claims={v: claim.format(phrases[v]) for v in answers if v in phrases}
    )


_MOTION_WORDS = {
    "travel": "moves along", "hop": "hops", "still": "stands still", "spin": "spins", "grow": "grows",
    "shrink": "shrinks", "shake": "shakes", "fall": "falls down", "appear": "appears", "vanish": "disappears",
    "recolor": "changes color",
}  # fmt: skip
_MOTION_BARE = {
    "travel": "move along", "hop": "hop", "still": "stand still", "spin": "spin", "grow": "grow", "shrink": "shrink",
    "shake": "shake", "fall": "fall down", "appear": "appear", "vanish": "disappear", "recolor": "change color",
}  # fmt: skip
_WAYS = {way: lex.DIRECTION_WORDS[way][0] for way in words.DIRECTIONS}
_KINDS = {kind: article(kind) for kind in words.KINDS}
_COLORS = {color: color for color in words.COLORS}
_NUMBERS = {str(n): lex.NUMBERS[n] for n in (1, 2, 3, 4)} | {"more": "more"}

PLAIN: dict[str, Plain] = {
    "place": _plain(
        ("Where does this happen?", "Where are we?"),
        {place: phrases[0] for place, phrases in lex.PLACE_PHRASES.items()},
        "Does this happen {}?",
        {place: phrases[0] for place, phrases in lex.PLACE_PHRASES.items()},
    ),
    "kind": _plain(("What is the figure?", "What do you see?"), _KINDS, "Is the figure {}?", _KINDS),
    "color": _plain(
        ("What color is the figure at first?", "What color does the figure start with?"),
        _COLORS,
        "Is the figure {} at first?",
        _COLORS,
    ),
    "size": _plain(
        ("How big is the figure at first?", "What size is the figure at first?"),
        {size: size for size in words.SIZES},
        "Is the figure {} at first?",
        {size: size for size in words.SIZES},
    ),
    "count": _plain(
        ("How many figures are there?", "How many figures do you see?"),
        _NUMBERS,
        "{}?",
        {"1": "Is there exactly one figure"}
        | {n: f"Are there exactly {number} figures" for n, number in _NUMBERS.items() if n not in ("1", "more")},
    ),
    "motion": _plain(
        ("What does the figure do?", "What is the figure doing?"),
        {motion: f"it {verb}" for motion, verb in _MOTION_WORDS.items()},
        "Does the figure {}?",
        _MOTION_BARE,
    ),
    "direction": _plain(
        ("Which way does the figure go?", "In which direction does the figure go?"),
        {**_WAYS, NONE: "nowhere"},
        "Does the figure go {}?",
        _WAYS,
    ),
    "speed": _plain(
        ("How fast does the figure go?", "At what pace does the figure go?"),
        {"slow": "slowly", "fast": "fast", NONE: "not at all"},
        "Does the figure go {}?",
        {"slow": "slowly", "fast": "fast"},
    ),
    "to_color": _plain(
        ("What color is the figure at the end?", "What color does the figure end with?"),
        _COLORS,
        "Is the figure {} at the end?",
        _COLORS,
    ),
}


def motion_of(action: str) -> str:
    """The class of motion of an action of one figure.

    Raises:
        ValueError: an action of two figures, or of one that was already under way.
    """
    for motion, actions in MOTIONS.items():
        if action in actions:
            return motion
    raise ValueError(f"{action!r} is no action of a single figure")


def values(facts: Fact) -> dict[str, str]:
    """The true value of each factor; with several figures, shots or events only what holds of the whole clip."""
    shots, actors, events = facts["shots"], facts["actors"], facts["events"]
    if len(shots) > 1:
        return {}
    number = sum(actor["count"] for actor in actors)
    answers = {"place": shots[0]["place"], "count": str(number) if 1 <= number <= 4 else "more"}
    if number != 1 or len(events) > 1 or any(event["target"] is not None for event in events):
        return answers
    answers |= {key: actors[0][key] for key in ("kind", "color", "size")}
    event: Fact = events[0] if events else {"action": "stand", "direction": None, "speed": None, "to_color": None}
    if not any(event["action"] in actions for actions in MOTIONS.values()):
        return answers
    motion = motion_of(event["action"])
    answers |= {"motion": motion, "to_color": event["to_color"] or actors[0]["color"]}
    if motion == "travel":
        pace = {"walk": "slow", "run": "fast"}.get(event["action"], event["speed"])
        answers |= {key: value for key, value in (("direction", event["direction"]), ("speed", pace)) if value}
    elif motion != "fall":
        answers |= {"direction": NONE, "speed": NONE}
    if motion in ("vanish", "appear"):
        del answers["to_color"]
    return answers


def open_turns(facts: Fact, rng: random.Random) -> list[tuple[str, str]]:
    """A question about every factor that has a value, in random order and wording, with its answer."""
    turns = [(pick(rng, PLAIN[factor].wordings), PLAIN[factor].answers[v]) for factor, v in values(facts).items()]
    return [turn for _, turn in sorted((rng.random(), turn) for turn in turns)]


def claim_turns(facts: Fact, rng: random.Random) -> list[tuple[str, str]]:
    """A claim about every factor, true or false by a fair coin, with yes or no."""
    turns = []
    for factor, true in values(facts).items():
        claims = PLAIN[factor].claims
        false = [value for value in claims if value != true]
        if true in claims and rng.random() < 0.5:
            turns.append((claims[true], "yes"))
        elif true in claims or rng.random() < 0.15:  # no claim is true here, and too many no would be a habit
            turns.append((claims[pick(rng, false)], "no"))
    return [turn for _, turn in sorted((rng.random(), turn) for turn in turns)]
