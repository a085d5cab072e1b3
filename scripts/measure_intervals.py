#!/usr/bin/env python
"""How often published intervals of 95 % hold the truth, simulated.

    python scripts/measure_intervals.py -o runs/gate      # every cell; one that is in intervals.json is not run again

Writes intervals.json after each cell, and intervals.md, which docs/gate-statistics.md quotes.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from measure_gate import Cells, run_tables

from v2t_eval.core.statistics import interval_of_sums, jackknife_interval, mean_interval, unless_flat, weighted_shares
from v2t_eval.distribution.frechet import frechet
from v2t_eval.distribution.resampling import replicates
from v2t_eval.metrics.bleu import bleu

CLUSTERS = (5, 10, 30, 100)


def _mean_of(kind: str, rng: np.random.Generator, num: int) -> tuple[np.ndarray, float]:
    """Values (G, S) and the mean they are drawn from."""
    if kind == "normal":
        return rng.normal(0.5, 0.1, (num, 1)), 0.5
    if kind == "normal, 4 seeds":
        return rng.normal(0.5, 0.1, (num, 1)) + rng.normal(0, 0.1, (num, 4)), 0.5
    if kind.startswith("lognormal"):
        spread = 1.5 if kind == "lognormal 1.5" else 1.0
        return rng.lognormal(0, spread, (num, 1)), math.exp(spread**2 / 2)
    if kind == "near 1, Beta(9, .6)":
        return rng.beta(9, 0.6, (num, 1)), 9 / 9.6
    return rng.binomial(1, rng.beta(3.5, 1.5, (num, 1)), (num, 4)).astype(float), 0.7


MEANS = ("normal", "normal, 4 seeds", "lognormal", "lognormal 1.5", "near 1, Beta(9, .6)", "right or wrong, 4 seeds")


def of_means(kind: str, num: int, runs: int) -> Callable[[np.random.Generator], Any]:
    """The interval of a mean."""

    def measure(rng: np.random.Generator) -> float:
        hits = 0
        ends = (0.0, math.inf if kind.startswith("lognormal") else 1.0)
        for _ in range(runs):
            values, truth = _mean_of(kind, rng, num)
            listed, clusters = values.ravel().tolist(), np.repeat(np.arange(num), values.shape[1]).tolist()
            mean = float(values.mean())
            low, high = unless_flat(mean_interval(listed, clusters), mean, num, ends)
            hits += low <= truth <= high
        return 100 * hits / runs

    return measure


def of_shares(chance: float, num: int, runs: int) -> Callable[[np.random.Generator], Any]:
    """Wilson's interval with the design effect, 4 cases a cluster whose chance varies."""

    def measure(rng: np.random.Generator) -> float:
        hits = 0
        for _ in range(runs):
            own = rng.beta(4 * chance, 4 * (1 - chance), (num, 1))
            right = rng.binomial(1, own, (num, 4)).reshape(-1, 1)
            clusters = np.repeat(np.arange(num), 4).tolist()
            _, (low, high) = weighted_shares(right, np.ones_like(right), (1,), clusters)
            hits += low <= chance <= high
        return 100 * hits / runs

    return measure


def of_bleu(num: int, runs: int) -> Callable[[np.random.Generator], Any]:
    """BLEU-4 of captions of 8 to 16 words, each n-gram of which is matched with a chance of the caption's own; the
    truth is the BLEU of 200,000 of them."""

    def draw(rng: np.random.Generator, num: int) -> np.ndarray:
        words, own = rng.integers(8, 17, num), rng.beta(6, 3, num)
        grams = [np.maximum(words - n, 0) for n in range(4)]
        matches = [rng.binomial(count, own ** (1 + 0.3 * n)) for n, count in enumerate(grams)]
        return np.stack([*matches, *grams, words, words], axis=1).astype(float)

    def measure(rng: np.random.Generator) -> float:
        truth, hits = float(bleu(draw(rng, 200_000).sum(0))[0, 3]), 0
        for _ in range(runs):
            sums = draw(rng, num)
            low, high = interval_of_sums(sums, lambda parts: bleu(parts)[:, 3], range(num))
            hits += low <= truth <= high
        return 100 * hits / runs

    return measure


def of_frechet(kind: str, num: int, runs: int) -> Callable[[np.random.Generator], Any]:
    """The jackknife interval of a Frechet distance of G against G vectors, d = 8; the truth is its mean at that G."""

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        first, second = rng.normal(0, 1, (2, num, 8))
        return (np.exp(first / 2), np.exp(second / 2 + 0.3)) if kind == "lognormal" else (first, second + 0.5)

    def measure(rng: np.random.Generator) -> float:
        truth, hits = float(np.mean([frechet(*draw(rng)) for _ in range(2000)])), 0
        for _ in range(runs):
            first, second = draw(rng)

            def without(groups: np.ndarray, other: np.ndarray, a: np.ndarray = first, b: np.ndarray = second) -> Any:
                return np.array([frechet(a[groups != g], b[other != g]) for g in range(int(groups.max()) + 1)])

            value, left = frechet(first, second), replicates(without, range(num), range(num), seed=0)
            if left is None:
                raise ValueError(f"no group can be left out of {num}")
            low, high = jackknife_interval(value, left)
            hits += low <= truth <= high
        return 100 * hits / runs

    return measure


def interval_table(cells: Cells, runs: int) -> list[str]:
    """How often published intervals of 95 % hold the truth."""
    few = max(runs // 2, 1)
    rows: dict[str, tuple[Any, Any, int]] = {f"mean, {kind}": (of_means, kind, runs) for kind in MEANS}
    rows |= {f"share of {chance:g}, 4 cases a cluster": (of_shares, chance, runs) for chance in (0.5, 0.9)}
    lines = [
        "\nIntervals of 95 %: how often they hold the truth, in per cent.\n",
        f"| figure | {' | '.join(f'{num} clusters' for num in CLUSTERS)} |",
        "|" + "---|" * (1 + len(CLUSTERS)),
    ]
    named: dict[str, list[float]] = {}
    for name, (made, kind, times) in rows.items():
        named[name] = [cells.run(f"{name}, {num}, {times}", made(kind, num, times)) for num in CLUSTERS]
    named["BLEU-4"] = [cells.run(f"bleu, {num}, {runs}", of_bleu(num, runs)) for num in CLUSTERS]
    for kind in ("normal", "lognormal"):
        name = f"Frechet distance, d = 8, {kind}"
        named[name] = [cells.run(f"{name}, {num}, {few}", of_frechet(kind, num, few)) for num in CLUSTERS]
    for name, figures in named.items():
        lines.append(f"| {name} | {' | '.join(f'{one:.1f}' for one in figures)} |")
    return lines


if __name__ == "__main__":
    sys.exit(run_tables(__doc__, "intervals", interval_table))
