"""Draw whole scenes from a stream: a pure function of split, seed and index, the same on every machine.

In: a split, a seed, an index. Out: a `Scene`, its shots drawn by `stories`, one after another.
"""

from __future__ import annotations

from dataclasses import replace

from cineloop.world.draw import Draw
from cineloop.world.scenes.scene import Actor, Event, Relation, Scene, Shot
from cineloop.world.scenes.stories import crowd, draw_story


def sample_scene(
    split: str, seed: int, index: int, *, seconds: tuple[float, float] | None = None, max_events: int = 3
) -> Scene:
    """Draw one scene.

    Args:
        split: `train` or `seen` (no held-out combination; different seeds), or `unseen` (its first event is one).
        seed: seed of the stream; any integer.
        index: position in the stream, from 0.
        seconds: range the length must lie in; None lets the story decide (about 1.5 to 7 s).
        max_events: most events in one shot, 1 to 3.

    Returns:
        The scene, a pure function of the arguments.

    Raises:
        ValueError: on an unknown split.
    """
    if split not in ("train", "seen", "unseen"):
        raise ValueError(f"split must be train, seen or unseen, not {split!r}")
    draw = Draw(f"{split}|{seed}|{index}")
    style = draw.weighted_choice({"flat": 0.58, "outline": 0.14, "pixel": 0.14, "pencil": 0.14})
    wanted = None if seconds is None else draw.uniform(*seconds)
    if wanted is None:
        lengths: list[float | None] = [None, None] if draw.uniform(0, 1) < 0.05 else [None]
    else:
        lengths = [wanted / n for n in [max(1, round(wanted / 4.5))] for _ in range(n)]
    shots: list[Shot] = []
    actors: list[Actor] = []
    events: list[Event] = []
    relations: list[Relation] = []
    for number, length in enumerate(lengths):
        avoid = shots[-1].place if shots else None
        most = max_events if len(lengths) == 1 else min(2, max_events)
        story = draw_story(draw, unseen=split == "unseen" and number == 0, length=length, max_events=most, avoid=avoid)
        start, first = (shots[-1].end_s if shots else 0.0), len(actors)
        shots.append(Shot(start_s=start, end_s=start + story.seconds, place=story.place, camera=story.camera))
        actors += [replace(a, shot=number) for a in story.actors]
        events += [_shift(event, start, first, number) for event in story.events]
        relations += [Relation(a=r.a + first, relation=r.relation, b=r.b + first) for r in story.relations]
    return Scene(
        seed=draw.integer(1 << 30),
        style=style,
        shots=tuple(shots),
        actors=tuple(actors),
        events=tuple(events),
        relations=tuple(relations),
    )


def _shift(event: Event, start_s: float, first_actor: int, shot: int) -> Event:
    """An event of one shot, with the clip's times and actor numbers in place of the shot's own."""
    return replace(
        event,
        actor=event.actor + first_actor,
        target=None if event.target is None else event.target + first_actor,
        shot=shot,
        start_s=event.start_s + start_s,
        end_s=event.end_s + start_s,
    )


def sample_crowd(split: str, seed: int, index: int) -> Scene:
    """A crowded shot that tells no story, for dense training of the vision tower; pure in its arguments."""
    draw = Draw(f"crowd|{split}|{seed}|{index}")
    story = crowd(draw)
    return Scene(
        seed=draw.integer(1 << 30),
        style=draw.weighted_choice({"flat": 0.58, "outline": 0.14, "pixel": 0.14, "pencil": 0.14}),
        shots=(Shot(start_s=0.0, end_s=story.seconds, place=story.place, camera=story.camera),),
        actors=story.actors,
        events=story.events,
    )
