#!/usr/bin/env python
"""The published numbers that the scores must reproduce, ours beside the reference's.

    python scripts/parity.py                  prints the table
    python scripts/parity.py > docs/parity.md

tests/scripts/test_parity.py checks the same rows.

Cases A1 to A15: examples of CLIPScore's repository, aac-metrics, torchmetrics and sacrebleu's documentation, a set of
our own run through pycocoevalcap, closed forms, and VBench's leaderboard. The difference must be at most 1e-6, which is
also the last digit of most of the references. METEOR wants Java. What needs weights or annotations that are not
available is named and left open. Ends with 1 when a case is off.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from cineloop.errors import MissingDependencyError
from cineloop.intervals import wilson
from v2t_eval.audit.sensitivity import kendall_tau
from v2t_eval.core.metric import BaseMetric, MetricResult, load_metric
from v2t_eval.core.sample import Sample
from v2t_eval.distribution.frechet import frechet
from v2t_eval.distribution.kernels import Kernel, mmd
from v2t_eval.judge.question import Question, dsg, parents_first
from v2t_eval.metrics import dynamic_degree as dynamic
from v2t_eval.metrics.refclipscore import Settings, harmonic
from v2t_eval.metrics.spans import tiou
from v2t_eval.metrics.squad import f1, normalise
from v2t_eval.metrics.subject_consistency import consistency
from v2t_eval.semantics.formulas import Region, spatial_score
from v2t_eval.vbench.picks import middle_indices
from v2t_eval.vbench.total import total

Row = tuple[str, str, float | str, float | str, float]  # case, quantity, reference, ours, tolerance
Texts = Sequence[tuple[str, ...]]  # a caption and its references
EXACT = 1e-6

A1 = (
    ("an orange cat and a grey cat are lying together.", "two cats are sleeping next to each other.",
     "a grey cat is cuddling with an orange cat on a blanket.",
     "the orange cat is happy that the black cat is close to it."),
    ("a black dog wearing headphones looks at the camera as an orange cat walks in the background.",
     "a dog is wearing ear muffs as it lies on a carpet.",
     "a black dog and an orange cat are looking at the photographer.", "headphones are placed on a dogs ears."),
)  # fmt: skip
A1_BAD = (
    ("a calico cat and a white cat are lying together.", *A1[0][1:]),
    ("a black dog wearing a hat looks at the camera as a tabby walks in the background.", *A1[1][1:]),
)
A2 = (
    ("a man is speaking", "a man speaks.", "someone speaks.",
     "a man is speaking while a bird is chirping in the background"),
    ("rain falls", "rain is falling hard on a surface"),
)  # fmt: skip
A3 = (("the cat is on the mat", "there is a cat on the mat", "a cat is on the mat"),)
A6 = (
    ("a dog is running on the grass", "A dog runs across a green field.", "The brown dog is running on the grass.",
     "A dog running through a field"),
    ("a woman is cutting a tomato", "A woman is slicing a red tomato.", "Someone cuts a tomato on a wooden board.",
     "A lady slices tomatoes in a kitchen"),
    ("two boys play football in the street", "Two boys are playing football in the street.",
     "Kids kick a ball on the road.", "Two children play soccer outside"),
    ("a blue car is driving on a road", "A red car drives along a coastal road.", "The car is driving near the sea.",
     "A sports car moves down the highway by the ocean"),
)  # fmt: skip
# Case -> captions with references, figures of the set, scores clip by clip.
CAPTIONED: dict[str, tuple[Texts, dict[str, float], dict[str, tuple[float, ...]]]] = {
    "A1 good": (
        A1,
        {"bleu_1": .66666667, "bleu_2": .48989795, "bleu_3": .34688150, "bleu_4": 3.75475e-5, "meteor": .34440573,
         "rouge_l": .42801048, "cider": .56374126},
        {"rouge_l": (.35777126, .49824971), "cider": (.50707322, .62040930), "meteor": (.33282994, .35555762)},
    ),
    "A1 bad": (
        A1_BAD,
        {"bleu_1": .48148148, "bleu_2": .24037009, "bleu_3": .13593908, "bleu_4": 1.85975e-5, "meteor": .18607107,
         "rouge_l": .31211055, "cider": .27901653}, {},
    ),
    "A2": (
        A2,
        {"cider": .961355, "bleu_1": .427848, "bleu_2": .405892, "bleu_3": .438965, "bleu_4": .456500,
         "rouge_l": .487069, "meteor": .263381}, {"cider": (1.364055, .558655)},
    ),
    "A3": (A3, {"bleu_1": .833333, "bleu_4": .759836, "cider": 0.0, "meteor": .508619}, {}),
    "A6": (
        A6,
        {"bleu_1": .861532, "bleu_2": .720809, "bleu_3": .585325, "bleu_4": .468981, "rouge_l": .709925,
         "cider": 2.006981, "meteor": .408220},
        {"rouge_l": (.790497, .758706, .790497, .5), "cider": (3.459597, 1.369469, 1.917440, 1.281417),
         "meteor": (.448131, .406134, .902944, .275787)},
    ),
    "A6, first two": (A6[:2], {"cider": 2.346648, "meteor": .423909}, {}),
    "A6, references copied": (
        [(row[1], *row[1:]) for row in A6],
        {"cider": 3.674244, "bleu_1": 1.0, "bleu_4": 1.0, "rouge_l": 1.0, "meteor": 1.0}, {},
    ),
}  # fmt: skip


def main() -> int:
    """Print the table; 1 when a case is off."""
    argparse.ArgumentParser(description="Print the table of docs/parity.md; exit 1 when a case is off.").parse_args()
    rows = [*texts(), *arithmetic(), *vbench(), *statistics()]
    print("# Parity: the numbers of the references, and ours\n")
    print("Made by `python scripts/parity.py`.\n")
    print("| case | quantity | reference | ours | difference |\n|---|---|---|---|---|")
    off = []
    for row in rows:
        case, quantity, reference, ours, _ = row
        difference, is_off = compare_row(row)
        off += [f"{case} {quantity}"] * is_off
        cells = (case, quantity, number_text(reference), number_text(ours), difference + " **off**" * is_off)
        print(f"| {' | '.join(cells)} |")
    print(
        "\nLeft open: the CLIP columns of A1 (OpenAI's ViT-B/32 and two photographs), A5 (annotations of COCO 2014), A7"
        " (I3D; `CINELOOP_I3D=FILE scripts/test tests/eval/metrics/test_distribution.py` runs it), SPICE (CoreNLP's"
        " models, 385 MB). A4 is sacrebleu's BLEU (13a tokens, exponential smoothing, 0 to 100), another definition,"
        " which is not offered here."
    )
    if off:
        print(f"off: {', '.join(off)}", file=sys.stderr)
    return 1 if off else 0


def compare_row(row: Row) -> tuple[str, bool]:
    """The difference in words, and whether it is greater than it may be."""
    _, _, reference, ours, tolerance = row
    if isinstance(reference, float) and isinstance(ours, float):
        difference = abs(ours - reference)
        return f"{difference:.0e}" if difference else "0", not difference <= tolerance
    if isinstance(reference, float):
        return "not run", False
    return "–", reference != ours


def number_text(value: float | str) -> str:
    """A number with the digits that matter."""
    return f"{value:.9g}" if isinstance(value, float) else value


def result(name: str, given: Texts, **settings: object) -> MetricResult | str:
    """A text metric over captions and references, or why it cannot run."""
    metric: BaseMetric = load_metric(name)(**settings)
    try:
        metric.prepare()
    except MissingDependencyError as error:
        return error.message
    metric.update(
        Sample(id=f"{n:03d}", caption=caption, references=tuple(refs)) for n, (caption, *refs) in enumerate(given)
    )
    return metric.compute()


def of(result: MetricResult | str, figure: str = "") -> float | str:
    """A figure of a result (the headline), or why there is none."""
    return result if isinstance(result, str) else result.figures[figure or result.headline].value


def each(result: MetricResult | str, number: int) -> float | str:
    """The score of one clip."""
    return result if isinstance(result, str) else float(result.items[number]["value"])


def columns(case: str, given: Texts, want: dict[str, float], clips: dict[str, Iterable[float]]) -> Iterator[Row]:
    """Rows of one set of captions: figures (BLEU-4, or the headline of a metric), then scores clip by clip."""
    made = {name: result(name, given) for name in ("bleu", "rouge_l", "cider", "meteor")}
    for quantity, reference in want.items():
        name = "bleu" if quantity.startswith("bleu") else quantity
        yield case, quantity, reference, of(made[name], quantity if name == "bleu" else ""), 5e-9 + EXACT
    for name, references in clips.items():
        for number, reference in enumerate(references):
            yield case, f"{name}, clip {number + 1}", reference, each(made[name], number), EXACT


def texts() -> Iterator[Row]:
    """A1, A2, A3, A6 and A14's words."""
    for case, (given, want, clips) in CAPTIONED.items():
        yield from columns(case, given, want, clips)
    yield (
        "A14",
        "EM a red car / the red sports car",
        0.0,
        float(normalise("a red car") == normalise("the red sports car")),
        EXACT,
    )
    yield "A14", "F1 a red car / the red sports car", 0.8, f1("a red car", "the red sports car"), EXACT
    yield "A14", "EM The U.S.A. / USA", 1.0, float(normalise("The U.S.A.") == normalise("USA")), EXACT
    yield "A14", "tIoU (2,7),(4,9)", 0.4285714, tiou((2, 7), (4, 9)), EXACT
    yield "A14", "tIoU (0,3),(5,8)", 0.0, tiou((0, 3), (5, 8)), EXACT


def arithmetic() -> Iterator[Row]:
    """A8, A9, A12, A15."""
    first = np.arange(1.0, 10).reshape(3, 3)
    second = np.array([[7, 6, 5], [4, 3, 2], [1, 1, 8], [0, 2, 5]], dtype=float)
    for want, degree, gamma, coef in ((270.72222, 2, 1 / 3, 0.0), (2436.5, 2, 1.0, 0.0), (23088.0833, 3, 1 / 3, 1.0)):
        kernel = Kernel(degree=degree, gamma=gamma, coef=coef)
        ours = mmd(first, second, kernel, unbiased=False)
        yield "A8", f"biased MMD², degree {degree}, gamma {gamma:.3g}, coef {coef:g}", want, ours, 5e-5
    square = np.array([(0, 0), (2, 0), (0, 2), (2, 2)], dtype=float)
    yield "A9", "Fréchet, shifted by (3, 4)", 25.0, frechet(square, square + (3, 4)), EXACT
    yield "A9", "Fréchet, twice as wide, divisor N-1", 10.666667, frechet(square, 2 * square + 1, "n-1"), EXACT
    yield "A9", "Fréchet, twice as wide, divisor N", 10.0, frechet(square, 2 * square + 1, "n"), EXACT
    score = 2.5 * 0.30
    yield "A12", "CLIP-S of cosine .30", 0.75, score, EXACT
    yield "A12", "RefCLIP-S with reference .80", 0.7741935, harmonic(score, 0.80, Settings()), EXACT
    parents = {"q1": (), "q2": (), "q3": ("q2",), "q4": ("q1",), "q5": ("q3",)}
    asked = [Question(id=id, question=f"{id}?", answer="yes", parents=above) for id, above in parents.items()]
    right = dsg(parents_first(asked[::-1]), {"q1": True, "q2": False, "q3": True, "q4": True, "q5": True})
    yield "A15", "DSG, children listed first", 0.4, sum(right.values()) / len(right), EXACT
    right = dsg(parents_first(asked), {"q1": True, "q2": False, "q3": True, "q4": True, "q5": True}, "compat")
    yield "A15", "DSG as its package counts", 0.6, sum(right.values()) / len(right), EXACT


def vbench() -> Iterator[Row]:
    """A10 and A11."""
    percent = {
        "subject_consistency": 91.41, "background_consistency": 97.47, "temporal_flickering": 98.30,
        "motion_smoothness": 96.38, "dynamic_degree": 49.72, "aesthetic_quality": 54.94, "imaging_quality": 61.90,
        "object_class": 91.82, "multiple_objects": 33.32, "human_action": 96.8, "color": 86.39,
        "spatial_relationship": 34.09, "scene": 52.69, "appearance_style": 23.56, "temporal_style": 25.93,
        "overall_consistency": 26.41,
    }  # fmt: skip
    for mode in ("compat", "fixed"):
        totals = total({name: value / 100 for name, value in percent.items()}, mode)
        yield f"A10, {mode}", "LaVie, Quality", 0.7877945, totals.quality, EXACT
        yield f"A10, {mode}", "LaVie, Semantic", 0.7030689, totals.semantic, EXACT
        yield f"A10, {mode}", "LaVie, Total", 0.7708494, totals.total, EXACT
    picks = {(16, 49): "1 4 7 10 13 16 19 22 25 28 31 34 37 40 43 46", (8, 49): "2 8 14 20 26 32 38 45",
             (16, 20): "0 1 2 3 5 6 7 8 10 11 12 13 15 16 17 18",
             (16, 10): "0 1 2 3 4 5 6 7 8 9 9 9 9 9 9 9"}  # fmt: skip
    for (num, frames), want in picks.items():
        yield "A11", f"middle frames ({num}, {frames})", want, " ".join(map(str, middle_indices(num, frames))), 0
    sizes = {(256, 256, 8, 16): "1, 16, 6, 4", (720, 1280, 24, 121): "3, 41, 16.875, 10",
             (480, 720, 8, 49): "1, 49, 11.25, 12"}  # fmt: skip
    for (height, width, fps, frames), want in sizes.items():
        ours = dynamic.parameters((height, width), fps, frames, compat=True)
        yield (
            "A11",
            f"dynamic degree {height}×{width}, {fps} fps, {frames} frames",
            want,
            ", ".join(f"{v:g}" for v in ours),
            0,
        )
    angles = np.deg2rad([0, 10, 25, 45, 70, 100])
    value, num = consistency(np.stack([np.cos(angles), np.sin(angles)], 1))
    yield "A11", "consistency of unit features", 0.7603002, value / num, EXACT
    frame = [Region(box=(0, 0, 10, 10), label="a"), Region(box=(5, 0, 15, 10), label="b")]
    yield (
        "A11",
        "spatial score of overlapping boxes",
        0.3,
        spatial_score(frame, "a", "on the left of", "b"),
        EXACT,
    )


def statistics() -> Iterator[Row]:
    """A13."""
    from scipy.stats import spearmanr  # type: ignore[import-untyped]

    yield "A13", "Wilson 27 of 30, low", 0.743789, wilson(27, 30).low, EXACT
    yield "A13", "Wilson 27 of 30, high", 0.965400, wilson(27, 30).high, EXACT
    ranks = (1, 2, 2, 3, 4, 4, 5, 1), (1, 3, 2, 3, 5, 4, 4, 2)
    yield "A13", "Kendall's tau-b", 0.8, kendall_tau(*ranks), EXACT
    yield "A13", "Spearman's rho", 0.9012346, float(spearmanr(*ranks).statistic), EXACT


if __name__ == "__main__":
    sys.exit(main())
