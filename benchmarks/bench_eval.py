"""How fast scoring is, each figure against a named baseline measured in the same run.

    python benchmarks/bench_eval.py [text] [frechet] [engine] [--full] [--rounds 5] [--captions 10000] [--references 5]

text: BLEU, ROUGE-L and CIDEr of captions with 5 references each, from raw captions to scores, ours (with intervals)
    against pycocoevalcap 1.2 (its Java tokenizer included). Needs Java and pycocoevalcap. Goal: 5 times.
frechet: Frechet distance of two sets of 2,048 vectors of 400 numbers, ours against the computation of most FVD codes
    (numpy.cov and scipy.linalg.sqrtm) and against torchmetrics' FrechetInceptionDistance in float64.
engine: clips of the cartoon world by 8 metrics in one pass against a pass for each metric, one process, nothing kept
    between passes, the models loaded beforehand in both cases. Goal: 3 times.

Beside each baseline stands how far its results differ from ours.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from harness import Options, Row, Run, Size, main, turns

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


def comparison_rows(part: str, runs: dict[str, Run], rounds: int, goal: str = "") -> Iterator[Row]:
    """Rows of ours and the baselines; ratios are times ours took."""
    ours, *peers = turns(part, runs, rounds, base="ours")
    yield ours
    for peer in peers:
        values = peer.results[-1]
        peer.figures["results differ by"] = max(abs(values[key] - ours.results[-1][key]) for key in values)
        peer.goal = goal
        yield peer


def text(options: Options, folder: Path) -> Iterator[Row]:
    """BLEU, ROUGE-L and CIDEr, by us and by pycocoevalcap."""
    from v2t_eval.core.metric import load_metric
    from v2t_eval.core.sample import Sample
    from v2t_eval.text import ptb

    draw = random.Random(0)
    captions = [caption(draw) for _ in range(options.captions)]
    references = [[caption(draw) for _ in range(options.references)] for _ in captions]

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

    part = f"BLEU, ROUGE-L and CIDEr of {len(captions):,} captions with {options.references} references"
    yield from comparison_rows(part, {"ours": ours, "pycocoevalcap": peer}, options.rounds, ">= 5")


def frechet(options: Options, folder: Path) -> Iterator[Row]:
    """Frechet distance, by us, by scipy and by torchmetrics."""
    from v2t_eval.distribution import frechet as room

    draw = np.random.default_rng(0)
    mix = draw.normal(size=(400, 400)) / 20
    first = (draw.normal(size=(2048, 400)) @ mix).astype(np.float32)
    second = (draw.normal(size=(2048, 400)) @ mix * 1.1 + 0.05).astype(np.float32)

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

    runs: dict[str, Run] = {
        "ours": lambda: {"frechet": room.frechet(first, second)},
        "numpy.cov and scipy.linalg.sqrtm": by_scipy,
        "torchmetrics FrechetInceptionDistance": by_torchmetrics,
    }
    yield from comparison_rows("Frechet distance of 2 x 2048 vectors of 400", runs, options.rounds)


def engine(options: Options, folder: Path) -> Iterator[Row]:
    """Eight metrics of the same clips, in one pass and one after the other."""
    from cineloop.manifest import read_manifest
    from cineloop.world.scenes.corpus import write_world
    from v2t_eval.core.inputs import read_inputs
    from v2t_eval.core.score import ScoreConfig, score
    from v2t_eval.suites.suite import parse_metrics

    write_world(options.clips, 2026, "seen", (128, 128), out=folder)
    prompts = folder / "prompts.jsonl"
    lines = [
        {"id": row["id"], "prompt": row["captions"]["short"][0]} for row in read_manifest(folder / "manifest.jsonl")
    ]
    prompts.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    def score_all(names: str) -> dict[str, float]:
        scores = score(read_inputs(folder, prompts=prompts), parse_metrics(names), ScoreConfig(workers=1))
        return {result.name: result.value for result in scores.results}

    def apart() -> dict[str, float]:
        return {key: value for name in EIGHT.split(",") for key, value in score_all(name).items()}

    part = f"{options.clips} clips of 128 x 128 by {EIGHT}"
    yield from comparison_rows(
        part, {"ours": lambda: score_all(EIGHT), "each metric alone": apart}, options.rounds, ">= 3"
    )


def caption(draw: random.Random) -> str:
    """A sentence with the marks, the length and the spread of words of captions: a few words often, most seldom."""
    form = draw.choice(FORMS)
    return form.format(*(word(int(draw.paretovariate(0.7))) for _ in range(form.count("{}"))))


def word(rank: int) -> str:
    """The word of a rank, the same every time."""
    rank %= 20 * 400
    return SYLLABLES[rank % 20] + SYLLABLES[rank // 20 % 20] + SYLLABLES[rank // 400] * (rank >= 400)


if __name__ == "__main__":
    sizes = Size("captions", 2_000, 10_000), Size("references", 5, 5), Size("clips", 12, 200)
    sys.exit(main(__doc__, {"text": text, "frechet": frechet, "engine": engine}, *sizes, rounds=(1, 5)))
