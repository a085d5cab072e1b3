#!/usr/bin/env python
"""How often the margins of an engine err, simulated over shapes of its noise; docs/figures/engines.md has the table.

    python scripts/simulate_engines.py -o build/engines/simulated.json [--runs 400]

In: nothing. Out: JSON: of each shape, number of prompts and number of the engine's own runs the share of candidates in
per cent that fail or are inconclusive, of candidates that are the same engine and of such with a fault. Asks the rules'
own functions: `RunValues` for margins, limits and strays, `v2t_eval.core.bounds` for the tests, Holm over all of them.
A candidate has five distances, which move together by half, and two values of what the clips show, each asked both
ways. The gate's guards are left out: they would add to the tests and so make each a little more careful.
Letters: C candidates, M metrics, R runs, n clips, one a prompt.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cineloop.intervals import wilson
from v2t_eval.core import bounds
from v2t_eval.core.statistics import holm
from v2t_eval.engine import margins
from v2t_eval.engine.derived import limit_of
from v2t_eval.engine.margins import RunValues

DRAWS, NULLS = 1000, 80  # of each bound, and of unchanged candidates for each margin
NUM_DISTANCES = 5
FAR, FAR_SPREAD = 28.0, 3.0  # decibels of clips of other prompts
ALPHA = 0.05
SIZES = ((24, 2), (24, 3), (48, 3))  # prompts, runs of the engine beside the first
Shape = Callable[[np.random.Generator, int, int], np.ndarray]  # rng, runs, n -> decibels (M, runs, n)


def _alike(rng: np.random.Generator, num_runs: int, num: int) -> np.ndarray:
    """Standard normal (M, R, n), correlated by half between metrics."""
    shared = rng.normal(size=(1, num_runs, num))
    return np.sqrt(0.5) * (shared + rng.normal(size=(NUM_DISTANCES, num_runs, num)))


def _prompts(rng: np.random.Generator, num: int, spread: float) -> np.ndarray:
    """What the prompts have of their own, (M, 1, n)."""
    return spread * rng.normal(size=(NUM_DISTANCES, 1, num))


def equal(rng: np.random.Generator, num_runs: int, num: int) -> np.ndarray:
    """Every run to the bit."""
    return np.zeros((NUM_DISTANCES, num_runs, num))


def gaussian(rng: np.random.Generator, num_runs: int, num: int) -> np.ndarray:
    """Normal."""
    return 10 + _prompts(rng, num, 3) + 1.5 * _alike(rng, num_runs, num)


def heavy(rng: np.random.Generator, num_runs: int, num: int) -> np.ndarray:
    """Student's t of two degrees, which has no variance."""
    scale = np.sqrt(2 / rng.chisquare(2, (1, num_runs, num)))
    return 10 + _prompts(rng, num, 3) + 1.5 * _alike(rng, num_runs, num) * scale


def diverging(rng: np.random.Generator, num_runs: int, num: int) -> np.ndarray:
    """One clip in twenty becomes another, as far off as any."""
    flips = rng.random((1, num_runs, num)) < 0.05
    return np.where(flips, 24 + 2 * _alike(rng, num_runs, num), 4 + _prompts(rng, num, 1) + _alike(rng, num_runs, num))


def chaotic(rng: np.random.Generator, num_runs: int, num: int) -> np.ndarray:
    """Half of the prompts diverge in every run, half never."""
    loose = rng.random((1, 1, num)) < 0.5
    return np.where(loose, 22 + 3 * _alike(rng, num_runs, num), 3 + _alike(rng, num_runs, num))


def drifting(rng: np.random.Generator, num_runs: int, num: int) -> np.ndarray:
    """Runs differ as a whole, by a deviation of 1 dB, in all metrics alike."""
    return gaussian(rng, num_runs, num) + rng.normal(size=(1, num_runs, 1))


SHAPES: dict[str, Shape] = {
    "equal to the bit": equal, "normal": gaussian, "heavy tails": heavy, "1 in 20 diverges": diverging,
    "half the prompts diverge": chaotic, "runs drift": drifting,
}  # fmt: skip


def content_of(rng: np.random.Generator, decibels: np.ndarray) -> np.ndarray:
    """Two values of what clips show, (2, R, n): the share of five facts, and a similarity; a clip that is far from the
    reference is drawn anew."""
    runs, num = decibels.shape[1:]
    chance, level = rng.beta(4, 1.5, num), rng.normal(0.6, 0.1, num)
    far = decibels.mean(0) > 18
    facts = np.where(far, rng.binomial(5, chance, (runs, num)), rng.binomial(5, chance, num)) / 5
    near = level + 0.002 * rng.normal(size=(runs, num))
    return np.stack([facts, np.where(far, level + 0.05 * rng.normal(size=(runs, num)), near)])


def farther(decibels: np.ndarray, content: np.ndarray, rng: np.random.Generator) -> None:
    """Every clip of the last run is farther off, by 6 dB: a wrong scheduler."""
    decibels[:, -1] += 6


def broken(decibels: np.ndarray, content: np.ndarray, rng: np.random.Generator) -> None:
    """One clip in eight of the last run shows another prompt."""
    bad = np.arange(decibels.shape[2]) % 8 == 7
    decibels[:, -1, bad] = FAR
    content[:, -1, bad] *= 0.4


def less(decibels: np.ndarray, content: np.ndarray, rng: np.random.Generator) -> None:
    """The clips of the last run are as near as ever and show less: each fact is lost with a chance of .3."""
    content[0, -1] = rng.binomial(np.rint(5 * content[0, -1]).astype(int), 0.7) / 5
    content[1, -1] -= 0.05


FAULTS = {"the same engine": None, "6 dB farther": farther, "1 in 8 broken": broken, "shows less": less}


def candidate(shape: Shape, fault: Any, num_runs: int, num: int, rng: np.random.Generator) -> tuple[list[Any], ...]:
    """One calibration and one candidate: sums of the changes, spans, gains, accepted harms and margins of each rule."""
    decibels = np.maximum(shape(rng, num_runs + 1, num), 0.0)  # the last one is the candidate's
    content = content_of(rng, decibels)
    if fault is not None:
        fault(decibels, content, rng)
    ids = tuple(map(str, range(num)))
    far = rng.normal(FAR, FAR_SPREAD, num)
    tables = [RunValues(ids=ids, clusters=ids, values=one[:-1], sign=1.0, unrelated=far) for one in decibels]
    new = list(decibels[:, -1])
    strays = margins._strays(dict(zip("abcde", tables, strict=True)))
    beyond = [one - table.values.mean(0) > limit_of(table.harms, table.accepted)
              for one, table in zip(new, tables, strict=True)]  # fmt: skip
    for one in content:
        least = margins.LEAST_SHARE * 0.5
        table = RunValues(
            ids=ids, clusters=ids, values=one[:-1], sign=-1.0, unrelated=one[:-1].ravel() * 0.4, least=least
        )
        tables += [table, replace(table, sign=1.0)]
        new += [one[-1]] * 2
    tables.append(strays)
    new.append(np.any(beyond, axis=0).astype(float))
    rules = [table.rule(str(place), ALPHA, len(tables)) for place, table in enumerate(tables)]
    goods = [-table.sign * (one - table.values.mean(0)) for one, table in zip(new, tables, strict=True)]
    spans = [
        max(abs(rule.worst - rule.best), float(np.abs(good).max())) for rule, good in zip(rules, goods, strict=True)
    ]
    gains = [span if rule.gain is None else min(span, max(rule.gain, float(good.max())))
             for rule, span, good in zip(rules, spans, goods, strict=True)]  # fmt: skip
    return goods, spans, gains, [rule.accepted for rule in rules], [rule.margin for rule in rules]


def outcomes(shape: Shape, fault: Any, num_runs: int, num: int, count: int, seed: int) -> dict[str, float]:
    """Shares in per cent of `count` candidates."""
    rng = np.random.default_rng(seed)
    made = [candidate(shape, fault, num_runs, num, rng) for _ in range(count)]
    goods, spans, gains, accepted, allowed = (np.array([one[part] for one in made]) for part in range(5))
    num_rules = goods.shape[1]
    flat = goods.reshape(count * num_rules, num)
    sums = np.stack([flat, np.ones_like(flat)], 2)
    low = bounds.lower_bounds(sums, spans.ravel(), ALPHA, num_draws=DRAWS).reshape(count, num_rules)
    p = bounds.p_values(sums, gains.ravel(), accepted.ravel(), num_draws=DRAWS).reshape(count, num_rules)
    adjusted = np.array([holm(row.tolist()) for row in p])
    passes = low > -allowed
    fails = (~passes & (adjusted < ALPHA)).any(1)
    passed = passes.all(1)
    ends = wilson(int(fails.sum()), count)
    return {"fail": 100 * float(fails.mean()), "low": 100 * ends[0], "high": 100 * ends[1],
            "inconclusive": 100 * float((~fails & ~passed).mean()), "pass": 100 * float((~fails & passed).mean()),
            "count": count}  # fmt: skip


def main() -> None:
    """Simulate what the file lacks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400, help="candidates of each cell")
    parser.add_argument("--size", type=int, nargs=2, metavar=("PROMPTS", "RUNS"), help="of SIZES this one alone")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON; cells that it holds are kept")
    args = parser.parse_args()
    margins.RUNS = NULLS  # a setting of its module: no argument reaches it
    cells = json.loads(args.output.read_text()) if args.output.exists() else {}
    for num, num_runs in [tuple(args.size)] if args.size else SIZES:
        for what, fault in FAULTS.items():
            for name, shape in SHAPES.items():
                cell, key = f"{name}|{num}|{num_runs}|{what}", 1000 * num + 100 * num_runs + len(name)
                if cell not in cells:
                    count = args.runs if fault is None else max(40, args.runs // 5)
                    cells[cell] = outcomes(shape, fault, num_runs, num, count, key)
                    args.output.write_text(json.dumps(cells, indent=1) + "\n")
                    shares = ", ".join(f"{part} {cells[cell][part]:.1f}" for part in ("fail", "inconclusive", "pass"))
                    print(f"{cell}: {shares}", flush=True)


if __name__ == "__main__":
    main()
