#!/usr/bin/env python
"""How far the bundled judge can be trusted on each kind of composition: on exact clips, half of them with a fault.

    python scripts/measure_compositional.py -o compositional.json [--num 100] [--judge v2t:MODEL]

Draws scenes of the cartoon world's held-out combinations by a seed of their own, of each of T2V-CompBench's kinds so
many, and each of them once more with the fault of its kind (`v2t_eval.audit.compositions`); both under the prompt of
the scene as it was. The metric `compositional` says "as asked" where all questions of the kind count as right.
docs/ranking.md shows `table`. A kind that is in the file is not measured again.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
from measure_gate import Cells

from cineloop.errors import ItemError
from cineloop.video.frames import Frames
from cineloop.world.language.words import caption
from cineloop.world.scenes.render import render
from cineloop.world.scenes.sampler import sample_scene
from cineloop.world.scenes.scene import Scene
from cineloop.world.scenes.solo import FPS
from v2t_eval.audit.clips import SIZE
from v2t_eval.audit.compositions import scenes_of
from v2t_eval.audit.sensitivity import auroc
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.core.statistics import weighted_shares
from v2t_eval.judge.grammar.wording import of_text
from v2t_eval.metrics.compositional import Metric
from v2t_eval.semantics.composition import KINDS, kinds_of

SEED = 90210  # of no training, calibration or audit


def pairs(kind: str, seed: int, num: int) -> Iterator[tuple[str, Scene, Scene]]:
    """Prompt, scene, and scene with the kind's fault."""
    draws = (sample_scene("unseen", seed, index, max_events=2) for index in count())
    scenes = scenes_of(kind, draws)
    listed = ((caption(s.facts(), "short", random.Random(f"{seed}|{s.seed}")), s, broken) for s, broken in scenes)
    yield from islice((each for each in listed if kind in kinds_of(of_text(each[0]))), num)


def clip(scene: Scene) -> SampleClip:
    """The scene's frames."""
    times = np.arange(max(2, round(scene.duration_s * FPS))) / FPS
    return SampleClip.from_frames(Frames.from_pixels(render(scene, SIZE, times_s=times), FPS, decoder="world"))


def accuracy(metric: Metric, kind: str, seed: int, num: int) -> dict[str, Any]:
    """Of the clips of one kind the share judged rightly, of the clean and of the broken ones, with intervals over
    scenes; and how well the chance of "all as asked" tells them apart."""
    rights: list[tuple[float, float]] = []
    chances: list[tuple[float, float]] = []
    lost: dict[str, int] = {}
    for number, (prompt, *scenes) in enumerate(pairs(kind, seed, num)):
        both = []
        try:
            for scene in scenes:
                sample = Sample(id=f"{kind}-{number}", clip=clip(scene), prompt=prompt, row={"kind": kind})
                metric.check(sample)
                both.append(metric.measure(sample)["kinds"][kind])
        except ItemError as error:
            lost[error.code] = lost.get(error.code, 0) + 1
            continue
        rights.append((float(both[0]["score"] == 1.0), float(both[1]["score"] < 1.0)))
        chances.append((both[0]["chance"], both[1]["chance"]))
    if not rights:
        return {"clips": 0, "lost": lost}
    right, of = np.array(rights), np.ones((len(rights), 2))
    scenes_at = list(range(len(rights)))
    figures: dict[str, Any] = {"clips": 2 * len(rights), "lost": lost}
    for name, columns, weights in (
        ("accuracy", (0, 1), (0.5, 0.5)), ("clean", (0,), (1.0,)), ("broken", (1,), (1.0,)),
    ):  # fmt: skip
        value, ends = weighted_shares(right[:, columns], of[:, columns], weights, scenes_at)
        figures[name] = [value, ends.low, ends.high]
    area, ends = auroc([one for one, _ in chances], [other for _, other in chances], scenes_at)
    return figures | {"auroc": [area, ends.low, ends.high]}


def table(figures: dict[str, Any]) -> str:
    """Of what `main` writes: Markdown."""

    def text(ends: list[float]) -> str:
        return f"{ends[0]:.2f} [{ends[1]:.2f}, {ends[2]:.2f}]"

    lines = [
        "| kind | clips | judged rightly | clean ones accepted | broken ones refused | AUROC | the judge is |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind in KINDS:
        one = figures[kind]
        if not one["clips"]:
            lines.append(f"| {kind.replace('_', ' ')} | 0 | – | – | – | – | not asked: {', '.join(one['lost'])} |")
            continue
        word = "at chance" if one["accuracy"][1] <= 0.5 else "above chance"
        cells = [text(one[name]) for name in ("accuracy", "clean", "broken", "auroc")]
        lines.append(f"| {kind.replace('_', ' ')} | {one['clips']} | {' | '.join(cells)} | {word} |")
    return "\n".join(lines)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--num", type=int, default=100, help="scenes of a kind, each with and without the fault")
    parser.add_argument("--judge", default="v2t")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    metric = Metric(judge=args.judge)
    metric.prepare()
    cells = Cells(args.output)
    for kind in KINDS:
        cells.run(kind, lambda _, kind=kind: accuracy(metric, kind, args.seed, args.num))  # type: ignore[misc]
    print(table(cells.results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
