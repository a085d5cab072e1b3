"""Draws of a checkpoint: the prompts of a pick in their order, and a run folder of `t2v generate` for each checkpoint.

In: files of prompts; a checkpoint and how many prompts. Out: rows with ids, each prompt once, shuffled by the seed, so
that the first ones are like all; prompts that are added later come after those that are there. Clips that exist are not
drawn again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cineloop import config as configs
from cineloop.documents import json_lines
from cineloop.errors import UsageError
from cineloop.files import escape_name, write_atomic
from cineloop.manifest import dump_line
from t2v.generate.prompts import plan
from t2v.generate.run import run as generate
from t2v.generate.settings import GenerateConfig
from t2v.generate.summary import GenerateSummary
from v2t_eval.pick.checkpoints import Checkpoint
from v2t_eval.pick.settings import PickConfig

PROMPTS = "prompts.jsonl"
PromptRow = dict[str, Any]


def prompt_rows(config: PickConfig, out: Path) -> list[PromptRow]:
    """The prompts in the order in which they are drawn for.

    Raises:
        UsageError: OTHER_SETTINGS, prompts that were drawn for are gone. UsageError, NothingMatchedError: see
            `t2v.generate.prompts.plan`.
    """
    rows: dict[str, PromptRow] = {}
    for clip in plan([], list(config.prompts), GenerateConfig(seed=config.seed)):
        request = clip.request
        row = {"id": clip.id, "prompt": request.prompt, "seed": request.seed, "facts": clip.facts,
               "negative_prompt": request.negative_prompt,
               "image": None if request.image is None else str(request.image)}  # fmt: skip
        rows.setdefault(request.prompt, {key: value for key, value in row.items() if value not in (None, "")})
    path = out / PROMPTS
    before = [row for _, row in json_lines(path)] if path.exists() else []
    if gone := [row["prompt"] for row in before if rows.get(row["prompt"]) != row]:
        raise UsageError(
            f"{len(gone)} prompts of {path} are gone or changed, for example {gone[0]!r}", code="OTHER_SETTINGS",
            hint="more prompts may be added to a pick, none taken away: choose another -o",
        )  # fmt: skip
    there = {row["prompt"] for row in before}
    new = [row for prompt, row in rows.items() if prompt not in there]
    random.Random(config.seed).shuffle(new)
    return [*before, *new[: None if config.limit is None else max(0, config.limit - len(before))]]


def keep_prompts(rows: Sequence[PromptRow], path: Path) -> Path:
    """The file of these prompts."""
    data = b"".join(map(dump_line, rows))
    if not path.exists() or path.read_bytes() != data:
        write_atomic(path, data)
    return path


def folder_of(out: Path, checkpoint: str, part: str = "drawn") -> Path:
    """Of a checkpoint's clips; its name has no separator there."""
    return out / part / escape_name(checkpoint).replace("/", "%2F")


def draw(
    config: PickConfig, checkpoint: Checkpoint, prompts: Path, folder: Path, stop: Callable[[], bool]
) -> GenerateSummary:
    """Clips of a checkpoint for a file of prompts.

    Raises:
        CineloopError: see `t2v.generate.run.run`. KeyboardInterrupt: stopped.
    """
    is_lora = checkpoint.kind == "lora"
    settings = configs.from_dict(GenerateConfig, {
        **config.clips, "generator": config.generator, "seed": config.seed, "num_videos": config.num_videos,
        "model": config.model if is_lora else str(checkpoint.path), "lora": [str(checkpoint.path)] if is_lora else [],
        "device": config.device, "dtype": config.dtype, "cluster": configs.to_dict(config.cluster),
        **({} if config.steps is None else {"steps": config.steps}),
    })  # fmt: skip
    summary = generate([], [str(prompts)], folder, settings)
    if summary.interrupted or stop():
        raise KeyboardInterrupt
    return summary
