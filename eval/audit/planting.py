"""Select world clips so that every answer of every closed list is true of some.

In: a split of the cartoon world, a seed, a number. Out: `Drawn` clips, the first of a fixed order that balances the
answers: no clip is taken for the (k+1)-th case of an answer while another answer has fewer than k. So an answer that is
rare in the world (a figure that goes down) occurs as often as a common one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import count
from typing import Literal

from v2t_eval.audit.clips import Drawn
from v2t_eval.judge.plain_wording import LISTS, listed_values

_STORY_S = 5.0
_WORLDS: tuple[Literal["every", "story", "crowd"], ...] = ("every", "story", "crowd")


def planted(split: str, seed: int, num: int) -> list[Drawn]:
    """The first `num` clips; a smaller set is a prefix of a larger one."""
    found: list[Drawn] = []
    for each in _levelled(split, seed):
        if len(found) == num:
            break
        found.append(each)
    return found


def answers_of(clip: Drawn) -> dict[str, str]:
    """What is true of a clip, by factor of `v2t_eval.judge.plain_wording.LISTS`."""
    return listed_values(clip.scene().facts())


def _levelled(split: str, seed: int) -> Iterator[Drawn]:
    cases = Counter({(factor, value): 0 for factor, plain in LISTS.items() for value in plain.answers})
    level = 1
    for index in count():
        for world in _WORLDS:
            clip = Drawn(world=world, seed=seed, index=index, split=split)
            scene = clip.scene()
            if world == "story" and (len(scene.shots) > 1 or scene.duration_s >= _STORY_S):
                continue
            true = set(listed_values(scene.facts()).items())
            if any(cases[each] < level for each in true):
                cases.update(true)
                yield clip
        while min(cases.values()) >= level:
            level += 1
