"""How well a dual encoder of stage `contrastive` knows which caption belongs to a clip, on mp4 files.

    python scripts/measure_dual.py runs/starter/contrastive/final --num 500 -o runs/dual

Clips of seeds that no training used, through the codec, all frames; each with its caption and one that is wrong in one
fact. Says, for the splits seen and unseen and for the clips and prompts of the bundled generator's part of the world
(solo): how often the true caption has the higher cosine, by fact (Wilson, 95 %); the AUROC of a clip's own caption
against those of all others; how often the own caption is the nearest of all. Writes dual.md and dual.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from cineloop.files import write_atomic
from cineloop.intervals import wilson
from cineloop.video.encode import encode
from cineloop.video.worker import DecoderPool, SampleSpec
from cineloop.world.scenes.render import render
from cineloop.world.scenes.sampler import sample_scene
from cineloop.world.scenes.solo import FPS, sample_solo
from v2t.data.near_miss import pair
from v2t_eval.features import mean_features, open_extractor, unit

FACTS = ("color", "kind", "count", "place", "direction")
SETS = ("seen", "unseen", "solo seen", "solo unseen")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="folder of the model")
    parser.add_argument("--num", type=int, default=500, help="clips of each set")
    parser.add_argument("--seed", type=int, default=2027)
    parser.add_argument("--size", type=int, default=128, help="pixels a side")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    extractor = open_extractor(f"open_clip:local-dir:{args.model}")
    found = {name: measure(extractor, name, args.num, args.seed, args.size) for name in SETS}
    args.output.mkdir(parents=True, exist_ok=True)
    write_atomic(args.output / "dual.json", (json.dumps(found, indent=1) + "\n").encode())
    write_atomic(args.output / "dual.md", table(found, args).encode())
    print((args.output / "dual.md").read_text())
    return 0


def measure(extractor: Any, name: str, num: int, seed: int, size: int) -> dict[str, Any]:
    """Figures of one set of clips."""
    solo, split = name.startswith("solo"), name.split()[-1]
    seen, true, right = [], [], {fact: [0, 0] for fact in FACTS}
    texts: list[str] = []
    with DecoderPool() as pool, tempfile.TemporaryDirectory() as folder:
        for index in range(num):
            scene = (sample_solo if solo else sample_scene)(split, seed, index)
            fps = FPS if solo else 12.0
            path = Path(folder) / "clip.mp4"
            encode(render(scene, (size, size), fps=fps), path, fps)
            frames = pool.decode(path, SampleSpec(num_frames=16))
            path.unlink()
            clip = unit(mean_features(unit(extractor.embed_frames(frames.pixels))))
            caption, wrong, fact = pair(scene.facts(), "prompt" if solo else "short", f"{name}|{seed}|{index}", FACTS)
            both = unit(extractor.embed_texts([caption, wrong]))
            if fact >= 0:
                right[FACTS[fact]][0] += int(clip @ both[0] > clip @ both[1])
                right[FACTS[fact]][1] += 1
            seen.append(clip)
            true.append(both[0])
            texts.append(caption)
    cosines = np.stack(seen) @ np.stack(true).T  # (n, n): clips by captions
    same = np.array([[one == other for other in texts] for one in texts])
    own, others = np.diag(cosines), [row[~mask] for row, mask in zip(cosines, same, strict=True)]
    wins = [(value > rest).mean() + (value == rest).mean() / 2 for value, rest in zip(own, others, strict=True)]
    nearest = int(sum(value >= rest.max() for value, rest in zip(own, others, strict=True)))
    return {"facts": right, "auroc": float(np.mean(wins)), "nearest": [nearest, num], "own": float(own.mean()),
            "other": float(np.concatenate(others).mean())}  # fmt: skip


def table(found: dict[str, Any], args: argparse.Namespace) -> str:
    """Figures in Markdown, with their command."""
    lines = [
        f"`python scripts/measure_dual.py {args.model} --num {args.num} --seed {args.seed}`, on mp4 files of"
        f" {args.size} pixels a side: how often the true caption beats one that is wrong in"
        " one fact, with 95 % Wilson intervals.",
        "",
        "| | " + " | ".join(found) + " |",
        "|---" * (len(found) + 1) + "|",
    ]
    for fact in FACTS:
        lines.append(f"| {fact} | " + " | ".join(share(*one["facts"][fact]) for one in found.values()) + " |")
    lines.append(
        "| own caption nearest of all | " + " | ".join(share(*one["nearest"]) for one in found.values()) + " |"
    )
    lines.append("| AUROC own against others | " + " | ".join(f"{one['auroc']:.3f}" for one in found.values()) + " |")
    lines.append(
        "| mean cosine own / others | "
        + " | ".join(f"{one['own']:.2f} / {one['other']:.2f}" for one in found.values())
        + " |"
    )
    return "\n".join(lines) + "\n"


def share(right: int, num: int) -> str:
    """0.912 [0.88, 0.94] n=300, or a dash where nothing was asked."""
    if not num:
        return "–"
    low, high = wilson(right, num)
    return f"{right / num:.3f} [{low:.3f}, {high:.3f}] n={num}"


if __name__ == "__main__":
    sys.exit(main())
