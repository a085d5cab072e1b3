"""What a prompt of the cartoon world asks for, as numbers: the targets of the text encoder's and transformer's heads.

In: a scene's facts and the words of its prompt. Out: for each factor the number of its value, -1 where the prompt does
not ask for it. Letters: n clips, F factors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cineloop.world import vocabulary as words
from cineloop.world.language.plain_questions import MOTIONS
from t2v.obedience import FACTORS, motion_of, prompt_factors

UNASKED = -1
VALUES: dict[str, tuple[str, ...]] = {
    "place": tuple(words.PLACES),
    "color": tuple(words.COLORS),
    "kind": tuple(words.KINDS),
    "size": tuple(words.SIZES),
    "action": tuple(MOTIONS),
    "direction": ("left", "right", "up", "down"),
    "speed": tuple(words.SPEEDS),
    "to_color": tuple(words.COLORS),
}


def labels(facts: Mapping[str, Any], prompt: str) -> list[int]:
    """F integers, in the order of `FACTORS`; all `UNASKED` for the empty prompt."""
    if not prompt:
        return [UNASKED] * len(FACTORS)
    wanted = prompt_factors(facts, prompt)
    values = {name: getattr(wanted, name) for name in FACTORS}
    values["action"] = values["action"] and motion_of(values["action"])
    return [UNASKED if value is None else VALUES[name].index(value) for name, value in values.items()]
