"""Put a trained dual encoder into the package: weights in float16, its card.

    python scripts/ship_dual.py runs/starter/contrastive/final --scores runs/dual/dual.md

In: what stage `contrastive` exported, and its figures from `scripts/measure_dual.py`. Out: `v2t/starter/dual`.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from v2t.backends.local import STARTER

FILES = ("open_clip_config.json", "tokenizer.json", "tokenizer_config.json")
WEIGHTS = "open_clip_model.safetensors"
CARD = """# The starter's dual encoder

Trained by this project from nothing (its image half from the starter's tower), on its own cartoon world: {params:.1f} M
parameters, {megabytes:.1f} MB in float16, an open_clip model (`open_clip.create_model("local-dir:v2t/starter/dual")`).
It says how well a sentence fits a frame; a clip is the mean of its frames, so it knows what is there and where, and
nothing of motion: a reversed clip scores the same. Outside the cartoon world its scores mean nothing.

Recipe: `configs/starter/contrastive.yaml`; {steps} steps of {batch} clips, {minutes:.0f} minutes on {device}. One
combination of actor, colour and action in eight is never trained on (unseen). `solo`: the clips and prompts of the
bundled generator's part of the world.

{scores}
"""


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("--scores", type=Path, required=True, help="dual.md of scripts/measure_dual.py")
    args = parser.parse_args()
    target = STARTER / "dual"
    target.mkdir(exist_ok=True)
    weights = {name: value.to(torch.float16) for name, value in load_file(args.source / WEIGHTS).items()}
    save_file(weights, target / WEIGHTS)
    for name in FILES:
        shutil.copyfile(args.source / name, target / name)
    rows = [json.loads(line) for line in (args.source.parent / "log.jsonl").read_text().splitlines()]
    last = [row for row in rows if "loss" in row][-1]
    config = (args.source.parent / "config.yaml").read_text().splitlines()
    card = CARD.format(
        params=sum(value.numel() for value in weights.values()) / 1e6,
        megabytes=(target / WEIGHTS).stat().st_size / 1e6,
        steps=last["step"],
        batch=next(line for line in config if "batch_size" in line).split(":")[1].strip(),
        minutes=last["seconds"] / 60,
        device=json.loads((args.source.parent / "run.json").read_text()).get("device", "cpu"),
        scores=args.scores.read_text().strip(),
    )
    (target / "README.md").write_text(card, encoding="utf-8")
    print(f"{target}: {(target / WEIGHTS).stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
