"""Training, the last stage of a round: a run of `t2v train` on drawn clips and their rewards.

In: a run folder of `t2v generate` with latents, a file of rewards, the model that drew them. Out: a run folder of
`t2v train` with the new model in `final/`; how far a model has drifted from the first one.
"""

from __future__ import annotations

import json
import shutil
from itertools import islice
from pathlib import Path

from cineloop import config as configs
from cineloop.errors import EXIT_INTERRUPTED
from cineloop.files import write_atomic
from cineloop.manifest import read_manifest
from cineloop.training import checkpoint
from t2v.train import run as run_recipe
from t2v.train.drift import drift
from t2v.train.rewarded import MANIFEST
from v2t_eval.learn.draw import Learnt, first_model
from v2t_eval.learn.settings import LearnConfig

_DRIFT_CLIPS = 32


def learnt(config: LearnConfig, folder: Path) -> Learnt:
    """The model that the training in the folder of a round leaves."""
    final = folder / "train" / "final"
    return Learnt(first_model(config).model, final) if config.rank else Learnt(str(final))


def train(config: LearnConfig, folder: Path, number: int, model: Learnt, drawn: Path, rewards: Path) -> None:
    """Train in the folder of a round, from the last checkpoint where there is one.

    Raises:
        KeyboardInterrupt: stopped.
    """
    out = folder / "train"
    tree = {
        "stage": "reward", "out": str(out), "model": model.model, "clips": str(drawn),
        "rewards": str(rewards), "objective": config.objective, "settings": config.settings,
        "rank": config.rank, "adapter": None if model.adapter is None else str(model.adapter),
        "data_seed": config.seed + number, "loop": {"steps": 16, "batch_size": 32, "workers": 0,
        "tensorboard": False, "optim": {"base_lr": 5e-5, "warmup_steps": 0, "schedule": "constant"}},
        "runtime": {"seed": config.seed + number, "device": config.device},
    }  # fmt: skip
    recipe = folder / "train.yaml"
    write_atomic(recipe, configs.dump(tree).encode())
    is_begun = bool(checkpoint.steps(out))
    sets = [f"{key}={json.dumps(value)}" for key, value in config.train.items()]
    if run_recipe(recipe, sets=sets, resume=is_begun, overwrite=not is_begun) == EXIT_INTERRUPTED:
        raise KeyboardInterrupt


def delete_checkpoints(folder: Path) -> None:
    """Of a round that is done: the next one begins from `final`."""
    shutil.rmtree(folder / "train" / "checkpoints", ignore_errors=True)


def drift_of(config: LearnConfig, drawn: Path, model: Learnt) -> float:
    """Mean squared distance of the velocity to that of the first model, over a few clips of the model."""
    rows = islice(read_manifest(drawn / MANIFEST), _DRIFT_CLIPS)
    clips = [(drawn / row["latents"], row["prompt"]) for row in rows]
    return drift(model.model, first_model(config).model, clips, adapter=model.adapter, device=config.device)
