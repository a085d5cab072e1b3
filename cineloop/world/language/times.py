"""Questions about time: in what order, when, how long, at which seconds, and what happens at a second.

In: a `NamedFacts` (facts with unambiguous names) and a random stream. Out: question and answer, or None where the clip
offers none. Seconds are counted from the clip's start and given to a tenth, as in timed captions.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from cineloop.world import vocabulary as words
from cineloop.world.language.claims import NamedFacts
from cineloop.world.language.grammar import pick

Asked = tuple[str, str]  # question, answer
NEVER = "it does not happen"
_CLEAR_S = 0.25  # how far from the start or end of any event a second must lie to be asked about


def _order(clip: NamedFacts, rng: random.Random) -> Asked | None:
    steps = clip.steps()
    if len(steps) < 2:
        return None
    made: list[Asked] = []
    for step, asks in ((steps[0], ("What happens first?", "How does it start?")), (steps[-1], ("What happens last?",))):
        if len(step) == 1 and clip.clear(step[0]):
            made.append((pick(rng, asks), clip.clause(step[0])))
    for early, late in zip(steps, steps[1:], strict=False):
        if len(early) != 1 or len(late) != 1 or not (clip.clear(early[0]) and clip.clear(late[0])):
            continue
        one, two = early[0], late[0]
        i, k = one["actor"], two["actor"]
        if i == k:
            made.append(
                (f"What {clip.do(i)} {clip.name(i)} do after {clip.verb(one, 'ing', way=False)}?", clip.finite(two))
            )
            made.append(
                (f"What {clip.do(i)} {clip.name(i)} do before {clip.verb(two, 'ing', way=False)}?", clip.finite(one))
            )
        else:
            names = (clip.name(i), clip.name(k)) if rng.random() < 0.5 else (clip.name(k), clip.name(i))
            made.append((f"Which moves first, {names[0]} or {names[1]}?", clip.name(i)))
            made.append((f"What happens after {clip.clause(one, way=False)}?", clip.clause(two)))
    return pick(rng, made) if made else None


def _when(clip: NamedFacts, rng: random.Random) -> Asked | None:
    if not clip.clear_events:
        return None
    event = pick(rng, clip.clear_events)
    ask = f"When {clip.do(event['actor'])} {clip.name(event['actor'])} {clip.verb(event, 'bare', way=False)}?"
    if event["action"] in words.MOMENTS:
        return ask, f"at {event['start_s']:.1f} seconds"
    return ask, f"from {event['start_s']:.1f} to {event['end_s']:.1f} seconds"


def _duration(clip: NamedFacts, rng: random.Random) -> Asked | None:
    events = [e for e in clip.clear_events if e["action"] not in words.MOMENTS and e["action"] not in ("stop", "turn")]
    if not events or rng.random() < 0.3:
        return "How long is the video?", f"{clip.facts['duration_s']:.1f} seconds"
    event = pick(rng, events)
    seconds = round(event["end_s"], 1) - round(event["start_s"], 1)
    ask = f"How long {clip.do(event['actor'])} {clip.name(event['actor'])} {clip.verb(event, 'bare', way=False)}?"
    return ask, f"{seconds:.1f} seconds"


def _span(clip: NamedFacts, rng: random.Random) -> Asked | None:
    """Where in time a statement is true; one in six is of another figure, and never is."""
    if not clip.clear_events:
        return None
    event = pick(rng, clip.clear_events)
    subject = clip.description_of(event["actor"]) if rng.random() < 0.5 else clip.name(event["actor"])
    does = clip.finite(event, way=rng.random() < 0.5)
    if rng.random() < 1 / 6:
        here = {actor["kind"] for actor in clip.actors}
        others = [kind for kind in words.KINDS if kind not in here]
        if clip.many(event["actor"]) or event["target"] is not None or not others:
            return None
        color, kind = pick(rng, list(words.COLORS)), pick(rng, others)
        return f"When does this happen: the {color + ' ' if ' ' in subject[4:] else ''}{kind} {does}?", NEVER
    return f"When does this happen: {subject} {does}?", f"from {event['start_s']:.1f} to {event['end_s']:.1f} seconds"


def _at(clip: NamedFacts, rng: random.Random) -> Asked | None:
    """What goes on at a second, drawn well away from where any event begins or ends."""
    second = round(rng.random() * clip.facts["duration_s"], 1)
    if any(abs(second - edge) < _CLEAR_S for e in clip.events for edge in (e["start_s"], e["end_s"])):
        return None
    now = [e for e in clip.events if e["start_s"] < second < e["end_s"]]
    if not now or not all(clip.clear(e) for e in now):
        return None
    ask = pick(rng, ("What happens at {:.1f} seconds?", "What is happening at {:.1f} seconds?"))
    return ask.format(second), " and ".join(f"{clip.description_of(e['actor'])} {clip.finite(e)}" for e in now)


TIMES: dict[str, Callable[[NamedFacts, random.Random], Asked | None]] = {
    "order": _order,
    "when": _when,
    "duration": _duration,
    "span": _span,
    "at": _at,
}
