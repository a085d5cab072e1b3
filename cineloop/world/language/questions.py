"""Questions about a cartoon clip, each with its one right answer, and conversations made of them.

In: `Scene.facts()` and a `random.Random`. Out: dicts of kind, question, answer. Answers are short and always in the
canonical wording (the first of each tuple of `lexicon`), so that an exact match is a fair test. Kinds: what, who,
color, size, count, place, direction, speed, those of `times`, camera, style, relation, absent (asks about what is not
there), and yesno-<kind> for the pairs of `claims`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from cineloop.world import vocabulary as words
from cineloop.world.language import lexicon as lex
from cineloop.world.language.claims import CLAIMS, NamedFacts
from cineloop.world.language.grammar import Fact, inflect, noun, pick
from cineloop.world.language.times import TIMES
from cineloop.world.language.words import PROMPTS, caption

Asked = tuple[str, str]  # question, answer


def questions(
    facts: Fact, rng: random.Random, n: int | None = None, kinds: Sequence[str] | None = None
) -> list[dict[str, str]]:
    """Questions with answers.

    Args:
        facts: the clip's facts.
        rng: the random stream.
        n: how many (fewer when the clip offers fewer kinds), each of another kind, a yes/no answer being yes or no
            by a fair coin; None for one of every kind and both twins of every yes/no pair.
        kinds: only of these kinds (default: of all).
    """
    clip = NamedFacts(facts)
    kinds = list(kinds or ALL_KINDS)
    made: list[dict[str, str]] = []
    for kind in kinds if n is None else _shuffle(rng, kinds):
        if n is not None and len(made) >= n:
            break
        if kind in OPEN:
            asked = OPEN[kind](clip, rng)
            turns = [] if asked is None else [asked]
        else:
            pair = CLAIMS[kind.removeprefix("yesno-")](clip, rng)
            turns = [] if pair is None else [(pair[0], "yes"), (pair[1], "no")]
            if n is not None and turns:
                turns = [pick(rng, turns)]
        made += [{"kind": kind, "question": question, "answer": answer} for question, answer in turns]
    return made


def conversations(facts: Fact, rng: random.Random, n: int = 4) -> list[dict[str, str]]:
    """One conversation in LLaVA form: a caption prompt or a question, then questions; `<video>` in the first turn.

    Human turns carry the question's `kind` (caption-short, color, yesno-place ...) beside `from` and `value`.
    """
    turns = questions(facts, rng, n)
    if rng.random() < 0.5 or not turns:
        style = pick(rng, list(PROMPTS))
        first = {"kind": f"caption-{style}", "question": PROMPTS[style], "answer": caption(facts, style, rng)}
        turns = [first, *turns[: max(n - 1, 0)]]
    messages: list[dict[str, str]] = []
    for number, turn in enumerate(turns):
        mark = "" if number else "<video>\n"
        messages.append({"from": "human", "value": mark + turn["question"], "kind": turn["kind"]})
        messages.append({"from": "gpt", "value": turn["answer"]})
    return messages


def _shuffle(rng: random.Random, items: list[str]) -> list[str]:
    return [item for _, item in sorted((rng.random(), item) for item in items)]


def _living(clip: NamedFacts, index: int) -> bool:
    return words.KINDS[clip.actors[index]["kind"]][0] in ("person", "animal")


def _what(clip: NamedFacts, rng: random.Random) -> Asked | None:
    doers = [i for i in clip.named if any(e["actor"] == i for e in clip.events)]
    doers = [i for i in doers if all(clip.clear(e) for e in clip.events if e["actor"] == i)]
    if not doers:
        return None
    i = pick(rng, doers)
    done = [e for e in clip.events if e["actor"] == i]
    ask = pick(rng, (f"What {clip.do(i)} {clip.name(i)} do?", f"What {clip.be(i)} {clip.name(i)} doing?"))
    return ask, ", then ".join(clip.finite(e) for e in done)


def _who(clip: NamedFacts, rng: random.Random) -> Asked | None:
    events = [
        e
        for e in clip.clear_events
        if sum(o["action"] == e["action"] for o in clip.events) == 1 and e["action"] != "meet"
    ]
    if not events:
        return None
    event = pick(rng, events)
    i, target = event["actor"], event["target"]
    if target is not None and rng.random() < 0.5:
        ask = "Who" if _living(clip, target) and rng.random() < 0.5 else "What"
        return f"{ask} {clip.do(i)} {clip.name(i)} {lex.VERBS[event['action']][0]}?", clip.description_of(target)
    ask = "Who" if _living(clip, i) and rng.random() < 0.5 else "What"
    return f"{ask} {clip.verb(event, 's', way=False)}?", clip.description_of(i)


def _color(clip: NamedFacts, rng: random.Random) -> Asked | None:
    plain = [i for i in clip.named if clip.name(i).count(" ") == 1]
    if not plain:
        return None
    i = pick(rng, plain)
    new = [e["to_color"] for e in clip.events if e["actor"] == i and e["to_color"]]
    ask = f"What color {clip.be(i)} {clip.name(i)}"
    if new:
        return pick(rng, ((f"{ask} at first?", clip.actors[i]["color"]), (f"{ask} at the end?", new[-1])))
    return f"{ask}?", clip.actors[i]["color"]


def _size(clip: NamedFacts, rng: random.Random) -> Asked | None:
    if not clip.named:
        return None
    i = pick(rng, clip.named)
    first = " at first" if clip.changes(i, "grow", "shrink") else ""
    return f"{pick(rng, ('How big', 'What size'))} {clip.be(i)} {clip.name(i)}{first}?", clip.actors[i]["size"]


def _count(clip: NamedFacts, rng: random.Random) -> Asked | None:
    if rng.random() < 0.1:
        number = len(clip.facts["shots"])
        return ("How many scenes are there?", lex.NUMBERS[number]) if number in lex.NUMBERS else None
    plain = [i for i in clip.named if clip.name(i).count(" ") == 1]
    if not plain:
        return None
    i = pick(rng, plain)
    things = noun(clip.actors[i]["kind"], 2)
    ask = pick(rng, (f"How many {things} are there?", f"How many {things} do you see?"))
    return ask, lex.NUMBERS[clip.actors[i]["count"]]


def _place(clip: NamedFacts, rng: random.Random) -> Asked | None:
    shots = clip.facts["shots"]
    if clip.one_shot:
        ask = pick(rng, ("Where does this happen?", "Where are we?", "What place is this?"))
        return ask, lex.PLACE_PHRASES[shots[0]["place"]][0]
    at, ask = pick(rng, ((0, "Where does the video start?"), (-1, "Where does the video end?")))
    return ask, lex.PLACE_PHRASES[shots[at]["place"]][0]


def _direction(clip: NamedFacts, rng: random.Random) -> Asked | None:
    events = [e for e in clip.clear_events if e["direction"]]
    if not events:
        return None
    event = pick(rng, events)
    answer = lex.DIRECTION_WORDS[event["direction"]][0]
    do, name = clip.do(event["actor"]), clip.name(event["actor"])
    way = pick(rng, ("Which way", "In which direction"))
    if event["action"] == "turn":
        return f"{way} {do} {name} go after turning around?", answer
    return f"{way} {do} {name} {'go' if event['target'] is not None else clip.verb(event, 'bare', way=False)}?", answer


def _speed(clip: NamedFacts, rng: random.Random) -> Asked | None:
    events = [e for e in clip.clear_events if e["speed"]]
    legged = [e for e in clip.clear_events if e["action"] in ("walk", "run")]
    if not events and not legged:
        return None
    event = pick(rng, events + legged)
    be, do, name = clip.be(event["actor"]).capitalize(), clip.do(event["actor"]), clip.name(event["actor"])
    if event["action"] in ("walk", "run"):
        return f"{be} {name} walking or running?", inflect(event["action"], "ing")
    return f"How fast {do} {name} {clip.verb(event, 'bare', way=False)}?", lex.SPEED_WORDS[event["speed"]][0]


def _camera(clip: NamedFacts, rng: random.Random) -> Asked | None:
    if len({s["camera"] for s in clip.facts["shots"]}) > 1:
        return None
    ask = pick(rng, ("What does the camera do?", "How does the camera move?"))
    return ask, "it " + inflect(lex.CAMERA_VERBS[clip.facts["shots"][0]["camera"]][0], "s")


def _style(clip: NamedFacts, rng: random.Random) -> Asked | None:
    ask = pick(rng, ("What style is the video?", "How is the video drawn?", "What kind of picture is this?"))
    return ask, lex.STYLE_NOUNS[clip.facts["style"]][0]


def _relation(clip: NamedFacts, rng: random.Random) -> Asked | None:
    relations = [r for r in clip.facts["relations"] if clip.names[r["a"]] and clip.names[r["b"]]]
    if not relations:
        return None
    r = pick(rng, relations)
    phrase = lex.RELATION_WORDS[r["relation"]][0]
    asked = (
        (f"What is {phrase} {clip.name(r['b'])}?", clip.description_of(r["a"])),
        (f"Where is {clip.name(r['a'])}?", f"{phrase} {clip.name(r['b'])}"),
    )
    return pick(rng, asked)


def _absent(clip: NamedFacts, rng: random.Random) -> Asked | None:
    """Asks about a kind that is not there."""
    here = {a["kind"] for a in clip.actors}
    gone = [k for k in words.KINDS if k not in here]
    if not gone:
        return None
    kind = pick(rng, gone)
    if rng.random() < 0.3:
        return f"How many {noun(kind, 2)} are there?", "none"
    asks = (f"What color is the {kind}?", f"What does the {kind} do?", f"How big is the {kind}?")
    return pick(rng, asks), f"there is no {kind}"


OPEN: dict[str, Callable[[NamedFacts, random.Random], Asked | None]] = {
    "what": _what,
    "who": _who,
    "color": _color,
    "size": _size,
    "count": _count,
    "place": _place,
    "direction": _direction,
    "speed": _speed,
    **TIMES,
    "camera": _camera,
    "style": _style,
    "relation": _relation,
    "absent": _absent,
}

YES_NO = tuple(f"yesno-{kind}" for kind in CLAIMS)
ALL_KINDS = (*OPEN, *YES_NO)
ABOUT_TIME = (*TIMES, "yesno-order", "yesno-when")
