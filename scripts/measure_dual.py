"""How well dual encoders know which caption belongs to a clip, on mp4 files.

    python scripts/measure_dual.py --num 300 -o dual.json
    python scripts/measure_dual.py --num 300 --models starter open_clip_video:runs/starter/contrastive-video/final \
        -o dual.json

Clips of seeds that no training used, through the codec, all frames; each with its caption and, for each kind of fact
that can be changed in it, one that is wrong in that fact. Says for each model, for the splits seen and unseen and for
the clips and prompts of the bundled generator's part of the world (solo): how often the true caption has the higher
cosine, by fact; how often a clip has a higher one than the same clip shown backwards, of clips that look different
backwards (a tie counts half); how often the own caption is the nearest of all; the AUROC of a clip's own caption
against those of all others. Shares have Wilson intervals, 95 %.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cineloop.files import write_atomic
from cineloop.intervals import wilson
from cineloop.video.encode import encode
from cineloop.video.frames import Frames
from cineloop.video.sample import SampleSpec
from cineloop.video.worker import DecoderPool
from cineloop.world.scenes.render import render
from cineloop.world.scenes.sampler import sample_scene
from cineloop.world.scenes.solo import FPS, sample_solo
from v2t.data.near_miss import KINDS, pair
from v2t_eval.core.features import BaseExtractor, mean_features, open_extractor, unit

SETS = ("seen", "unseen", "solo seen", "solo unseen")
ONE_WAY = ("grow", "shrink", "fall", "appear", "vanish", "recolor")  # actions that look different backwards


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", default=["starter", "starter-video"], help="as v2t-eval takes them")
    parser.add_argument("--num", type=int, default=300, help="clips of each set")
    parser.add_argument("--seed", type=int, default=2027)
    parser.add_argument("--size", type=int, default=128, help="pixels a side")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file")
    args = parser.parse_args()
    models = {name: open_extractor(name) for name in args.models}
    sets = {name: measure(list(models.values()), name, args.num, args.seed, args.size) for name in SETS}
    figures = {
        "num": args.num,
        "seed": args.seed,
        "models": {model: {name: sets[name][i] for name in SETS} for i, model in enumerate(models)},
    }
    write_atomic(args.output, (json.dumps(figures, indent=1) + "\n").encode())
    print(json.dumps(figures["models"], indent=1))
    return 0


def measure(models: Sequence[BaseExtractor], name: str, num: int, seed: int, size: int) -> list[dict[str, Any]]:
    """Figures of one set of clips, for each model."""
    solo, split = name.startswith("solo"), name.split()[-1]
    style, fps = ("prompt", FPS) if solo else ("short", 12.0)
    clips: list[list[np.ndarray]] = [[] for _ in models]
    texts: list[str] = []
    wins: list[dict[str, list[float]]] = [{kind: [] for kind in (*KINDS, "backwards")} for _ in models]
    with DecoderPool() as pool, tempfile.TemporaryDirectory() as folder:
        for index in range(num):
            scene = (sample_solo if solo else sample_scene)(split, seed, index)
            path = Path(folder) / "clip.mp4"
            encode(render(scene, (size, size), fps=fps), path, fps)
            frames = pool.decode(path, SampleSpec(num_frames=16))
            path.unlink()
            facts, stream = scene.facts(), f"{name}|{seed}|{index}"
            pairs = {kind: pair(facts, style, stream, (kind,)) for kind in KINDS}
            caption = pairs[KINDS[0]][0]
            wrong = {kind: text for kind, (_, text, number) in pairs.items() if number >= 0}
            for model, seen, won in zip(models, clips, wins, strict=True):
                clip = embedding(model, frames)
                cosines = unit(model.embed_texts([caption, *wrong.values()])) @ clip
                for kind, cosine in zip(wrong, cosines[1:], strict=True):
                    won[kind].append(float(cosines[0] > cosine))
                if "order" in wrong or any(e["direction"] or e["action"] in ONE_WAY for e in facts["events"]):
                    gap = cosines[0] - unit(model.embed_texts([caption]))[0] @ embedding(model, frames, backwards=True)
                    won["backwards"].append(0.5 if abs(gap) < 1e-6 else float(gap > 0))
                seen.append(clip)
            texts.append(caption)
    same = np.array([[one == other for other in texts] for one in texts])
    rows = []
    for model, seen, won in zip(models, clips, wins, strict=True):
        cosines = np.stack(seen) @ unit(model.embed_texts(texts)).T  # (n, n): clips by captions
        own, others = np.diag(cosines), [row[~mask] for row, mask in zip(cosines, same, strict=True)]
        beaten = [(value > rest).mean() + (value == rest).mean() / 2 for value, rest in zip(own, others, strict=True)]
        nearest = [float(value >= rest.max()) for value, rest in zip(own, others, strict=True)]
        rows.append({
            **{kind: share(values) for kind, values in won.items()},
            "nearest": share(nearest),
            "auroc": float(np.mean(beaten)),
            "own": float(own.mean()),
            "other": float(np.concatenate(others).mean()),
        })  # fmt: skip
    return rows


def embedding(model: BaseExtractor, frames: Frames, *, backwards: bool = False) -> np.ndarray:
    """float64 (D,) of length 1 of a clip, or of the same frames shown from the last to the first."""
    if backwards:
        frames = replace(frames, pixels=frames.pixels[::-1].copy())
    if model.kind == "clip":
        return unit(model.embed_clip(frames))
    return unit(mean_features(unit(model.embed_frames(frames.pixels))))


def share(values: Sequence[float]) -> dict[str, float] | None:
    """Their mean with its interval; None where nothing was asked."""
    if not values:
        return None
    low, high = wilson(sum(values), len(values))
    return {"value": sum(values) / len(values), "low": low, "high": high, "n": len(values)}


if __name__ == "__main__":
    sys.exit(main())
