"""Prompts of the rounds and of the measures, which never share one.

In: a `PromptConfig`, a seed. Out: rows of `id, prompt`. Two prompts are the same where their words are, whatever their
case and the spaces and stops around them.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Iterable
from typing import Any

from cineloop.errors import UsageError
from t2v.data.world import solo_prompts
from t2v.generate.prompts import plan
from t2v.generate.settings import GenerateConfig
from v2t_eval.learn.settings import PromptConfig


def prompt_key(prompt: str) -> str:
    """Equal for prompts of the same words."""
    return " ".join(unicodedata.normalize("NFKC", prompt).casefold().split()).strip(" .!")


def prompt_rows(source: PromptConfig, seed: int, order: int, without: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Prompts with ids, none of which is `without`: of the world by the seed; of a file the part whose turn it is, in
    an order by `order`.

    Raises:
        UsageError: none is left. UsageError, NothingMatchedError: see `t2v.generate.prompts.plan`.
    """
    apart = {prompt_key(prompt) for prompt in without}
    if source.file is None:
        count, prompts = source.num, list[str]()
        while len(prompts) < source.num:
            prompts = [one for one in solo_prompts(source.split, seed, count) if prompt_key(one) not in apart]
            count += source.num - len(prompts)
    else:
        known = dict.fromkeys(clip.request.prompt for clip in plan([], [str(source.file)], GenerateConfig()))
        listed = [prompt for prompt in known if prompt_key(prompt) not in apart]
        if not listed:
            raise UsageError(
                f"all {len(known)} prompts of {source.file} are on the other side: a learning needs prompts to draw "
                "for and others to measure on",
                hint="more prompts, fewer held-out ones (held_out.num), or another file",
            )
        random.Random(order).shuffle(listed)
        first = seed * source.num
        prompts = [listed[(first + i) % len(listed)] for i in range(min(source.num, len(listed)))]
    unique = list(dict.fromkeys(prompts))
    return [{"id": f"{seed}-{i:04}", "prompt": prompt} for i, prompt in enumerate(unique)]
