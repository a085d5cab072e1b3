"""Parse the requirements of a prompt, by the cartoon world's grammar where it knows every word, else by that of plain
English.

In: a prompt. Out: `Requirements`.
"""

from __future__ import annotations

from functools import lru_cache

from cineloop.world.language.grammar import inflect
from cineloop.world.language.lexicon import STYLE_NOUNS, VERBS
from cineloop.world.language.read_text import parse_whole
from cineloop.world.language.stated import StatedFacts
from v2t_eval.judge.grammar.free_text import Requirements, Thing, read


@lru_cache(maxsize=4096)
def of_prompt(prompt: str) -> Requirements:
    """The requirements of a prompt."""
    stated = parse_whole(prompt)
    return read(prompt) if stated is None else _of_world(stated)


def _of_world(stated: StatedFacts) -> Requirements:
    event = next((e for e in stated.events if e.actor is not None), None)
    relation = next(iter(stated.relations), None)
    return Requirements(
        things=tuple(Thing(noun=a.kind, color=a.color, count=a.count or 1) for a in stated.actors),
        relation=(relation.a, relation.relation, relation.b) if relation else None,
        scene=next((shot.place for shot in stated.shots if shot.place), None),
        actions=((event.actor, _gerund(event.action, event.to_color)),) if event else (),
        style=STYLE_NOUNS[stated.style][0] if stated.style else None,
    )


def _gerund(action: str, to_color: str | None) -> str:
    return inflect(f"turn {to_color}" if to_color else VERBS[action][0], "ing")
