"""Put a trained model into the package as a starter: weights in half precision, and the card with its figures.

    python scripts/ship.py captioner runs/starter/align-all/final --scores scores.json --time time.json --film film.json
    python scripts/ship.py dual runs/starter/contrastive/final --scores runs/dual/dual.md
    python scripts/ship.py generator runs/t2v/dit/final --scores scores.md --vae vae.md

In: the model's folder; its figures by `scripts/measure_starter.py` (`--time`: with `--about-time`), `measure_film.py`,
`measure_dual.py`, `measure_generator.py`, `measure_vae.py`; the folders of the training stages (`--runs`) for their
steps and seconds. Out: `v2t/starter` with the calibrated domain, `v2t/starter/dual`, or `t2v/starter`.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cineloop.files import write_atomic
from cineloop.video.frames import Frames
from cineloop.video.sample import choose
from cineloop.world.scenes.augment import augmented
from cineloop.world.scenes.render import frame_times
from cineloop.world.scenes.sampler import sample_scene
from t2v import STARTER as GENERATOR
from v2t.backends import abilities, domain
from v2t.backends.abilities import Abilities
from v2t.backends.local import STARTER, Backend

GENERATOR_LIMIT_MB = 28.0
CAPTIONER_STAGES = (
    *("tower", "language", "align-heads", "align", "instruct"),
    *("align-time", "heads-more", "language-film", "align-all", "judge", "judge-film", "judge-motions", "judge-mixed"),
)
GENERATOR_STAGES = ("vae", "dit-images", "dit")
DUAL_WEIGHTS = "open_clip_model.safetensors"
DUAL_FILES = ("open_clip_config.json", "tokenizer.json", "tokenizer_config.json")
# Trained on clips of about eight seconds, and on the prompts of these styles and questions.
ABILITIES = Abilities(window_s=8.0, can_summarise=False, styles=("short", "detailed", "timed", "notes"))
DESCRIPTION = "the cartoon world this small model was trained on"

CAPTIONER_CARD = """\
---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: video-text-to-text
tags: [video-captioning, video-question-answering, cineloop]
---

# The starter captioner

Trained by this project from nothing, on its own cartoon world (`cineloop/world`): {params:.1f} M parameters, \
{megabytes:.1f} MB. It knows that world and nothing else. Clips outside of it are recognised by a calibrated distance \
(Mahalanobis on pooled vision features, limit {limit:.2f}, which {share:.1f} % of {num_held_out} held-out clips of the \
world exceed) and carry a warning. Captions of real footage need a real model: `--model`.

## Use

`v2t caption clips/ -o captions/` and `v2t ask clip.mp4 "What happens?"` take it by default. With transformers alone:

```python
from transformers import AutoModelForImageTextToText, AutoProcessor

import v2t.model  # registers its classes

folder = "v2t/starter"
processor = AutoProcessor.from_pretrained(folder)
model = AutoModelForImageTextToText.from_pretrained(folder, dtype="float32").eval()
question = {{"type": "text", "text": "Describe the video in one sentence."}}
chat = [{{"role": "user", "content": [{{"type": "video", "path": "clip.mp4"}}, question]}}]
inputs = processor.apply_chat_template(
    chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
)
answer = model.generate(**inputs, max_new_tokens=64)[0, inputs["input_ids"].shape[1] :]
print(processor.decode(answer, skip_special_tokens=True))
```

Frames that are decoded already: `processor(text=..., videos=[array], frame_times_s=[seconds])`, uint8 (T, H, W, 3).

## Training

{training}

Recipes: `configs/starter/`; log of all runs: `configs/RESULTS.md`. Data are streamed from the world with exact truth; \
one combination of actor, colour and action in eight is never trained on (split `unseen`).

## Figures

`python scripts/measure_starter.py --num {a[num]} --controls {a[controls]} --questions {a[questions]} \
--seed {a[seed]}` on a 2-core CPU, on mp4 files of a seed that no training used: share of facts right in \
one-sentence captions and of questions answered right, with 95 % Wilson intervals. Controls on the first \
{a[controls]} clips of `seen`.

{scores}

About time, `python scripts/measure_starter.py --num {t[num]} --controls 0 --about-time --splits seen`, and about one \
film of {minutes:g} minutes, `python scripts/measure_film.py --moments {f[moments]} --whole {f[whole]}`:

{times}

## Limits

Cartoon clips of 1 to about 10 seconds, one to four figures of 22 kinds, 64×64 pixels seen, 16 frames a segment. Its \
English has about 370 words. It answers the kinds of question it was trained on.

Not to be relied on, below 0.6 on `seen`: {weak}. A yes/no figure is the mean over both answers, so 0.5 is a guess.

Licence: Apache-2.0, as the code.
"""
DUAL_CARD = """# The starter's dual encoder

Trained by this project from nothing (its image half from the starter's tower), on its own cartoon world: {params:.1f} M
parameters, {megabytes:.1f} MB in float16, an open_clip model (`open_clip.create_model("local-dir:v2t/starter/dual")`).
It says how well a sentence fits a frame; a clip is the mean of its frames, so it knows what is there and where, and
nothing of motion: a reversed clip scores the same. Outside the cartoon world its scores mean nothing.

Recipe: `configs/starter/contrastive.yaml`. One combination of actor, colour and action in eight is never trained on
(unseen). `solo`: the clips and prompts of the bundled generator's part of the world.

{training}

{scores}
"""
GENERATOR_CARD = """# The starter generator

Trained by this project from nothing, on its own cartoon world (`cineloop/world/scenes/solo.py`): {params:.1f} M \
parameters, {megabytes:.1f} MB. It makes clips of 17 frames of 64×64 at 8 frames a second in which one of 22 figures \
in one of 10 colours does one of 7 kinds of thing in one of 8 places, flat style, still camera. It knows no other \
words: what it does not know is named in a warning, and what it then makes means nothing. Other clips need a real \
model: `t2v generate --generator diffusers --model <hub id>`.

## Training

{training}

Recipes: `configs/t2v/`; log of all runs: `configs/RESULTS.md`. Clips are rendered with exact truth; one combination \
of figure, colour and action in eight, and one way to word a prompt in eight, is never trained on.

## Does it do what the prompt asks?

Read back from the clips by the referee (`cineloop/world/referee/read.py`), which is not learned. Share right with \
95 % Wilson intervals; what cannot be read counts as wrong; chance is what the prompts of other clips would get.

{scores}

## The autoencoder

{vae}
"""


def training_table(runs: Path, stages: Sequence[str], earlier: Sequence[str] = ()) -> str:
    """A row a stage: steps, batch, minutes, device; of a stage whose run is missing, its row of the `earlier` card."""
    lines = ["| stage | steps | batch | minutes | trained on |", "|---|---|---|---|---|"]
    for stage in stages:
        folder = runs / stage
        if not (folder / "log.jsonl").exists():
            lines += [line for line in earlier if line.startswith(f"| {stage} | ")]
            continue
        rows = [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]
        last = [row for row in rows if "loss" in row and "step" in row][-1]
        batch = next(s for s in (folder / "config.yaml").read_text().splitlines() if "batch_size" in s).split(":")[1]
        device = json.loads((folder / "run.json").read_text("utf-8")).get("device", "cpu")
        lines.append(f"| {stage} | {last['step']} | {batch.strip()} | {last['seconds'] / 60:.0f} | {device} |")
    return "\n".join(lines)


def score_table(scores: dict[str, Any]) -> str:
    """A row a fact kind: share right with its interval on both splits, and under each control."""
    controls = [name for name in ("blank", "one frame", "shuffled", "other clip") if name in scores]
    lines = [f"| fact | seen | unseen | {' | '.join(controls)} |", "|---" * (3 + len(controls)) + "|"]
    for kind in scores["seen"]:
        cells = [with_interval(scores[split][kind]) if kind in scores[split] else "–" for split in ("seen", "unseen")]
        cells += [f"{scores[name][kind]['value']:.2f}" if kind in scores[name] else "–" for name in controls]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def time_table(time: dict[str, Any], film: dict[str, Any]) -> str:
    """Answers about time, spans, and questions about a long film."""
    rows = {kind: figure for kind, figure in time["seen"].items() if not kind.startswith("facts/")}
    rows |= {"film: what happens at a moment": film["moments"]}
    rows |= {f"film: the whole, {name}": figure for name, figure in film["whole"].items() if name != "rows"}
    lines = ["| what | share right, or mean IoU |", "|---|---|"]
    return "\n".join([*lines, *(f"| {kind} | {with_interval(figure)} |" for kind, figure in rows.items())])


def with_interval(figure: dict[str, Any]) -> str:
    """A figure with its interval and n."""
    return "{value:.3f} [{low:.3f}, {high:.3f}] n={n}".format_map(figure)


def world_frames(captioner: Backend, split: str, seed: int, num: int) -> Iterator[Frames]:
    """Clips of the world as a decoder would return them, with a codec's marks."""
    for index in range(num):
        scene = sample_scene(split, seed, index)
        rng = np.random.default_rng([seed, index, 3])
        grid = frame_times(scene.duration_s, float(rng.choice([8.0, 12.0, 24.0, 30.0])))
        times = grid[choose(captioner.spec, grid, scene.duration_s)]
        pixels = augmented(scene, captioner.frame_size or (64, 64), times, rng)
        yield Frames(pixels, times, duration_s=scene.duration_s, fps=12.0, decoder="world")


def fit_domain(num_fit: int, num_held_out: int) -> domain.Domain:
    """The shipped model's domain, by clips of its world of two seeds of their own."""
    captioner = Backend("starter")
    captioner.load()

    def features(split: str, seed: int, num: int) -> np.ndarray:
        """Pooled vision features (num, 2 D)."""
        return np.concatenate([captioner.features([frames]) for frames in world_frames(captioner, split, seed, num)])

    fitted = domain.fit(
        features("train", 31, num_fit), features("unseen", 32, num_held_out), quantile=0.995, description=DESCRIPTION
    )
    domain.save(fitted, STARTER)
    return fitted


def ship_captioner(args: argparse.Namespace) -> tuple[Path, str]:
    """Copy the captioner in bfloat16, fit its domain; returns its folder and card."""
    from v2t.model import CineloopForConditionalGeneration, CineloopProcessor

    scores: dict[str, Any] = {}
    for path in args.scores:
        scores = json.loads(path.read_text("utf-8")) | scores
    time, film = (json.loads(path.read_text("utf-8")) for path in (args.time, args.film))
    kept = domain.load(STARTER) if args.keep_domain else None
    training = training_table(args.runs, CAPTIONER_STAGES, (STARTER / "README.md").read_text("utf-8").splitlines())
    for old in STARTER.glob("*"):
        if old.is_file():  # the dual encoder's folder stays
            old.unlink()
    model = CineloopForConditionalGeneration.from_pretrained(args.source, dtype=torch.bfloat16)
    model.save_pretrained(STARTER)
    CineloopProcessor.from_pretrained(args.source).save_pretrained(STARTER)
    write_atomic(STARTER / abilities.FILE_NAME, json.dumps(ABILITIES.to_dict(), indent=2).encode() + b"\n")
    if kept is not None:
        domain.save(kept, STARTER)
    fitted = kept or fit_domain(args.fit, args.held_out)
    weak = [kind for kind, figure in scores["seen"].items() if figure["value"] < 0.6]
    return STARTER, CAPTIONER_CARD.format(
        params=sum(weight.numel() for weight in model.parameters()) / 1e6,
        megabytes=sum(f.stat().st_size for f in STARTER.glob("*") if f.is_file()) / 1e6,
        limit=fitted.threshold,
        share=100 * (1 - fitted.quantile),
        num_held_out=fitted.num_held_out,
        training=training,
        scores=score_table(scores),
        times=time_table(time, film),
        a=scores["arguments"],
        t=time["arguments"],
        f=film["arguments"],
        minutes=float(film["arguments"]["minutes"]),
        weak=", ".join(weak) or "nothing",
    )


def ship_dual(args: argparse.Namespace) -> tuple[Path, str]:
    """Copy the dual encoder in float16; returns its folder and card."""
    from safetensors.torch import load_file, save_file

    target = STARTER / "dual"
    target.mkdir(exist_ok=True)
    weights = {name: value.to(torch.float16) for name, value in load_file(args.source / DUAL_WEIGHTS).items()}
    save_file(weights, target / DUAL_WEIGHTS)
    for name in DUAL_FILES:
        shutil.copyfile(args.source / name, target / name)
    stage = args.source.parent
    return target, DUAL_CARD.format(
        params=sum(value.numel() for value in weights.values()) / 1e6,
        megabytes=(target / DUAL_WEIGHTS).stat().st_size / 1e6,
        training=training_table(stage.parent, [stage.name]),
        scores=args.scores[0].read_text("utf-8").strip(),
    )


def ship_generator(args: argparse.Namespace) -> tuple[Path, str]:
    """Copy the pipeline in bfloat16; returns its folder and card. SystemExit: larger than the package may carry."""
    from t2v.pipeline import CineloopPipeline

    pipeline = CineloopPipeline.from_pretrained(args.source, local_files_only=True)
    parts = (pipeline.vae, pipeline.transformer, pipeline.text_encoder)
    tensors = [tensor for part in parts for tensor in (*part.parameters(), *part.buffers())]
    for tensor in tensors:  # by hand: `.to(dtype)` spares what a model keeps in fp32 while it computes
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(torch.bfloat16)
    if GENERATOR.exists():
        shutil.rmtree(GENERATOR)
    pipeline.save_pretrained(GENERATOR)
    for path in GENERATOR.rglob("*"):
        if path.suffix == ".json":  # the path it was trained at is private
            kept = {k: v for k, v in json.loads(path.read_text("utf-8")).items() if k != "_name_or_path"}
            path.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        if path.is_file():
            path.chmod(0o644)
    size = sum(path.stat().st_size for path in GENERATOR.rglob("*.safetensors")) / 1e6
    if size > GENERATOR_LIMIT_MB:
        raise SystemExit(f"the weights are {size:.1f} MB, the package carries {GENERATOR_LIMIT_MB:.0f}")
    return GENERATOR, GENERATOR_CARD.format(
        params=sum(tensor.numel() for part in parts for tensor in part.parameters()) / 1e6,
        megabytes=size,
        training=training_table(args.runs, GENERATOR_STAGES),
        scores=args.scores[0].read_text("utf-8").strip(),
        vae=args.vae.read_text("utf-8").strip(),
    )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for name, ship, runs in (
        ("captioner", ship_captioner, "runs/starter"),
        ("dual", ship_dual, "runs/starter"),
        ("generator", ship_generator, "runs/t2v"),
    ):
        kind = kinds.add_parser(name, help=(ship.__doc__ or "").split(";")[0])
        kind.set_defaults(ship=ship)
        kind.add_argument("source", type=Path, help="folder of the trained model")
        kind.add_argument("--scores", type=Path, required=True, nargs="+", help="one file, or one a split")
        kind.add_argument("--runs", type=Path, default=Path(runs))
        if name == "captioner":
            kind.add_argument("--time", type=Path, required=True, help="figures of answers about time")
            kind.add_argument("--film", type=Path, required=True, help="figures of questions about a film")
            kind.add_argument("--keep-domain", action="store_true", help="the vision tower is the one that is shipped")
            kind.add_argument("--fit", type=int, default=3000, help="clips the domain is fitted on")
            kind.add_argument("--held-out", type=int, default=1000, help="clips its limit is set on")
        if name == "generator":
            kind.add_argument("--vae", type=Path, required=True, help="Markdown table of scripts/measure_vae.py")
    args = parser.parse_args()
    folder, card = args.ship(args)
    write_atomic(folder / "README.md", card.encode())
    print(f"{folder}: {sum(f.stat().st_size for f in folder.glob('**/*.safetensors')) / 1e6:.1f} MB of weights")


if __name__ == "__main__":
    main()
