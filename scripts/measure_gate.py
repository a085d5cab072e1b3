#!/usr/bin/env python
"""How often the gate errs, and how often published intervals hold, simulated over shapes of data.

    python scripts/measure_gate.py -o runs/gate              # every cell; one that is in gate.json is not run again

Every cell asks the gate's own functions; the rule it replaced is restated here (`old_rule`) and stands beside it. The
metric that is simulated lies within 0 and 1, the baseline's mean is 0.8, and its worst value is 0. Writes gate.json
after each cell, and gate.md, which docs/gate-statistics.md quotes; the same seed gives the same tables.
Letters: R runs, G prompts.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from cineloop.files import write_atomic
from v2t_eval.distribution.frechet import frechet
from v2t_eval.distribution.resampling import jackknife_half
from v2t_eval.gate.statistics import Change, least_change, least_margin, lower_bounds, p_values, student
from v2t_eval.metrics.bleu import bleu
from v2t_eval.stats import interval_of_sums, mean_interval, student_interval, unless_flat, weighted_shares

ALPHA, POWER = 0.05, 0.8
MEAN, WORST = 0.8, 0.0  # of the baseline
FALL, RISE = MEAN - WORST, 1 - MEAN
SIZES = (20, 60, 200)
CLUSTERS = (5, 10, 30, 100)
LOOKS = 6  # times as many runs for two looks
HARMS = ("0", "half", "margin", "two margins", "two least")
Draw = Callable[[np.random.Generator, int, int, float], np.ndarray]  # R, G, harm -> sums (R, G, 2)


# --- shapes of the changes: mean -harm, candidate minus baseline


def plain(values: np.ndarray) -> np.ndarray:
    """One clip a prompt: (R, G) -> (R, G, 2)."""
    return np.stack([np.clip(values, -FALL, RISE + FALL), np.ones_like(values)], axis=2)


def seeds(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Several clips a prompt: values and whether they are there, (R, G, S) -> (R, G, 2)."""
    there[..., 0] |= ~there.any(2)
    return np.stack([(values * there).sum(2), there.sum(2)], axis=2)


def skewed(rng: np.random.Generator, runs: int, num: int) -> np.ndarray:
    """Lognormal, mean 0, standard deviation 0.1: most a little below, few far above."""
    return 0.1 * (rng.lognormal(0, 1, (runs, num)) - math.exp(0.5)) / math.sqrt((math.e - 1) * math.e)


def right_wrong(rng: np.random.Generator, runs: int, num: int, harm: float) -> np.ndarray:
    """Right or wrong on both sides: 3 % of the prompts change for the better, 3 % + harm for the worse."""
    draws = rng.random((runs, num))
    values = np.where(draws < 0.03 + harm, -1.0, np.where(draws > 0.97, 1.0, 0.0))
    return np.stack([values, np.ones_like(values)], axis=2)


def ties(rng: np.random.Generator, runs: int, num: int, harm: float) -> np.ndarray:
    """Most prompts do not change at all: 80 %, or fewer where a fifth could not carry the harm."""
    share = max(0.2, harm / 0.3)
    return plain(np.where(rng.random((runs, num)) < share, rng.normal(-harm / share, 0.22, (runs, num)), 0.0))


def carried(rng: np.random.Generator, runs: int, num: int, harm: float) -> np.ndarray:
    """All harm in 3 % of the prompts, or in as few as can carry it; the others hardly change."""
    share = max(0.03, harm / FALL)
    values = rng.normal(0, 0.02, (runs, num))
    return plain(np.where(rng.random((runs, num)) < share, -harm / share if harm else values, values))


def both(rng: np.random.Generator, runs: int, num: int, harm: float) -> np.ndarray:
    """Half of the harm in every prompt, half in as few as can carry it."""
    values = rng.normal(-harm / 2, 0.05, (runs, num))
    return plain(np.where(rng.random((runs, num)) < harm / 2 / FALL, -FALL, values))


SHAPES: dict[str, tuple[Draw, float]] = {  # with the standard deviation of a prompt's change where nothing changed
    "normal": (lambda r, runs, n, h: plain(r.normal(-h, 0.1, (runs, n))), 0.1),
    "heavy tails (t, 3)": (lambda r, runs, n, h: plain(0.1 * r.standard_t(3, (runs, n)) / math.sqrt(3) - h), 0.1),
    "few much worse": (lambda r, runs, n, h: plain(-skewed(r, runs, n) - h), 0.1),
    "few much better": (lambda r, runs, n, h: plain(skewed(r, runs, n) - h), 0.1),
    "right or wrong": (right_wrong, math.sqrt(0.06)),
    "80 % ties": (ties, 0.1),
    "few prompts carry all": (carried, 0.02),
    "half carried by few": (both, 0.05),
    "4 seeds, prompts differ": (
        lambda r, runs, n, h: seeds(
            r.normal(-h, 0.08, (runs, n, 1)) + r.normal(0, 0.12, (runs, n, 4)), np.ones((runs, n, 4), dtype=bool)
        ),
        0.1,
    ),
    "4 seeds, a fifth missing": (
        lambda r, runs, n, h: seeds(
            r.normal(-h, 0.08, (runs, n, 1)) + r.normal(0, 0.12, (runs, n, 4)), r.random((runs, n, 4)) < 0.8
        ),
        0.1,
    ),
}  # fmt: skip


# --- the rules


def new_rule(sums: np.ndarray, margin: float, alpha: float = ALPHA) -> tuple[np.ndarray, np.ndarray]:
    """Which of R runs pass and which fail, as `v2t_eval.gate.reasons.of_margin` decides one metric."""
    means = sums[..., 0] / sums[..., 1]
    low = lower_bounds(sums, np.maximum(FALL, -means.min(1)), alpha)
    passes = low > -margin
    return passes, ~passes & (p_values(sums, np.maximum(RISE, means.max(1)), margin / 2) < alpha)


def old_rule(sums: np.ndarray, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """The rule before: pass when the two-sided 95 % interval is above the margin and the margin not below the least
    detectable change of the run; fail when the estimate is beyond the margin and a sign flip is significant."""
    num, total = sums.shape[1], sums[..., 1].sum(1)
    value = sums[..., 0].sum(1) / total
    pull = (sums[..., 0] - value[:, None] * sums[..., 1]) / total[:, None]
    se = np.sqrt(num / (num - 1) * (pull**2).sum(1))
    rng = np.random.default_rng(6)
    low = value - student(num - 1, ALPHA / 2) * se
    if num >= 30:
        times = rng.multinomial(num, np.full(num, 1 / num), 2000).astype(float)  # (draws, G)
        drawn = (times @ sums[..., 0].T) / (times @ sums[..., 1].T)
        wider = student(num - 1, ALPHA / 2) / 1.959964 * math.sqrt(num / (num - 1))
        low = value + wider * (np.quantile(drawn, ALPHA / 2, axis=0) - value)
    signs = rng.integers(0, 2, (4000, num)) * 2.0 - 1
    p = ((signs @ -sums[..., 0].T >= -sums[..., 0].sum(1) - 1e-12).sum(0) + 1) / 4001
    least = (student(num - 1, ALPHA) + student(num - 1, 1 - POWER)) * se
    fails = (value <= -margin) & (p < ALPHA)
    return ~fails & (low > -margin) & ((margin >= least) | (se == 0)), fails


# --- cells


class Cells:
    """Results by name, kept in a file after each: one that is there is not run again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        self.begun = time.perf_counter()

    def run(self, name: str, measure: Callable[[np.random.Generator], Any]) -> Any:
        """The cell's result; its seed is made from its name."""
        if name not in self.found:
            self.found[name] = measure(np.random.default_rng(zlib.crc32(name.encode())))
            write_atomic(self.path, (json.dumps(self.found, indent=1) + "\n").encode())
            print(f"{time.perf_counter() - self.begun:6.0f} s  {name}: {self.found[name]}", file=sys.stderr)
        return self.found[name]


def limits(num: int, spread: float) -> tuple[float, float]:
    """The margin that the gate advises for G prompts, and the least change that it then detects."""
    se = spread / math.sqrt(num)
    margin = least_margin(se, num, FALL, alpha=ALPHA, power=POWER)
    model = Change(value=0, low=0, high=0, se=se, p=1, num_pairs=num, num_clusters=num, fall=FALL, rise=RISE)
    return margin, least_change(model, accepted=margin / 2, alpha=ALPHA, power=POWER, num_tests=1) or 0.0


def of_gate(draw: Draw, num: int, harm: float, margin: float, runs: int) -> Callable[[np.random.Generator], Any]:
    """Shares of R runs that pass and fail, by both rules, in per cent."""

    def measure(rng: np.random.Generator) -> dict[str, float]:
        sums = draw(rng, runs, num, harm)
        found = {}
        for name, rule in (("new", new_rule), ("old", old_rule)):
            passes, fails = rule(sums, margin)
            found |= {f"{name} pass": 100 * float(passes.mean()), f"{name} fail": 100 * float(fails.mean())}
        return found

    return measure


def of_looks(alpha: float, runs: int) -> Callable[[np.random.Generator], Any]:
    """60 prompts, and where these are inconclusive the same and 60 more: passes in error at a harm of the margin."""

    def measure(rng: np.random.Generator) -> dict[str, float]:
        margin, passed = limits(120, 0.1)[0], np.zeros(2)
        for _ in range(LOOKS):  # in parts, for the memory
            sums = SHAPES["normal"][0](rng, runs, 120, margin)
            first, failed = new_rule(sums[:, :60], margin, alpha)
            second, _ = new_rule(sums, margin, alpha)
            passed += first.mean(), (first | (~failed & second)).mean()
        return dict(zip(("first", "either"), (100 * passed / LOOKS).tolist(), strict=True))

    return measure


# --- intervals: share of runs whose interval holds the truth, in per cent


@lru_cache(maxsize=8)
def resampled(num: int) -> np.ndarray:
    """How often each of G clusters is in each of 2,000 bootstrap samples."""
    return np.random.default_rng(0).multinomial(num, np.full(num, 1 / num), 2000).astype(float)


def old_mean(values: list[float], clusters: list[int]) -> tuple[float, float]:
    """The interval before: Student's t, from 30 clusters on a bare bootstrap."""
    num = len(set(clusters))
    if num < 30:
        return student_interval(values, clusters)
    rows = np.zeros((num, 2))
    np.add.at(rows, clusters, np.stack([values, np.ones(len(values))], axis=1))
    drawn = resampled(num) @ rows
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], (0.025, 0.975))
    return float(low), float(high)


def _mean_of(kind: str, rng: np.random.Generator, num: int) -> tuple[np.ndarray, float]:
    """Values (G, S) and the mean they are drawn from."""
    if kind == "normal":
        return rng.normal(0.5, 0.1, (num, 1)), 0.5
    if kind == "normal, 4 seeds":
        return rng.normal(0.5, 0.1, (num, 1)) + rng.normal(0, 0.1, (num, 4)), 0.5
    if kind == "lognormal":
        return rng.lognormal(0, 1, (num, 1)), math.exp(0.5)
    if kind == "near 1, Beta(9, .6)":
        return rng.beta(9, 0.6, (num, 1)), 9 / 9.6
    return rng.binomial(1, rng.beta(3.5, 1.5, (num, 1)), (num, 4)).astype(float), 0.7


MEANS = ("normal", "normal, 4 seeds", "lognormal", "near 1, Beta(9, .6)", "right or wrong, 4 seeds")


def of_means(kind: str, num: int, runs: int) -> Callable[[np.random.Generator], Any]:
    """The interval of a mean, now and before."""

    def measure(rng: np.random.Generator) -> dict[str, float]:
        hits, before = 0, 0
        ends = (0.0, math.inf if kind == "lognormal" else 1.0)
        for _ in range(runs):
            values, truth = _mean_of(kind, rng, num)
            listed, clusters = values.ravel().tolist(), np.repeat(np.arange(num), values.shape[1]).tolist()
            mean = float(values.mean())
            low, high = unless_flat(mean_interval(listed, clusters), mean, num, ends)
            hits += low <= truth <= high
            low, high = old_mean(listed, clusters)
            before += low <= truth <= high
        return {"now": 100 * hits / runs, "before": 100 * before / runs}

    return measure


def of_shares(chance: float, num: int, runs: int) -> Callable[[np.random.Generator], Any]:
    """Wilson's interval with the design effect, 4 cases a cluster whose chance varies."""

    def measure(rng: np.random.Generator) -> dict[str, float]:
        hits = 0
        for _ in range(runs):
            own = rng.beta(4 * chance, 4 * (1 - chance), (num, 1))
            right = rng.binomial(1, own, (num, 4)).reshape(-1, 1)
            clusters = np.repeat(np.arange(num), 4).tolist()
            _, (low, high) = weighted_shares(right, np.ones_like(right), (1,), clusters)
            hits += low <= chance <= high
        return {"now": 100 * hits / runs}

    return measure


def of_bleu(num: int, runs: int) -> Callable[[np.random.Generator], Any]:
    """BLEU-4 of captions of 8 to 16 words, each n-gram of which is matched with a chance of the caption's own; the
    truth is the BLEU of 200,000 of them."""

    def drawn(rng: np.random.Generator, num: int) -> np.ndarray:
        words, own = rng.integers(8, 17, num), rng.beta(6, 3, num)
        grams = [np.maximum(words - n, 0) for n in range(4)]
        matches = [rng.binomial(count, own ** (1 + 0.3 * n)) for n, count in enumerate(grams)]
        return np.stack([*matches, *grams, words, words], axis=1).astype(float)

    def measure(rng: np.random.Generator) -> dict[str, float]:
        truth, hits, before = float(bleu(drawn(rng, 200_000).sum(0))[0, 3]), 0, 0
        for _ in range(runs):
            sums = drawn(rng, num)
            low, high = interval_of_sums(sums, lambda parts: bleu(parts)[:, 3], range(num))
            hits += low <= truth <= high
            low, high = np.quantile(bleu(resampled(num) @ sums)[:, 3], (0.025, 0.975))
            before += low <= truth <= high
        return {"now": 100 * hits / runs, "before": 100 * before / runs}

    return measure


def of_frechet(kind: str, num: int, runs: int) -> Callable[[np.random.Generator], Any]:
    """The jackknife interval of a Frechet distance of G against G vectors, d = 8; the truth is its mean at that G."""

    def drawn(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        first, second = rng.normal(0, 1, (2, num, 8))
        return (np.exp(first / 2), np.exp(second / 2 + 0.3)) if kind == "lognormal" else (first, second + 0.5)

    def measure(rng: np.random.Generator) -> dict[str, float]:
        truth, hits = float(np.mean([frechet(*drawn(rng)) for _ in range(2000)])), 0
        for _ in range(runs):
            first, second = drawn(rng)

            def without(groups: np.ndarray, other: np.ndarray, a: np.ndarray = first, b: np.ndarray = second) -> Any:
                return np.array([frechet(a[groups != g], b[other != g]) for g in range(int(groups.max()) + 1)])

            half = jackknife_half(without, range(num), range(num), seed=0) or 0.0
            hits += abs(frechet(first, second) - truth) <= half
        return {"now": 100 * hits / runs}

    return measure


# --- the whole


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    cells = Cells(args.output / "gate.json")
    text = "\n".join([*gate_tables(cells, args.runs), *interval_table(cells, args.runs)]) + "\n"
    write_atomic(args.output / "gate.md", text.encode())
    print(text)
    return 0


def gate_tables(cells: Cells, runs: int) -> list[str]:
    """Errors and power of the rule, at the margin that the gate advises."""
    head = ["no change", "harm of half the margin", "harm of the margin", "of two margins", "of two least changes"]
    lines = [
        f"{runs} runs a cell; in per cent, old rule in brackets.\n",
        "| changes | prompts | margin | least change | fails: " + " | fails: ".join(head[:2])
        + " | passes: " + head[2] + " | passes: no change | fails: " + " | fails: ".join(head[3:]) + " |",
        "|" + "---|" * 10,
    ]  # fmt: skip
    for shape, (draw, spread) in SHAPES.items():
        for num in SIZES:
            margin, least = limits(num, spread)
            harms = dict(zip(HARMS, (0, margin / 2, margin, 2 * margin, 2 * least), strict=True))
            row = {
                name: cells.run(f"gate, {shape}, {num}, {name}, {runs}", of_gate(draw, num, harm, margin, runs))
                for name, harm in harms.items()
                if harm < FALL
            }
            shown = [
                _both(row, name, verdict)
                for name, verdict in (("0", "fail"), ("half", "fail"), ("margin", "pass"), ("0", "pass"),
                                      ("two margins", "fail"), ("two least", "fail"))
            ]  # fmt: skip
            lines.append(f"| {shape} | {num} | {margin:.3f} | {least:.3f} | {' | '.join(shown)} |")
    lines += ["\n| two looks, 60 and 120 prompts | passes at a harm of the margin: first | either |", "|---|---|---|"]
    for alpha in (ALPHA, ALPHA / 2):
        found = cells.run(f"looks, {alpha}, {LOOKS * runs}", of_looks(alpha, runs))
        lines.append(f"| alpha {alpha:g} at each | {found['first']:.1f} | {found['either']:.1f} |")
    return lines


def _both(row: dict[str, Any], name: str, verdict: str) -> str:
    found = row.get(name)
    return "–" if found is None else f"{found[f'new {verdict}']:.1f} ({found[f'old {verdict}']:.1f})"


def interval_table(cells: Cells, runs: int) -> list[str]:
    """How often published intervals of 95 % hold the truth."""
    few = max(runs // 2, 1)
    rows = {f"mean, {kind}": (of_means, kind, runs) for kind in MEANS}
    rows |= {f"share of {chance:g}, 4 cases a cluster": (of_shares, chance, runs) for chance in (0.5, 0.9)}
    lines = [
        "\nIntervals of 95 %: how often they hold the truth, in per cent, the rule before in brackets.\n",
        f"| figure | {' | '.join(f'{num} clusters' for num in CLUSTERS)} |",
        "|" + "---|" * (1 + len(CLUSTERS)),
    ]
    named: dict[str, list[dict[str, float]]] = {}
    for name, (made, kind, times) in rows.items():
        named[name] = [cells.run(f"{name}, {num}, {times}", made(kind, num, times)) for num in CLUSTERS]
    named["BLEU-4"] = [cells.run(f"bleu, {num}, {runs}", of_bleu(num, runs)) for num in CLUSTERS]
    for kind in ("normal", "lognormal"):
        name = f"Frechet distance, d = 8, {kind}"
        named[name] = [cells.run(f"{name}, {num}, {few}", of_frechet(kind, num, few)) for num in CLUSTERS]
    for name, found in named.items():
        cellular = [f"{one['now']:.1f}" + (f" ({one['before']:.1f})" if "before" in one else "") for one in found]
        lines.append(f"| {name} | {' | '.join(cellular)} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
