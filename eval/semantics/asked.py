"""Requirements of a sample's prompt, per VBench dimension.

In: samples. Out: things, a relation, a scene, an action, a style. What stands under `asked` in the sample's row, in the
form of VBench's `auxiliary_info` (flat, or under the dimension's name), goes before the prompt. Prompts are read by
`v2t_eval.judge.grammar.prompt`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cineloop.errors import ItemError
from v2t_eval.core.sample import Sample
from v2t_eval.judge.grammar.free_text import Requirements, Thing
from v2t_eval.judge.grammar.prompt import of_prompt


def thing(sample: Sample) -> Thing:
    """The one kind of thing that is asked for: of the row's `object`, or the first of the prompt.

    Raises:
        ItemError: NOTHING_ASKED.
    """
    return _things(sample, "object_class", 1)[0]


def things(sample: Sample) -> tuple[Thing, ...]:
    """The things that are asked for together: the row's `object` ("bird and cat"), or all of the prompt; at least two,
    or one in a number above one.

    Raises:
        ItemError: NOTHING_ASKED.
    """
    several = _things(sample, "multiple_objects", 1)
    if sum(each.count for each in several) < 2:
        raise _nothing(sample, "two things or more")
    return several


def colored_thing(sample: Sample) -> Thing:
    """A thing with its colour: the row's `color` and `object`, what is missing there from the prompt.

    Raises:
        ItemError: NOTHING_ASKED.
    """
    row = _row(sample, "color")
    stated = _prompt(sample).things
    color, noun = row.get("color"), row.get("object")
    if color and noun:
        return Thing(noun=str(noun), color=str(color))
    if color:
        colored = [t for t in stated if t.color == color] or list(stated)
        return replace(_first(sample, colored, "a thing with a colour"), color=str(color))
    colored = [t for t in stated if t.color and noun in (None, t.noun)]
    return _first(sample, colored, "a thing with a colour")


def relation(sample: Sample) -> tuple[Thing, str, Thing]:
    """Two things and how they stand: the row's `object_a`, `relationship`, `object_b`, or the prompt's. The relation is
    as stated in the row, or one of `cineloop.world.vocabulary.RELATIONS`.

    Raises:
        ItemError: NOTHING_ASKED.
    """
    row = _row(sample, "spatial_relationship")
    if all(row.get(key) for key in ("object_a", "object_b", "relationship")):
        a, b = (Thing(noun=str(row[key])) for key in ("object_a", "object_b"))
        return a, str(row["relationship"]), b
    stated = _prompt(sample)
    if stated.relation is None:
        raise _nothing(sample, "how two things stand to each other")
    first, how, second = stated.relation
    return stated.things[first], how, stated.things[second]


def scene(sample: Sample) -> str:
    """The place: the row's `scene`, or the prompt's.

    Raises:
        ItemError: NOTHING_ASKED.
    """
    return _text(sample, "scene", _row(sample, "scene").get("scene") or _prompt(sample).scene)


def action(sample: Sample) -> str:
    """What is done, as a gerund ("riding a bike"): the row's `action`, or the prompt's.

    Raises:
        ItemError: NOTHING_ASKED.
    """
    return _text(sample, "an action", _row(sample, "human_action").get("action") or _prompt(sample).action)


def style(sample: Sample) -> str:
    """The way it is painted or filmed: the row's `appearance_style`, or the prompt's.

    Raises:
        ItemError: NOTHING_ASKED.
    """
    row = _row(sample, "appearance_style")
    return _text(sample, "a style", row.get("appearance_style") or _prompt(sample).style)


def _row(sample: Sample, dimension: str) -> Mapping[str, Any]:
    """The row's `asked`, also where VBench's file has put it under the dimension's name."""
    asked = sample.row.get("asked") or {}
    if not isinstance(asked, Mapping):
        raise ItemError(f"{sample.id}: `asked` must be a mapping, got {type(asked).__name__}", code="BAD_ROW")
    inner = asked.get(dimension)
    return inner if isinstance(inner, Mapping) else asked


def _prompt(sample: Sample) -> Requirements:
    return of_prompt(sample.prompt or "")


def _things(sample: Sample, dimension: str, least: int) -> tuple[Thing, ...]:
    stated = _row(sample, dimension).get("object")
    if stated:
        return tuple(Thing(noun=noun.strip()) for noun in str(stated).split(" and "))
    several = _prompt(sample).things
    if len(several) < least:
        raise _nothing(sample, "a thing")
    return several


def _first(sample: Sample, candidates: list[Thing], what: str) -> Thing:
    if not candidates:
        raise _nothing(sample, what)
    return candidates[0]


def _text(sample: Sample, what: str, value: Any) -> str:
    if not value:
        raise _nothing(sample, what)
    return str(value)


def _nothing(sample: Sample, what: str) -> ItemError:
    subject = "no prompt" if sample.prompt is None else f"the prompt {sample.prompt!r}"
    return ItemError(
        f"{sample.id}: {subject} asks for nothing of this kind ({what})",
        code="NOTHING_ASKED",
        hint="name it under `asked`, as VBench's auxiliary_info does",
    )
