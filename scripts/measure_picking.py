#!/usr/bin/env python
"""A pick of six checkpoints of a tiny training against the referee, and what it drew.

    python scripts/measure_picking.py FOLDER -o picking.json   # what is in the folder is not made again

The bundled generator's transformer is disturbed by noise, learns 96 clips of the cartoon world (12, 36, 72 steps of
8), then 8 clips alone, which it begins to know by heart (108, 168, 268 steps). `v2t-eval pick` chooses among the six by
the judge (question_score) on 72 held-out prompts, with those 8 clips as the training set; the referee, which is not
learnt, reads 200 other prompts of each. About 25 minutes of a CPU core.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from cineloop.files import write_atomic
from t2v import STARTER
from t2v.data.world import solo_prompts
from v2t_eval.core.inputs import read_inputs
from v2t_eval.core.score import ScoreConfig, score
from v2t_eval.learn.prompts import prompt_key
from v2t_eval.suites.suite import parse_metric

NOISE, STEPS = 0.12, 8  # standard deviation of the noise over that of the weights; sampling steps of every clip
# Name, clips, steps of this part, base learning rate; each continues from the one before.
PARTS = (
    ("step-012", "many", 12, 2e-4),
    ("step-036", "many", 24, 2e-4),
    ("step-072", "many", 36, 2e-4),
    ("step-108", "few", 36, 3e-4),
    ("step-168", "few", 60, 3e-4),
    ("step-268", "few", 100, 3e-4),
)


def call(package: str, *words: object) -> int:
    """One command of a package; its exit code, which is 0, or of a pick also 8."""
    code = subprocess.run([sys.executable, "-m", package, *map(str, words)], check=False).returncode
    if code and not (words[0] == "pick" and code == 8):
        raise SystemExit(f"{package} {words[0]}: exit code {code}")
    return code


def write_prompts(folder: Path) -> None:
    """`few.txt` and `many.txt` are trained on, `held-out.txt` and `referee.txt` not."""
    few, many = solo_prompts("train", 900, 8), solo_prompts("train", 901, 96)
    known = {prompt_key(prompt) for prompt in (*few, *many)}
    rest = [prompt for prompt in dict.fromkeys(solo_prompts("seen", 77, 320)) if prompt_key(prompt) not in known]
    for name, prompts in {"few": few, "many": many, "held-out": rest[:96], "referee": rest[96:296]}.items():
        if not (folder / f"{name}.txt").exists():
            write_atomic(folder / f"{name}.txt", ("\n".join(prompts) + "\n").encode())


def disturb(folder: Path) -> None:
    """The bundled generator with noise on every matrix of its transformer."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    if (folder / "done").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(STARTER, folder)
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    random, tensors = torch.Generator().manual_seed(0), load_file(file)
    for name, tensor in tensors.items():
        if tensor.ndim >= 2:
            noise = torch.randn(tensor.shape, generator=random)
            tensors[name] = (tensor.float() + NOISE * tensor.float().std() * noise).to(tensor.dtype)
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    save_file(tensors, file, metadata=metadata)
    (folder / "done").touch()


def train(folder: Path) -> None:
    """The six checkpoints."""
    model = folder / "base"
    for name, clips, steps, rate in PARTS:
        target, run = folder / "checkpoints" / name, folder / "run"
        if not target.exists():
            shutil.rmtree(run, ignore_errors=True)
            sets = {
                "model": model, "data": f"[{folder / clips / 'manifest.jsonl'}]", "out": run, "held_out": 0,
                "cache": folder / f"cache-{clips}", "runtime.seed": steps, "data_seed": steps, "loop.steps": steps,
                "loop.batch_size": 8, "loop.eval_every": 100000, "loop.save_every": 100000, "loop.workers": 0,
                "loop.tensorboard": "false", "loop.optim.optimizer": "adamw", "loop.optim.base_lr": rate,
                "loop.optim.warmup_steps": 3,
            }  # fmt: skip
            call(
                "t2v",
                "train",
                "t2v/clips",
                *(word for key, value in sets.items() for word in ("--set", f"{key}={value}")),
            )
            target.parent.mkdir(exist_ok=True)
            shutil.copytree(run / "final", target)
        model = target


def referee(folder: Path) -> dict[str, Any]:
    """Share of what the prompts ask for that 200 clips of each checkpoint show, with its interval of 95 %."""
    figures = {}
    for name, *_ in PARTS:
        drawn = folder / "ref" / name
        call("t2v", "generate", "--prompts", folder / "referee.txt", "-o", drawn, "--model",
             folder / "checkpoints" / name, "--steps", STEPS, "--seed", 1000, "--quiet")  # fmt: skip
        scoring = ScoreConfig(cache=folder / "ref-cache")
        result = score(read_inputs(drawn), [parse_metric("obedience")], scoring).results[0]
        one = result.figures[result.headline]
        figures[name] = {"value": one.value, "low": one.low, "high": one.high, "n": one.n}
    return figures


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    write_prompts(folder)
    for clips in ("few", "many"):
        call(
            "t2v",
            "generate",
            "--prompts",
            folder / f"{clips}.txt",
            "-o",
            folder / clips,
            "--generator",
            "world",
            "--quiet",
        )
    disturb(folder / "base")
    train(folder)
    write_atomic(folder / "suite.yaml", b"name: s\nmetrics: [question_score]\n")
    call("v2t_eval", "pick", folder / "checkpoints", "--prompts", folder / "held-out.txt", "--limit", 72,
         "--steps", STEPS, "--training-set", folder / "few", "--training-prompts", 8, "--suite", folder / "suite.yaml",
         "-o", folder / "out")  # fmt: skip
    pick = json.loads((folder / "out" / "pick.json").read_text())
    kept = {key: pick[key] for key in ("best", "tied", "copies_from", "more_prompts", "draws", "all_draws", "looks")}
    text = json.dumps({**kept, "referee": referee(folder)}, indent=1)
    write_atomic(args.output, f"{text}\n".encode())
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
