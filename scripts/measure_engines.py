#!/usr/bin/env python
"""Verdicts on engines with planted faults: the suite `engine` on clips of the bundled generator, SSIM and PSNR beside.

    python scripts/measure_engines.py draw -o build/engines --only fp32-b8,fp32-b1     # or all; hours of a core
    python scripts/measure_engines.py score -o build/engines                             # pairs, into scores of each
    python scripts/measure_engines.py table -o build/engines --simulated simulated.json  # docs/figures/engines.md

In: docs/figures/prompts.txt. Out: clips by `scripts/engine_faults.py` without a lossy codec, 16 steps unless they say
otherwise; scores of pairs of runs; Markdown. `draw` and `score` go on where they stopped, and each may run in several
processes on other parts (`--only`). Of 100 pairs of runs of one engine (A/A) the prompts are drawn with replacement and
the runs change their roles: one is the reference, two give the margins, the last one is the candidate.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from cineloop.intervals import wilson  # noqa: E402
from cineloop.manifest import read_manifest, write_manifest  # noqa: E402
from v2t_eval.core import bounds  # noqa: E402
from v2t_eval.core.scores import Scores, read_scores, render_scores  # noqa: E402
from v2t_eval.engine import margins as margins_of_runs  # noqa: E402
from v2t_eval.engine.equivalence import equivalence  # noqa: E402
from v2t_eval.engine.margins import calibrate  # noqa: E402
from v2t_eval.suites.suite import Suite, parse_metrics, read_suite  # noqa: E402

PROMPTS, STEPS, AA_PAIRS, SEED = 24, 16, 100, 11
DRAWS, NULLS = 1000, 80  # of bounds and margins for A/A pairs; the verdicts above take the usual 10,000 and 400
RUNS: dict[str, dict[str, Any]] = {
    "fp32-b8": {}, "fp32-b1": {"batch_size": 1}, "fp32-b3-shuffled": {"batch_size": 3}, "fp32-b5": {"batch_size": 5},
    "bf16-b8": {"dtype": "bfloat16"}, "bf16-b1": {"dtype": "bfloat16", "batch_size": 1},
    "bf16-b5": {"dtype": "bfloat16", "batch_size": 5}, "steps15": {"steps": 15},
    **{name: {"options": {"fault": name}} for name in ("late_sigma", "stale_cache", "other_prompt", "rare")},
    "compiled": {"options": {"fault": "compiled"}},
}  # fmt: skip
ENGINES = {  # the reference, its other runs; the last one of four is judged and gives no margins
    "float32": ("fp32-b8", "fp32-b1", "fp32-b3-shuffled", "fp32-b5"),
    "float32 or bfloat16": ("fp32-b8", "bf16-b8", "bf16-b1", "bf16-b5"),
}
FAULTS = ("steps15", "late_sigma", "stale_cache", "other_prompt", "rare", "swapped")
CANDIDATES = {
    "float32": ("fp32-b5", "compiled", "bf16-b8", *FAULTS), "float32 or bfloat16": ("bf16-b5", "fp32-b1", *FAULTS),
}  # fmt: skip
SAME = ("float32",)  # engines of which A/A pairs are made: any run may be the reference
OLD = ("ssim", "psnr")
FIXED = {"ssim": (0.9, 0.95, 0.99), "psnr": (30.0, 35.0, 40.0)}  # thresholds on the mean over clips


# --- drawing
def draw(out: Path, names: Sequence[str]) -> None:
    """Clips of the runs, and of those made of others: swapped channels."""
    import random

    import t2v.generate.making as making
    from cineloop.video.encode import encode
    from t2v.generate.run import run
    from t2v.generate.settings import GenerateConfig

    making.encode = lambda pixels, path, fps: encode(pixels, path, fps, crf=0)  # type: ignore[attr-defined]
    prompts = (ROOT / "docs/figures/prompts.txt").read_text().splitlines()[:PROMPTS]
    for name in names:
        settings = {"batch_size": 8, "steps": STEPS, "device": "cpu", **RUNS[name]}
        asked = list(prompts)
        if "shuffled" in name:
            random.Random(5).shuffle(asked)
        config = GenerateConfig(generator=str(ROOT / "scripts/engine_faults.py"), **settings)
        summary = run(asked, [], out / name, config)
        print(f"{name}: {summary.made} made, {summary.skipped} kept", flush=True)


def swap_channels(out: Path) -> None:
    """The reference's clips with red and blue swapped."""
    from cineloop.video.decode import Request, decode
    from cineloop.video.encode import encode
    from cineloop.video.sample import SampleSpec

    rows = list(read_manifest(out / "fp32-b8" / "manifest.jsonl"))
    (out / "swapped" / "clips").mkdir(parents=True, exist_ok=True)
    for row in rows:
        num = row["shape"]["num_frames"]
        frames = decode(out / "fp32-b8" / row["path"], Request(spec=SampleSpec(num_frames=num), threads=1))
        encode(frames.pixels[..., ::-1].copy(), out / "swapped" / row["path"], row["fps"], crf=0)
    write_manifest(rows, out / "swapped" / "manifest.jsonl")


# --- scoring
def pairs() -> list[tuple[str, str]]:
    """Every pair that the tables need, candidate and reference; "" for prompts and clips of others."""
    wanted = []
    for engine, runs in ENGINES.items():
        wanted += [(runs[0], runs[0]), ("", runs[0])]
        wanted += [(name, runs[0]) for name in (*runs[1:], *CANDIDATES[engine])]
        wanted += [(b, a) for a, b in itertools.combinations(runs, 2)] if engine in SAME else []
    return list(dict.fromkeys(wanted))


def place_of(out: Path, candidate: str, reference: str) -> Path:
    """The file of a pair's scores."""
    return out / "scores" / f"{candidate or 'unrelated'}--{reference}.json"


def score_pairs(out: Path, only: Sequence[str]) -> None:
    """Scores of each pair whose clips there are."""
    from v2t_eval.core.score import ScoreConfig
    from v2t_eval.engine.pairs import pair_clips, unrelated_pairs
    from v2t_eval.gate.sides import scores_of

    suite = read_suite(Path("engine"))
    metrics = [*suite.metrics, *parse_metrics(",".join(OLD))]
    config = ScoreConfig(cache=out / "cache", workers=1)
    (out / "scores").mkdir(exist_ok=True)
    for candidate, reference in pairs():
        place = place_of(out, candidate, reference)
        ready = all((out / name / "manifest.jsonl").exists() for name in (candidate, reference) if name)
        if place.exists() or not ready or (only and reference not in only):
            continue
        inputs = pair_clips(out / candidate, out / reference) if candidate else unrelated_pairs(out / reference)
        if len(inputs.samples) < PROMPTS:
            continue
        scores = scores_of(inputs, metrics, config)
        place.write_bytes(render_scores(scores))
        print(place.name, flush=True)


# --- verdicts
def scores_at(out: Path, candidate: str, reference: str) -> Scores:
    """The stored scores of a pair."""
    return read_scores(place_of(out, candidate, reference))


def of_suite(scores: Scores) -> Scores:
    """The scores without SSIM and PSNR, which stand beside."""
    return replace(scores, results=[one for one in scores.results if one.name not in OLD])


def part_of(scores: Scores, numbers: Sequence[int]) -> Scores:
    """The clips of these prompts, a prompt drawn twice under two names."""
    clips = [clip for clip in scores.clips]
    names = {clip.id: [] for clip in clips}
    for place, number in enumerate(numbers):
        names[clips[number].id].append(f"{place:03}")
    new_clips = [replace(clip, id=name, cluster=name, prompt=f"{clip.prompt} {name}") for clip in clips
                 for name in names[clip.id]]  # fmt: skip
    results = [
        replace(result, items=[{**item, "id": name} for item in result.items for name in names.get(item["id"], ())])
        for result in scores.results
    ]
    return replace(scores, clips=sorted(new_clips, key=lambda clip: clip.id), results=results)


def old_outcomes(scores: Scores) -> dict[str, float]:
    """The means by which fixed thresholds decide."""
    return {name: fmean(item["value"] for item in scores.by_name[name].items) for name in OLD}


def verdicts(out: Path, engine: str, suite: Suite) -> list[dict[str, Any]]:
    """One row for each candidate."""
    first, *others = ENGINES[engine]
    runs = [of_suite(scores_at(out, name, first)) for name in others[:-1]]
    margins = calibrate(of_suite(scores_at(out, first, first)), of_suite(scores_at(out, "", first)), runs, suite)
    rows = []
    for name in CANDIDATES[engine]:
        if not place_of(out, name, first).exists():
            continue
        scores = scores_at(out, name, first)
        verdict = equivalence(of_suite(scores), margins)
        failing = [one.metric for one in verdict.metrics if one.role == "primary" and one.outcome == "fail"]
        failing += [guard.name for guard in verdict.guards if guard.outcome == "fail"]
        changes = {one.metric: one.change for one in verdict.metrics if one.role == "primary"}
        rows.append({"engine": engine, "candidate": name, "outcome": verdict.outcome, "by": failing,
                     "changes": changes, "n": len(scores.clips), **old_outcomes(scores)})  # fmt: skip
    rules = {rule["metric"]: (rule["accepted"], rule["margin"]) for rule in margins.policy["primary"]}
    return [*rows, {"engine": engine, "rules": rules}]


def same_engine(out: Path, engine: str, suite: Suite, count: int) -> dict[str, int]:
    """Outcomes of `count` A/A pairs: runs in other roles, prompts with replacement."""
    bounds.NUM_DRAWS, margins_of_runs.RUNS = DRAWS, NULLS
    bounds._cached_weights.cache_clear()
    names, rng = ENGINES[engine], np.random.default_rng(SEED)
    tables = {(b, a): of_suite(scores_at(out, b, a)) for a, b in itertools.combinations(names, 2)}
    own, far = of_suite(scores_at(out, names[0], names[0])), of_suite(scores_at(out, "", names[0]))
    contents = {name: of_suite(scores_at(out, name, names[0])) for name in names}
    tally: dict[str, int] = {"pass": 0, "fail": 0, "inconclusive": 0}
    for _ in range(count):
        roles = [names[place] for place in rng.permutation(len(names))]
        numbers = rng.integers(0, PROMPTS, PROMPTS).tolist()

        def between(name: str, reference: str, numbers: Sequence[int] = numbers) -> Scores:
            """Distances of the pair, which are the same both ways round, and what the run's clips show."""
            if name == reference:
                return part_of(replace(own, results=contents[name].results), numbers)
            pair = tables.get((name, reference)) or tables[reference, name]
            shown = {one.name: one for one in contents[name].results}
            results = [shown[one.name] if "distance" not in one.name else one for one in pair.results]
            clips = [replace(clip, content=None) for clip in pair.clips]  # of which run they are is another one's now
            return part_of(replace(pair, results=results, clips=clips), numbers)

        reference, candidate, *others = roles
        margins = calibrate(between(reference, reference), part_of(far, numbers),
                            [between(name, reference) for name in others], suite)  # fmt: skip
        tally[equivalence(between(candidate, reference), margins).outcome] += 1
    return tally


def table(out: Path) -> dict[str, Any]:
    """Everything that docs/figures/engines.json holds."""
    suite = read_suite(Path("engine"))
    made: dict[str, Any] = {"rows": [], "same": {}}
    for engine, runs in ENGINES.items():
        if all(place_of(out, name, runs[0]).exists() for name in runs[:-1]):
            made["rows"] += verdicts(out, engine, suite)
    for engine in SAME:
        if all(place_of(out, b, a).exists() for a, b in itertools.combinations(ENGINES[engine], 2)):
            tally = same_engine(out, engine, suite, AA_PAIRS)
            low, high = wilson(tally["fail"], AA_PAIRS)
            made["same"][engine] = tally | {"low": 100 * low, "high": 100 * high}
    return made


def main() -> None:
    """See the head."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("draw", "swap", "score", "table"))
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of runs and scores")
    parser.add_argument("--only", default="", help="runs to draw, or references to score against; with commas")
    parser.add_argument("--json", type=Path, help="file of the table's figures")
    args = parser.parse_args()
    only = [name for name in args.only.split(",") if name]
    if args.step == "draw":
        draw(args.output, only or list(RUNS))
    elif args.step == "swap":
        swap_channels(args.output)
    elif args.step == "score":
        score_pairs(args.output, only)
    else:
        text = json.dumps(table(args.output), indent=1)
        print(text)
        if args.json:
            args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
