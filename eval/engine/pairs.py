"""Clips of two runs of the same prompts and seeds, paired.

In: two folders of clips or manifests. Out: `Inputs` in which each clip of the one has the other's as its reference
video. Clips are paired by prompt and seed where every row of both states them, so engines may name their files as they
like; else by prompt, where each prompt has one clip; else by id. Both then bear one id, which depends on what they were
paired by alone: a stored calibration and next year's run agree on it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from pathlib import Path

from cineloop.errors import NothingMatchedError, UsageError
from cineloop.files import text_key
from cineloop.log import logger, printable
from v2t_eval.core.inputs import Inputs, read_inputs
from v2t_eval.core.sample import Sample
from v2t_eval.core.tables import examples

Key = Callable[[Sample], Hashable]
_ID_CHARS = 12


def _prompt_and_seed(sample: Sample) -> Hashable:
    seed = sample.row.get("seed")
    return None if sample.prompt is None or seed is None else (sample.prompt, str(seed))


KEYS: dict[str, Key] = {
    "prompt and seed": _prompt_and_seed,
    "prompt": lambda sample: sample.prompt,
    "id": lambda sample: sample.id,
}


def pair_clips(clips: Path, reference: Path) -> Inputs:
    """The clips of `clips`, each with that of `reference` as its reference video; those without one are left out.

    Raises:
        NothingMatchedError: no clip has a partner; there is no clip. UsageError: see `read_inputs`.
    """
    ours, theirs = read_inputs(clips), read_inputs(reference)
    how, key = _shared_key(ours.samples, theirs.samples)
    partners = {key(sample): sample for sample in theirs.samples}
    matched = [(sample, partners[key(sample)]) for sample in ours.samples if key(sample) in partners]
    sides = f"{printable(str(clips))} and {printable(str(reference))}"
    if not matched:
        named = [examples(str(key(sample)) for sample in side.samples) for side in (ours, theirs)]
        raise NothingMatchedError(
            f"no clip of {sides} is of the same {how}: {named[0]} there, {named[1]} here",
            hint="draw both from the same prompts and seeds; a manifest.jsonl states them (prompt, seed)",
        )
    if len(matched) < len(ours.samples):
        logger.warning("%d of %d clips have no partner by %s: %s", len(ours.samples) - len(matched),
                       len(ours.samples), how, sides)  # fmt: skip
    samples = [_as_pair(sample, other, how) for sample, other in matched]
    sources = ours.sources | {"reference_videos": printable(reference.name or str(reference))}
    sources = ours.sources | {"reference_videos": printable(reference.name or str(reference))}
    return replace(ours, samples=sorted(samples, key=lambda sample: sample.id), sources=sources)


def unrelated_pairs(reference: Path) -> Inputs:
    """Each clip with the prompt and the clip of another prompt: what a distance is at most, and what a judge gives to a
    clip that shows something else.

    Raises:
        UsageError: all clips have one prompt.
    """
    inputs = pair_clips(reference, reference)
    moved = []
    for number, sample in enumerate(inputs.samples):
        later = [*inputs.samples[number + 1 :], *inputs.samples[:number]]
        other = next((each for each in later if each.cluster != sample.cluster), None)
        if other is None:
            raise UsageError(f"{printable(str(reference))}: all clips have one prompt", hint="use 20 prompts and more")
        moved.append(replace(sample, prompt=other.prompt, row=other.row, reference_video=other.clip, memo={}))
    return replace(inputs, samples=moved)


def _shared_key(ours: Sequence[Sample], theirs: Sequence[Sample]) -> tuple[str, Key]:
    """The first of `KEYS` that every clip of both sides has, and no two of one side share."""
    for how, key in KEYS.items():
        sides = [[key(sample) for sample in side] for side in (ours, theirs)]
        if all(None not in side and max(Counter(side).values()) == 1 for side in sides):
            return how, key
    raise RuntimeError("two samples have one id")  # `read_inputs` refuses that


def _as_pair(sample: Sample, other: Sample, how: str) -> Sample:
    id = sample.id
    if how != "id":
        text = json.dumps([sample.prompt, str(sample.row.get("seed")) if how == "prompt and seed" else None])
        id = text_key(text.encode())[:_ID_CHARS]
    return replace(sample, id=id, reference_video=other.clip, memo={})
