"""Put a trained captioner into the package as its starter: weights in bf16, the calibrated domain, the card.

In: a captioner's folder, its figures from `scripts/measure_starter.py -o scores.json`, the same `--about-time -o
time.json` and `scripts/measure_film.py -o film.json`, the folders of the training stages for their steps and seconds.
Out: `v2t/starter`.

    python scripts/ship_starter.py runs/starter/align-all/final --scores scores.json --time time.json --film film.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cineloop.files import write_atomic
from cineloop.video.frames import Frames
from cineloop.video.sample import choose
from cineloop.world.scenes.render import frame_times
from cineloop.world.scenes.sampler import sample_scene
from cineloop.world.scenes.wear import worn
from v2t.backends import abilities, domain
from v2t.backends.abilities import Abilities
from v2t.backends.local import STARTER, Backend
from v2t.model import CineloopForConditionalGeneration, CineloopProcessor

STAGES = (
    *("tower", "language", "align-heads", "align", "instruct"),
    *("align-time", "heads-more", "language-film", "align-all", "judge", "judge-film"),
)
# Trained on clips of about eight seconds, and on the prompts of these styles beside questions.
ABILITIES = Abilities(window_s=8.0, can_summarise=False, styles=("short", "detailed", "timed", "notes"))
HEAD = """\
---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: video-text-to-text
tags: [video-captioning, video-question-answering, cineloop]
---

# The starter captioner
"""
USAGE = """\
## Use

`v2t caption clips/ -o captions/` and `v2t ask clip.mp4 "What happens?"` take it by default. With transformers alone:

```python
from transformers import AutoModelForImageTextToText, AutoProcessor

import v2t.model  # registers its classes

folder = "v2t/starter"
processor = AutoProcessor.from_pretrained(folder)
model = AutoModelForImageTextToText.from_pretrained(folder, dtype="float32").eval()
question = {"type": "text", "text": "Describe the video in one sentence."}
chat = [{"role": "user", "content": [{"type": "video", "path": "clip.mp4"}, question]}]
inputs = processor.apply_chat_template(
    chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
)
answer = model.generate(**inputs, max_new_tokens=64)[0, inputs["input_ids"].shape[1] :]
print(processor.decode(answer, skip_special_tokens=True))
```

Frames that are decoded already: `processor(text=..., videos=[array], frame_times_s=[seconds])`, uint8 (T, H, W, 3).
"""
DESCRIPTION = "the cartoon world this small model was trained on"


def world_frames(captioner: Backend, split: str, seed: int, num: int) -> Iterator[Frames]:
    """Clips of the world as a decoder would hand them over, with a codec's wear."""
    for index in range(num):
        scene = sample_scene(split, seed, index)
        rng = np.random.default_rng([seed, index, 3])
        grid = frame_times(scene.duration_s, float(rng.choice([8.0, 12.0, 24.0, 30.0])))
        times = grid[choose(captioner.spec, grid, scene.duration_s)]
        pixels = worn(scene, captioner.frame_size or (64, 64), times, rng)
        yield Frames(pixels, times, duration_s=scene.duration_s, fps=12.0, decoder="world")


def features(captioner: Backend, split: str, seed: int, num: int) -> np.ndarray:
    """Pooled vision features (num, 2 D)."""
    return np.concatenate([captioner.features([frames]) for frames in world_frames(captioner, split, seed, num)])


def fit_domain(num_fit: int, num_held_out: int) -> domain.Domain:
    """Where the shipped model is at home, by clips of its world of two seeds of their own."""
    captioner = Backend("starter")
    captioner.load()
    fitted = domain.fit(
        features(captioner, "train", 31, num_fit),
        features(captioner, "unseen", 32, num_held_out),
        quantile=0.995,
        description=DESCRIPTION,
    )
    domain.save(fitted, STARTER)
    return fitted


def training_table(runs: Path, earlier: Sequence[str]) -> list[str]:
    """A row a stage: steps, batch, minutes, device; of a stage whose run is not here, its row of the `earlier` card."""
    lines = ["| stage | steps | batch | minutes | trained on |", "|---|---|---|---|---|"]
    for stage in STAGES:
        folder = runs / stage
        if not (folder / "log.jsonl").exists():
            lines += [line for line in earlier if line.startswith(f"| {stage} | ")]
            continue
        rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        steps = [row for row in rows if "loss" in row]
        batch = next(s for s in (folder / "config.yaml").read_text().splitlines() if "batch_size" in s).split(":")[1]
        device = json.loads((folder / "run.json").read_text()).get("device", "cpu")
        last = steps[-1]
        lines.append(f"| {stage} | {last['step']} | {batch.strip()} | {last['seconds'] / 60:.0f} | {device} |")
    return lines


def score_table(scores: dict[str, Any]) -> list[str]:
    """A row a fact kind: share right with its interval on both splits, and under each control."""
    controls = [name for name in ("blank", "one frame", "shuffled", "other clip") if name in scores]
    lines = [f"| fact | seen | unseen | {' | '.join(controls)} |", "|---" * (3 + len(controls)) + "|"]
    for kind in scores["seen"]:
        cells = []
        for column in ("seen", "unseen"):
            figure = scores[column].get(kind)
            span = figure and f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}] n={figure['n']}"
            cells.append(span or "–")
        cells += [f"{scores[name][kind]['value']:.2f}" if kind in scores[name] else "–" for name in controls]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return lines


def time_table(time: dict[str, Any], film: dict[str, Any]) -> list[str]:
    """Answers about time, spans, and questions about a long film."""
    lines = ["| what | share right, or mean IoU |", "|---|---|"]
    rows = {kind: figure for kind, figure in time["seen"].items() if not kind.startswith("facts/")}
    rows |= {"film: what happens at a moment": film["moments"]}
    rows |= {f"film: the whole, {name}": figure for name, figure in film["whole"].items() if name != "rows"}
    for kind, f in rows.items():
        lines.append(f"| {kind} | {f['value']:.3f} [{f['low']:.3f}, {f['high']:.3f}] n={f['n']} |")
    return lines


def weak(scores: dict[str, Any]) -> list[str]:
    """Kinds of fact and question that the model mostly gets wrong."""
    return [kind for kind, figure in scores["seen"].items() if figure["value"] < 0.6]


def card(
    scores: dict[str, Any],
    time: dict[str, Any],
    film: dict[str, Any],
    training: Sequence[str],
    fitted: domain.Domain,
    size_mb: float,
    parameters: int,
) -> str:
    """The model card."""
    arguments = scores["arguments"]
    return "\n".join(
        [
            HEAD,
            "Trained by this project from nothing, on its own cartoon world (`cineloop/world`): "
            f"{parameters / 1e6:.1f} M parameters, {size_mb:.1f} MB. It knows that world and nothing else. "
            "Clips that lie outside are told by a "
            f"calibrated distance (Mahalanobis on pooled vision features, limit {fitted.threshold:.2f}, which "
            f"{100 * (1 - fitted.quantile):.1f} % of {fitted.num_held_out} held-out clips of the world exceed) and "
            "carry a warning. Captions of real footage need a real model: `--model`.",
            "",
            USAGE,
            "## Training",
            "",
            *training,
            "",
            "Recipes: `configs/starter/`; log of all runs: `configs/RESULTS.md`. Data are streamed from the world with "
            "exact truth; one combination of actor, colour and action in eight is never trained on (split `unseen`).",
            "",
            "## Figures",
            "",
            f"`python scripts/measure_starter.py --num {arguments['num']} --controls {arguments['controls']} "
            f"--questions {arguments['questions']} --seed {arguments['seed']}` on a 2-core CPU, on mp4 files of a seed "
            "that no training used: share of facts right in one-sentence captions and of questions answered right, "
            f"with 95 % Wilson intervals. Controls on the first {arguments['controls']} clips of `seen`.",
            "",
            *score_table(scores),
            "",
            f"About time, `python scripts/measure_starter.py --num {time['arguments']['num']} --controls 0 "
            "--about-time --splits seen`, and about one film of "
            f"{float(film['arguments']['minutes']):g} minutes, `python scripts/measure_film.py "
            f"--moments {film['arguments']['moments']} --whole {film['arguments']['whole']}`:",
            "",
            *time_table(time, film),
            "",
            "## Limits",
            "",
            "Cartoon clips of 1 to about 10 seconds, one to four figures of 22 kinds, 64×64 pixels seen, 16 frames a "
            "segment. Its English has about 370 words. It answers the kinds of question it was trained on.",
            "",
            f"Not to be relied on, below 0.6 on `seen`: {', '.join(weak(scores)) or 'nothing'}. A yes/no figure is the "
            "mean over both answers, so 0.5 is a guess.",
            "",
            "Licence: Apache-2.0, as the code.",
            "",
        ]
    )


def main() -> None:
    """Copy, fit, describe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--scores", type=Path, required=True, nargs="+", help="one file, or one a split")
    parser.add_argument("--time", type=Path, required=True, help="figures of answers about time")
    parser.add_argument("--film", type=Path, required=True, help="figures of questions about a film")
    parser.add_argument("--keep-domain", action="store_true", help="the vision tower is the one that is shipped")
    parser.add_argument("--runs", type=Path, default=Path("runs/starter"))
    parser.add_argument("--fit", type=int, default=3000, help="clips the domain is fitted on")
    parser.add_argument("--held-out", type=int, default=1000, help="clips its limit is set on")
    args = parser.parse_args()
    scores: dict[str, Any] = {}
    for path in args.scores:
        scores = json.loads(path.read_text(encoding="utf-8")) | scores
    time, film = (json.loads(path.read_text(encoding="utf-8")) for path in (args.time, args.film))
    kept = domain.load(STARTER) if args.keep_domain else None
    training = training_table(args.runs, (STARTER / "README.md").read_text(encoding="utf-8").splitlines())
    for old in STARTER.glob("*"):
        if old.is_file():  # the dual encoder's folder stays
            old.unlink()
    model = CineloopForConditionalGeneration.from_pretrained(args.model, dtype=torch.bfloat16)
    model.save_pretrained(STARTER)
    CineloopProcessor.from_pretrained(args.model).save_pretrained(STARTER)
    write_atomic(STARTER / abilities.FILE_NAME, json.dumps(ABILITIES.to_dict(), indent=2).encode() + b"\n")
    if kept is not None:
        domain.save(kept, STARTER)
    fitted = kept or fit_domain(args.fit, args.held_out)
    size = sum(f.stat().st_size for f in STARTER.glob("*") if f.is_file()) / 1e6
    parameters = sum(weight.numel() for weight in model.parameters())
    write_atomic(STARTER / "README.md", card(scores, time, film, training, fitted, size, parameters).encode())
    print(f"{STARTER}: {size:.1f} MB, {parameters / 1e6:.2f} M parameters, domain limit {fitted.threshold:.2f}")


if __name__ == "__main__":
    main()
