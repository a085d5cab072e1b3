"""How fast scoring is, each figure against a named baseline measured in the same run, round after round.

    python scripts/bench_eval.py [text] [frechet] [engine] [--rounds 5] [--captions 10000] [--references 5] [--json]

text: BLEU, ROUGE-L and CIDEr of 10,000 captions with 5 references each, from raw captions to scores, ours (with
    intervals) against pycocoevalcap 1.2 (its Java tokenizer included). Needs Java and pycocoevalcap. Goal: 5 times.
frechet: Frechet distance of two sets of 2,048 vectors of 400 numbers, ours against the computation of most FVD codes
    (numpy.cov and scipy.linalg.sqrtm) and against torchmetrics' FrechetInceptionDistance in float64.
engine: 200 clips of the cartoon world by 8 metrics in one pass against a pass for each metric, one process, nothing
    kept between passes, the models loaded beforehand in both cases. Goal: 3 times.

Ours and the baselines take turns, so that a busy moment of the machine falls on both alike. A ratio is the median over
rounds of a baseline's time over ours in the same round, once of the clock and once of the processor (of this process
and those it started: what counts on a busy machine); the differences of the results are printed beside it.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import platform
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cineloop.manifest import read_manifest  # noqa: E402
from cineloop.world.scenes.corpus import write_world  # noqa: E402
from v2t_eval.distribution.frechet import frechet  # noqa: E402
from v2t_eval.inputs import read_inputs  # noqa: E402
from v2t_eval.metric import load_metric  # noqa: E402
from v2t_eval.sample import Sample  # noqa: E402
from v2t_eval.score import ScoreConfig, score  # noqa: E402
from v2t_eval.suite import parse_metrics  # noqa: E402
from v2t_eval.text import ptb  # noqa: E402

Run = Callable[[], dict[str, float]]
EIGHT = (
    "clipsim,retrieval,overall_consistency,temporal_style,background_consistency[model=starter],"
    "subject_consistency[model=starter],temporal_flickering,sharpness"
)
SYLLABLES = "ba co di fur gan hel jo ker lin mo nus pet qui ra sol tam ur ver wo zel".split()
FORMS = [
    "A {} {} {} on the {}.",
    "Two {}s are {}ing a {} {} near the {}, and one can't {}.",
    "The {}'s {} is {}ed by a {} man in the {}!",
    "someone {}s 12 {} {}s while it {}s",
    "A {} woman ({} {}) {}s well-known {}s at 5 p.m. in the {}",
    "There is a {} {} and a {} {} in this {}; it isn't {}.",
]


def main() -> None:
    """Run the parts that are named, all by default."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="what to measure (default: all)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--captions", type=int, default=10_000)
    parser.add_argument("--references", type=int, default=5)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="figures as JSON on stdout")
    options = parser.parse_args()
    found = {}
    for name in options.parts or PARTS:
        title, runs = PARTS[name](options)
        found[name] = measure(runs, options.rounds) | {"what": title}
        report(name, found[name])
    if options.json:
        print(json.dumps(found))


def text_part(options: argparse.Namespace) -> tuple[str, dict[str, Run]]:
    """BLEU, ROUGE-L and CIDEr, by us and by pycocoevalcap."""
    draw = random.Random(0)
    captions = [caption(draw) for _ in range(options.captions)]
    references = [[caption(draw) for _ in range(options.references)] for _ in captions]
    title = f"BLEU, ROUGE-L and CIDEr of {len(captions)} captions with {options.references} references"

    def ours() -> dict[str, float]:
        for remembered in (ptb._plain, ptb._alone):
            remembered.cache_clear()  # every round starts cold
        samples = [
            Sample(id=f"{number:06}", caption=text, references=tuple(own))
            for number, (text, own) in enumerate(zip(captions, references, strict=True))
        ]
        values: dict[str, float] = {}
        for name in ("bleu", "rouge_l", "cider"):
            metric = load_metric(name)()
            metric.prepare()
            metric.update(samples)
            values |= {key: figure.value for key, figure in metric.compute().figures.items()}
        return values

    def peer() -> dict[str, float]:
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.rouge.rouge import Rouge
        from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

        tokenizer = PTBTokenizer()
        given = tokenizer.tokenize({n: [{"caption": text} for text in own] for n, own in enumerate(references)})
        made = tokenizer.tokenize({n: [{"caption": text}] for n, text in enumerate(captions)})
        values = {f"bleu_{n + 1}": v for n, v in enumerate(Bleu(4).compute_score(given, made, verbose=0)[0])}
        return values | {
            "rouge_l": Rouge().compute_score(given, made)[0],
            "cider": Cider().compute_score(given, made)[0],
        }

    return title, {"ours": ours, "pycocoevalcap": peer}


def frechet_part(options: argparse.Namespace) -> tuple[str, dict[str, Run]]:
    """Frechet distance, by us, by scipy and by torchmetrics."""
    draw = np.random.default_rng(0)
    mix = draw.normal(size=(400, 400)) / 20
    first = (draw.normal(size=(2048, 400)) @ mix).astype(np.float32)
    second = (draw.normal(size=(2048, 400)) @ mix * 1.1 + 0.05).astype(np.float32)

    def ours() -> dict[str, float]:
        return {"frechet": frechet(first, second)}

    def by_scipy() -> dict[str, float]:
        from scipy.linalg import sqrtm

        one, two = first.astype(np.float64), second.astype(np.float64)
        gap = one.mean(axis=0) - two.mean(axis=0)
        one_cov, two_cov = np.cov(one, rowvar=False), np.cov(two, rowvar=False)
        return {"frechet": float(gap @ gap + np.trace(one_cov + two_cov - 2 * sqrtm(one_cov @ two_cov).real))}

    def by_torchmetrics() -> dict[str, float]:
        import torch
        from torchmetrics.image.fid import FrechetInceptionDistance

        features = torch.nn.Identity()
        features.num_features = 400  # type: ignore[assignment]
        metric = FrechetInceptionDistance(feature=features).set_dtype(torch.float64)
        metric.update(torch.from_numpy(first), real=True)
        metric.update(torch.from_numpy(second), real=False)
        return {"frechet": float(metric.compute())}

    return "Frechet distance of 2 x 2048 vectors of 400", {
        "ours": ours,
        "numpy.cov and scipy.linalg.sqrtm": by_scipy,
        "torchmetrics FrechetInceptionDistance": by_torchmetrics,
    }


def engine_part(options: argparse.Namespace) -> tuple[str, dict[str, Run]]:
    """Eight metrics of the same clips, in one pass and one after the other."""
    folder = Path(tempfile.mkdtemp(prefix="bench-clips-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    write_world(options.clips, 2026, "seen", (128, 128), out=folder)
    prompts = folder / "prompts.jsonl"
    lines = [
        {"id": row["id"], "prompt": row["captions"]["short"][0]} for row in read_manifest(folder / "manifest.jsonl")
    ]
    prompts.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    def scored(names: str) -> dict[str, float]:
        scores = score(read_inputs(folder, prompts=prompts), parse_metrics(names), ScoreConfig(workers=1))
        return {result.name: result.value for result in scores.results}

    def apart() -> dict[str, float]:
        return {key: value for name in EIGHT.split(",") for key, value in scored(name).items()}

    return f"{options.clips} clips of 128 x 128 by {EIGHT}", {"ours": lambda: scored(EIGHT), "each metric alone": apart}


def caption(draw: random.Random) -> str:
    """A sentence with the marks, the length and the spread of words of captions: a few words often, most seldom."""
    form = draw.choice(FORMS)
    return form.format(*(word(int(draw.paretovariate(0.7))) for _ in range(form.count("{}"))))


def word(rank: int) -> str:
    """The word of a rank, the same every time."""
    rank %= 20 * 400
    return SYLLABLES[rank % 20] + SYLLABLES[rank // 20 % 20] + SYLLABLES[rank // 400] * (rank >= 400)


def measure(runs: dict[str, Run], rounds: int) -> dict[str, Any]:
    """Seconds of each run in each round, by the clock and of the processor, and the ratios to ours."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    values = {name: run() for name, run in runs.items()}  # imports and first touches are not measured
    for number in range(rounds):
        order = list(runs.items())
        for name, run in order if number % 2 else reversed(order):
            wall, processor = time.perf_counter(), _processor_s()
            run()
            seconds[name].append((time.perf_counter() - wall, _processor_s() - processor))
    peers = {}
    for name, own in seconds.items():
        if name != "ours":
            ratios = np.array(own) / np.array(seconds["ours"])  # (rounds, 2)
            peers[name] = {
                "times_ours": dict(zip(("clock", "processor"), np.median(ratios, axis=0).tolist(), strict=True)),
                "least": dict(zip(("clock", "processor"), ratios.min(axis=0).tolist(), strict=True)),
                "difference": max(abs(values[name][key] - values["ours"][key]) for key in values[name]),
            }
    median = {
        name: dict(zip(("clock", "processor"), np.median(np.array(own), axis=0).tolist(), strict=True))
        for name, own in seconds.items()
    }
    machine = f"{platform.machine()}, Python {platform.python_version()}"
    return {"rounds": rounds, "median_s": median, "peers": peers, "values": values["ours"], "machine": machine}


def _processor_s() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def report(name: str, found: dict[str, Any]) -> None:
    """The figures of a part, for people."""
    print(f"{name}: {found['what']}, medians of {found['rounds']} rounds", file=sys.stderr)
    for who, median in found["median_s"].items():
        line = f"  {who}: {median['clock']:.3f} s, {median['processor']:.3f} s of the processor"
        if who in found["peers"]:
            peer = found["peers"][who]
            times, least = peer["times_ours"], peer["least"]
            line += (
                f": {times['clock']:.2f} times ours by the clock (at least {least['clock']:.2f}), "
                f"{times['processor']:.2f} of the processor (at least {least['processor']:.2f}); "
                f"results differ by {peer['difference']:.1e}"
            )
        print(line, file=sys.stderr)


PARTS: dict[str, Callable[[argparse.Namespace], tuple[str, dict[str, Run]]]] = {
    "text": text_part,
    "frechet": frechet_part,
    "engine": engine_part,
}

if __name__ == "__main__":
    main()
