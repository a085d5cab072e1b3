"""How often `v2t-eval check-set` is right: false alarms on sound clips, and the test for shifted captions, simulated.

In: numbers. Out: tables on stdout and, with -o, JSON. Sound clips are of the cartoon world with its own captions, drawn
so that they fit a bucket of each trainer. Of the test: the share of sets with an alarm where captions are right, and
the share where a shift is found with its offset, after one clip was left out at a third of the set, over shapes of
data. Shares have intervals of 95 % (Wilson).

    python scripts/measure_check_set.py --clips 120 --sets 200 --seed 0 -o check-set.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from cineloop.intervals import wilson
from cineloop.manifest import read_manifest
from cineloop.world.scenes.corpus import write_world
from v2t_eval.core.executor import ExecutorConfig
from v2t_eval.trainers.check import check_set
from v2t_eval.trainers.rules import load_rules, trainers
from v2t_eval.trainers.settings import CheckSetConfig
from v2t_eval.trainers.shift import shift_of

WIDTH = 64  # of the embeddings
SHAPES = ("distinct", "films", "drift", "hubs", "repeated", "blind")
SIZES, KNOWLEDGE = (30, 100, 400), (0.3, 1.0)
# By which the clips of 320x192 and 2 seconds at 16 a second fit.
SETTINGS = {
    "musubi": ("frames=[33]", "resolution=[320,192]"),
    "diffusion-pipe": ("frames=[33]", "resolution=[256]"),
    "ltx2": ("frames=[33]", "sizes=[[320,192]]"),
    "finetrainers": ("frames=[33]", "sizes=[[320,192]]"),
    "ai-toolkit": ("frames=[33]", "resolution=[256]"),
}


def embeddings(shape: str, num: int, knows: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (num, WIDTH) of clips and captions. `knows`: content over noise. Shapes: clips of their own; five of
    a film alike; content that drifts; some captions and clips like all others; a third of them alike; an encoder that
    sees nothing of the captions."""
    content = rng.normal(size=(num, WIDTH))
    if shape == "films":
        content = np.repeat(rng.normal(size=(-(-num // 5), WIDTH)), 5, 0)[:num] + 0.5 * content
    elif shape == "drift":
        content += 0.3 * np.cumsum(rng.normal(size=(num, WIDTH)), 0)
    elif shape == "repeated":
        content[rng.random(num) < 0.3] = content[0]
    seen = rng.normal(size=(num, WIDTH)) if shape == "blind" else content
    pair = [knows * each + rng.normal(size=(num, WIDTH)) for each in (content, seen)]
    if shape == "hubs":
        pair = [each + rng.standard_t(2, size=(num, 1)) * rng.normal(size=(1, WIDTH)) for each in pair]
    clips, words = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in pair)
    return clips, words


def simulate(num_sets: int, seed: int) -> list[dict[str, Any]]:
    """A row a shape, size and knowledge."""
    rows = []
    for shape in SHAPES:
        for num in SIZES:
            for knows in KNOWLEDGE:
                alarms = hits = near = 0
                for number in range(num_sets):
                    rng = np.random.default_rng([seed, number, num, round(10 * knows), SHAPES.index(shape)])
                    clips, words = embeddings(shape, num, knows, rng)
                    alarms += shift_of(clips, words, seed=number).offset != 0
                    gone = num // 3
                    test = shift_of(np.delete(clips, gone, 0), words[:-1], seed=number)
                    hits += test.offset == 1
                    near += test.offset == 1 and abs(test.first - gone) <= 5
                row = {"shape": shape, "clips": num, "knows": knows, "sets": num_sets, "alarms": alarms, "hits": hits,
                       "near": near}  # fmt: skip
                rows.append(row)
                print(*(f"{key} {value}" for key, value in row.items()), sep="  ", flush=True)
    return rows


def false_alarms(num_clips: int, seed: int) -> dict[str, Any]:
    """Findings of sound clips by trainer, and what the test for shifted captions says of them."""
    counts: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        world, clips = Path(place) / "world", Path(place) / "clips"
        write_world(num_clips, seed, "unseen", (192, 320), 16, (33 / 16, 33 / 16), world)
        clips.mkdir()
        for row in read_manifest(world / "manifest.jsonl"):
            name = Path(row["path"]).name
            (world / row["path"]).rename(clips / name)
            texts = row["captions"]
            text = texts["detailed"][0] if isinstance(texts, dict) else texts[0]
            (clips / name).with_suffix(".txt").write_text(text + "\n")
        for name in trainers():
            rules = load_rules(name, None, SETTINGS[name])
            checked = check_set(clips, rules, CheckSetConfig(), ExecutorConfig(cache=Path(place)))
            codes = Counter(code for clip in checked.clips for code in clip.codes)
            flagged = sum(bool(clip.findings) for clip in checked.clips)
            shift = checked.shift
            counts[name] = {"clips": len(checked.clips), "flagged": flagged, "codes": dict(codes),
                            "offset": None if shift is None else shift.offset}  # fmt: skip
            interval = wilson(flagged, len(checked.clips))
            print(name, counts[name], f"[{interval[0]:.3f}, {interval[1]:.3f}]", flush=True)
    return counts


def main() -> None:
    """Measure by the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=120, help="sound clips")
    parser.add_argument("--sets", type=int, default=200, help="sets of embeddings a shape, size and knowledge")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    measured = {"clips": args.clips, "sets": args.sets, "seed": args.seed}
    measured["false_alarms"] = false_alarms(args.clips, args.seed)
    measured["shift"] = simulate(args.sets, args.seed)
    if args.output:
        args.output.write_text(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
