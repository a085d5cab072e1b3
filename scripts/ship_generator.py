"""Put a trained generator into the package as its starter: weights in bf16, the card with its figures.

In: a pipeline's folder (`t2v train configs/t2v/dit.yaml`), figures from `scripts/measure_generator.py -o scores.json`
and `scripts/measure_vae.py -o vae.json`, the folders of the training stages for their steps and seconds.
Out: `t2v/starter`.

    python scripts/ship_generator.py runs/t2v/dit/final --scores scores.json --vae vae.json
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch

from cineloop.files import write_atomic
from t2v.pipeline import STARTER, CineloopPipeline

LIMIT_MB = 28.0


def training_table(runs: Path, stages: list[str]) -> list[str]:
    """A row a stage: steps, batch, minutes, device."""
    lines = ["| stage | steps | batch | minutes | trained on |", "|---|---|---|---|---|"]
    for stage in stages:
        folder = runs / stage
        rows = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        last = [row for row in rows if "loss" in row and "step" in row][-1]
        batch = next(s for s in (folder / "config.yaml").read_text().splitlines() if "batch_size" in s).split(":")[1]
        device = json.loads((folder / "run.json").read_text(encoding="utf-8")).get("device", "cpu")
        lines.append(f"| {stage} | {last['step']} | {batch.strip()} | {last['seconds'] / 60:.0f} | {device} |")
    return lines


def put(source: Path) -> tuple[float, int]:
    """Write the weights in bf16; returns their size in MB and the number of parameters.

    Raises:
        SystemExit: the weights are larger than the package may carry.
    """
    pipeline = CineloopPipeline.from_pretrained(source, local_files_only=True)
    parts = {"vae": pipeline.vae, "transformer": pipeline.transformer, "text_encoder": pipeline.text_encoder}
    for part in parts.values():  # by hand: `.to(dtype)` spares what a model keeps in fp32 while it computes
        for tensor in [*part.parameters(), *part.buffers()]:
            if tensor.is_floating_point():
                tensor.data = tensor.data.to(torch.bfloat16)
    if STARTER.exists():
        shutil.rmtree(STARTER)
    pipeline.save_pretrained(STARTER)
    for path in STARTER.rglob("*"):
        if path.suffix == ".json":  # the path it was trained at is private
            kept = {k: v for k, v in json.loads(path.read_text(encoding="utf-8")).items() if k != "_name_or_path"}
            path.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        if path.is_file():
            path.chmod(0o644)
    size = sum(path.stat().st_size for path in STARTER.rglob("*.safetensors")) / 1e6
    if size > LIMIT_MB:
        raise SystemExit(f"the weights are {size:.1f} MB, the package carries {LIMIT_MB:.0f}")
    return size, sum(tensor.numel() for part in parts.values() for tensor in part.parameters())


def card(size_mb: float, parameters: int, table: str, vae: str, runs: Path, stages: list[str]) -> str:
    """The model card."""
    return "\n".join(
        [
            "# The starter generator",
            "",
            "Trained by this project from nothing, on its own cartoon world (`cineloop/world/scenes/solo.py`): "
            f"{parameters / 1e6:.1f} M parameters, {size_mb:.1f} MB. It makes clips of 17 frames of 64×64 at 8 frames "
            "a second in which one of 22 figures in one of 10 colours does one of 7 kinds of thing in one of 8 places, "
            "flat style, still camera. It knows no other words: what it does not know is named in a warning, and what "
            "it then makes means nothing. Other clips need a real model: "
            "`t2v generate --generator diffusers --model <hub id>`.",
            "",
            "## Training",
            "",
            *training_table(runs, stages),
            "",
            "Recipes: `configs/t2v/`; log of all runs: `configs/RESULTS.md`. Clips are rendered with exact truth; one "
            "combination of figure, colour and action in eight, and one way to word a prompt in eight, is never "
            "trained on.",
            "",
            "## Does it do what the prompt asks?",
            "",
            "Read back from the clips by the referee (`cineloop/world/referee/read.py`), which is not learned. "
            "Share right "
            "with 95 % Wilson intervals; what cannot be read counts as wrong; chance is what the prompts of other "
            "clips would get.",
            "",
            table,
            "",
            "## The autoencoder",
            "",
            vae,
            "",
        ]
    )


def main() -> None:
    """Ship it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder of the trained pipeline")
    parser.add_argument("--scores", type=Path, required=True, help="Markdown table of scripts/measure_generator.py")
    parser.add_argument("--vae", type=Path, required=True, help="Markdown table of scripts/measure_vae.py")
    parser.add_argument("--runs", type=Path, default=Path("runs/t2v"))
    parser.add_argument("--stages", nargs="+", default=["vae", "dit-images", "dit"])
    args = parser.parse_args()
    size, parameters = put(args.source)
    tables = [path.read_text(encoding="utf-8").strip() for path in (args.scores, args.vae)]
    text = card(size, parameters, *tables, args.runs, args.stages)
    write_atomic(STARTER / "README.md", text.encode())
    print(f"{STARTER}: {size:.1f} MB, {parameters / 1e6:.1f} M parameters")


if __name__ == "__main__":
    main()
