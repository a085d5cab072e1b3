#!/usr/bin/env python
"""What each metric sees of each planted fault, on clips of the cartoon world.

    python scripts/measure_metrics.py --metrics temporal_flickering,clipsim,sharpness --num 50 -o runs/sensitivity

For every clip of held-out combinations its scores are taken clean and with every fault of `eval.faults` at each
severity; besides, with the prompt of another clip, with the first figure in another colour and without the last figure
(both drawn anew). A cell of the table says how the score moves at the greatest severity (see
`eval.sensitivity.Cell.mark`), the median Kendall tau of severity and score, and the AUROC of clean against spoiled with
its interval. Writes table.md and table.json; a fault that table.json has is not measured again. `--mp4` sends every
clip through the codec first.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from eval.faults import FAULTS, plant, swapped_color, without_last_figure
from eval.metric import BaseMetric
from eval.sample import Clip, Sample
from eval.sensitivity import Cell, cell
from eval.suite import parse_metrics
from v2t.base.errors import CineloopError, MissingDependencyError, NothingMatchedError
from v2t.base.files import write_atomic
from v2t.video.encode import encode
from v2t.video.frames import Frames
from v2t.video.worker import DecoderPool, SampleSpec
from v2t.world.render import render
from v2t.world.sampler import sample_scene
from v2t.world.scene import Scene
from v2t.world.words import caption

FPS = 8.0
ALONE = ("prompt", "colour drawn anew", "a figure less")  # faults that are not of the pixels
HEAD = """# What each metric sees of each fault

`python scripts/measure_metrics.py --metrics … --num {num} --seed {seed} --size {size}`: {count} clips of the cartoon
world (held-out combinations, {size} pixels a side, {fps:g} frames a second{through}), each clean and with every
fault of `eval/faults.py`. In a cell: how the score moves at the greatest severity, the AUROC of clean above spoiled
there (1 sees it, 0.5 tells nothing, 0 takes spoiled for better), and the median Kendall tau of severity and score.
`=` is equal to the bit for every clip and severity, `~` no more than chance, `!` marks a metric that is fooled: the
worse clip scores better. The models behind these numbers are the starter's, for its own world."""
Values = dict[str, dict[str, float | None]]  # by metric and clip


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--metrics", required=True, help="metrics of clips, as `v2t-eval score` takes them")
    parser.add_argument("--num", type=int, default=50)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--size", type=int, default=96, help="pixels a side")
    parser.add_argument("--mp4", action="store_true", help="through an mp4 file before scoring")
    parser.add_argument("--faults", default=",".join((*FAULTS, *ALONE)))
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    metrics = usable(parse_metrics(args.metrics))
    scenes = chosen(args.num, args.seed)
    clean: Values | None = None
    args.output.mkdir(parents=True, exist_ok=True)
    cells = known(args.output / "table.json", metrics, args.num)
    done = set(next(iter(cells.values())))
    for fault in ("clean", *(name for name in args.faults.split(",") if name not in done)):
        begun = time.perf_counter()
        severities = FAULTS[fault].severities if fault in FAULTS else (5,)
        found = [score(metrics, samples(scenes, fault, severity, args)) for severity in severities]
        if clean is None:
            clean = found[0]
        else:
            for metric in metrics:
                name = metric.title
                cells[name][fault] = one_cell(clean[name], [values[name] for values in found])
            flat = {n: {f: c and asdict(c) for f, c in row.items()} for n, row in cells.items()}
            write_atomic(args.output / "table.json", (json.dumps(flat, indent=1) + "\n").encode())
        print(f"{fault}: {time.perf_counter() - begun:.1f} s", file=sys.stderr)
    table = markdown(metrics, cells, args)
    write_atomic(args.output / "table.md", table.encode())
    print(table)
    return 0


def known(path: Path, metrics: list[BaseMetric], num: int) -> dict[str, dict[str, Cell | None]]:
    """Cells of an earlier run with the same metrics and as many clips; else none."""
    cells: dict[str, dict[str, Cell | None]] = {metric.title: {} for metric in metrics}
    if path.exists():
        tree = json.loads(path.read_text())
        sizes = {cell["n"] for row in tree.values() for cell in row.values() if cell is not None}
        if set(tree) == set(cells) and sizes <= {num}:
            return {name: {f: c and Cell(**c) for f, c in tree[name].items()} for name in cells}
    return cells


def usable(metrics: list[BaseMetric]) -> list[BaseMetric]:
    """The metrics that can run here; why another cannot goes to stderr."""
    ready = []
    for metric in metrics:
        try:
            metric.prepare()
        except MissingDependencyError as error:
            print(f"left out: {metric.title}: {error}", file=sys.stderr)
        else:
            ready.append(metric)
    if not ready:
        raise NothingMatchedError("no metric can run here")
    return ready


def chosen(num: int, seed: int) -> list[Scene]:
    """Scenes of one shot with two figures or more, so that every fault can be planted."""
    scenes: list[Scene] = []
    index = 0
    while len(scenes) < num:
        scene = sample_scene("unseen", seed, index)
        index += 1
        figures = sum(actor.count for actor in scene.actors)
        if len(scene.shots) == 1 and figures > 1 and scene.duration_s < 5:
            scenes.append(scene)
    return scenes


def samples(scenes: list[Scene], fault: str, severity: int, args: argparse.Namespace) -> Iterator[Sample]:
    """The clips with one fault, each made when it is asked for."""
    prompts = [caption(scene.facts(), "short", random.Random(f"prompt|{n}")) for n, scene in enumerate(scenes)]
    with DecoderPool() as pool, tempfile.TemporaryDirectory() as folder:
        for number, scene in enumerate(scenes):
            shown = scene
            if fault == "colour drawn anew":
                shown = swapped_color(scene)
            elif fault == "a figure less":
                shown = without_last_figure(scene)
            frames = Frames.from_pixels(render(shown, (args.size, args.size), fps=FPS), FPS)
            if fault in FAULTS:
                frames = plant(frames, fault, severity, seed=number)
            if args.mp4:
                path = Path(folder) / f"{number}.mp4"
                encode(frames.pixels, path, frames.fps)
                frames = pool.decode(path, SampleSpec(num_frames=len(frames), max_frames=len(frames)))
            prompt = prompts[(number + 1) % len(prompts)] if fault == "prompt" else prompts[number]
            truth = prompts[number]
            yield Sample(
                id=f"{number:04d}", clip=Clip.from_frames(frames), prompt=prompt, caption=prompt, references=(truth,),
                row={"facts": scene.facts()}, cluster=f"{number:04d}",
            )  # fmt: skip


def score(metrics: list[BaseMetric], clips: Iterator[Sample]) -> Values:
    """Each metric's own value of every clip; None where it has none."""
    for metric in metrics:
        metric.reset()
    for sample in clips:
        for metric in metrics:
            metric.update(sample)
    found: Values = {}
    for metric in metrics:
        items = metric.compute().items
        found[metric.title] = {item["id"]: item.get("value") for item in items}
    return found


def one_cell(clean: dict[str, float | None], spoiled: list[dict[str, float | None]]) -> Cell | None:
    """The cell over the clips that have a value at every severity; None where fewer than two have."""
    whole = [id for id in clean if clean[id] is not None and all(s.get(id) is not None for s in spoiled)]
    if len(whole) < 2:
        return None
    first = [float(clean[id] or 0.0) for id in whole]
    return cell(first, [[float(s[id] or 0.0) for id in whole] for s in spoiled])


def markdown(metrics: list[BaseMetric], cells: dict[str, dict[str, Cell | None]], args: argparse.Namespace) -> str:
    """The table, and for each metric what it cannot see."""
    faults = [fault for fault in args.faults.split(",") if fault in next(iter(cells.values()))]
    lines = ["| metric | " + " | ".join(faults) + " |", "|---" * (len(faults) + 1) + "|"]
    blind = []
    for metric in metrics:
        row = cells[metric.title]
        told = []
        for fault in faults:
            one = row[fault]
            if one is None:
                told.append("n/a")
            elif one.equal:
                told.append("=")
            else:
                tau = f", {one.tau:+.2f}" if fault in FAULTS and len(FAULTS[fault].severities) > 1 else ""
                told.append(f"{one.mark(metric.higher_is_better)} {one.auroc:.2f}{tau}")
        lines.append(f"| {metric.title} | " + " | ".join(told) + " |")
        unseen = [f for f in faults if row[f] is not None and (row[f].equal or row[f].mark(True) == "~")]  # type: ignore[union-attr]
        fooled = [f for f in faults if row[f] is not None and row[f].mark(metric.higher_is_better).endswith("!")]  # type: ignore[union-attr]
        blind.append(
            f"- `{metric.title}` cannot see: {', '.join(unseen) or 'nothing of these'}"
            + (f"; is fooled by: {', '.join(fooled)}" if fooled else "")
        )
    count = next(c.n for row in cells.values() for c in row.values() if c is not None)
    through = ", through mp4" if args.mp4 else ""
    head = HEAD.format(**vars(args), count=count, fps=FPS, through=through)
    return "\n".join([head, "", *lines, "", *blind, ""])


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    try:
        sys.exit(main())
    except CineloopError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
