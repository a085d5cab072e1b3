"""Drawing, the first stage of a round and of a measure: prompts, and the clips that a model draws for them.

In: the recipe, a model. Out: `prompts.jsonl`, written once, and a run folder of `t2v generate`, which continues
where it was stopped. Prompts of rounds and measures never meet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cineloop import config as configs
from cineloop.documents import json_lines
from cineloop.files import write_atomic
from cineloop.log import logger
from cineloop.manifest import dump_line, read_manifest
from cineloop.world.language.read_text import parse_whole
from t2v import STARTER
from t2v.generate.run import run as generate
from t2v.generate.settings import GenerateConfig
from t2v.train.rewarded import MANIFEST
from v2t_eval.learn.prompts import prompt_rows
from v2t_eval.learn.settings import LearnConfig

PROMPTS = "prompts.jsonl"
HELD_OUT = 1 << 20  # added to the seed of held-out prompts and clips, far from those of any round


@dataclass(frozen=True)
class Learnt:
    """A model as `t2v generate` opens it, with the adapter that was learnt for it."""

    model: str
    adapter: Path | None = None


def first_model(config: LearnConfig) -> Learnt:
    """The model as it was."""
    is_starter = config.generator == "dit" and config.model == "starter"
    return Learnt(str(STARTER) if is_starter else config.model)


def held_out_rows(config: LearnConfig, out: Path) -> list[dict[str, Any]]:
    """The prompts of the measures: those of the folder, or new ones, none of which was drawn for by hand.

    Raises:
        UsageError: without one of these no prompt is left.
    """
    path = out / "held-out" / PROMPTS
    if path.exists():
        return [row for _, row in json_lines(path)]
    drawn = () if config.drawn is None else [row["prompt"] for row in read_manifest(config.drawn / MANIFEST)]
    return prompt_rows(config.held_out, config.seed + HELD_OUT, config.seed, drawn)


def drawn_rows(config: LearnConfig, out: Path, number: int) -> list[dict[str, Any]]:
    """The prompts of a round, none of which is held out; see `held_out_rows`."""
    held_out = [row["prompt"] for row in held_out_rows(config, out)]
    return prompt_rows(config.prompts, config.seed + number, config.seed, held_out)


def prompt_file(folder: Path, rows: Callable[[], list[dict[str, Any]]]) -> Path:
    """A file with prompts, written once."""
    path = folder / PROMPTS
    if not path.exists():
        write_atomic(path, b"".join(map(dump_line, rows())))
    return path


def draw_round(config: LearnConfig, out: Path, number: int, model: Learnt, stop: Callable[[], bool]) -> Path:
    """The clips of a round in `out`'s folder of it."""
    folder = out / f"round-{number:03d}"
    prompts = prompt_file(folder, lambda: drawn_rows(config, out, number))
    draw(config, folder / "drawn", prompts, model, config.num_videos, config.seed + 1000 * number, config.clips, stop)
    return folder / "drawn"


def draw_test_clips(config: LearnConfig, out: Path, folder: Path, model: Learnt, stop: Callable[[], bool]) -> Path:
    """The held-out clips of a measure in its folder."""
    prompts = prompt_file(out / "held-out", lambda: held_out_rows(config, out))
    clips = config.clips | config.held_out_clips
    draw(config, folder / "drawn", prompts, model, config.held_out_videos, config.seed + HELD_OUT, clips, stop)
    return folder / "drawn"


def draw(
    config: LearnConfig, folder: Path, prompts: Path, model: Learnt, num_videos: int, seed: int, clips: dict[str, Any],
    stop: Callable[[], bool],
) -> None:  # fmt: skip
    """Clips of a model for a file of prompts.

    Raises:
        KeyboardInterrupt: stopped.
    """
    settings = configs.from_dict(GenerateConfig, {
        **clips, "generator": config.generator, "model": model.model, "seed": seed,
        "num_videos": num_videos, "device": config.device, "dtype": config.dtype,
        "lora": [] if model.adapter is None else [str(model.adapter)],
        "options": {"latents": True} | clips.get("options", {}),
        "cluster": configs.to_dict(config.cluster),
    })  # fmt: skip
    summary = generate([], [str(prompts)], folder, settings)
    if summary.interrupted or stop():
        raise KeyboardInterrupt
    if summary.failures:
        logger.warning("%d of %d clips could not be drawn", len(summary.failures), summary.asked)


def real_clips(config: LearnConfig, out: Path) -> Path | None:
    """Clips that show the held-out prompts truly: those of the recipe, or the cartoon world's; None where it cannot."""
    if config.real is not None:
        return config.real
    folder, prompts = out / "real", out / "held-out" / PROMPTS
    listed = [row["prompt"] for _, row in json_lines(prompts)]
    if (folder / "failures.jsonl").exists() or any(parse_whole(prompt) is None for prompt in listed):
        return None
    sizes = {key: value for key, value in config.clips.items() if key in ("num_frames", "height", "width")}
    settings = configs.from_dict(GenerateConfig, {**sizes, "generator": "world", "seed": config.seed})
    summary = generate([], [str(prompts)], folder, settings)
    if summary.failures:
        logger.warning("the world cannot show every held-out prompt: no distance to real clips")
    return None if summary.failures or summary.interrupted else folder
