#!/usr/bin/env python
"""How often the gate errs, simulated over shapes of data; `measure_intervals.py` does the same for intervals.

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
from pathlib import Path
from typing import Any

import numpy as np

from cineloop.files import write_atomic
from v2t_eval.gate.statistics import Change, least_change, least_margin, lower_bounds, p_values
from v2t_eval.gate.tail import tail_test
from v2t_eval.stats import student

ALPHA, POWER = 0.05, 0.8
MEAN, WORST = 0.8, 0.0  # of the baseline
FALL, RISE = MEAN - WORST, 1 - MEAN
SIZES = (20, 60, 200)
LOOKS = 6  # times as many runs for two looks
MOST_HARM = 0.95 * FALL  # of a prompt, where twice the least change is more
HARMS = ("0", "half", "margin", "two margins", "least", "two least")
STEPS = {"right or wrong": 1.0}  # of shapes whose values have few levels
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


def run_tables(description: str, name: str, make_tables: Callable[[Cells, int], list[str]]) -> int:
    """The command line of a simulation: its cells in `NAME.json`, its tables in `NAME.md` and on stdout."""
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    text = "\n".join(make_tables(Cells(args.output / f"{name}.json"), args.runs)) + "\n"
    write_atomic(args.output / f"{name}.md", text.encode())
    print(text)
    return 0


def limits(num: int, spread: float, step: float = 0.0) -> tuple[float, float]:
    """The margin that the gate advises for G prompts, and the least change that it then detects. Where values have a
    `step`, prompts get better by it, too."""
    se = spread / math.sqrt(num)
    margin = least_margin(se, num, FALL, alpha=ALPHA, power=POWER)
    model = Change(value=0, low=0, high=0, se=se, p=1, num_pairs=num, num_clusters=num, fall=FALL,
                   rise=max(RISE, step), step=step)  # fmt: skip
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


# --- the tail test: share of runs with a note, in per cent


def seed_values(kind: str, rng: np.random.Generator, num: int, per: int, broken: int) -> tuple[np.ndarray, np.ndarray]:
    """Values of candidate and baseline (P, S) whose prompts differ and did not change, but for the broken ones."""
    if kind == "right or wrong":
        chance = rng.beta(4, 1, (num, 1))
        new, old = ((rng.random((num, per)) < chance).astype(float) for _ in range(2))
        new[:broken], old[:broken] = 0.0, 1.0
        return new, old
    own = rng.normal(MEAN, 0.1, (num, 1))
    draw = rng.standard_normal if kind == "normal" else lambda shape: rng.standard_t(3, shape) / math.sqrt(3)
    new, old = (own + 0.12 * draw((num, per)) for _ in range(2))
    new[:broken] -= 0.5
    return new, old


def of_tail(kind: str, num: int, per: int, runs: int) -> Callable[[np.random.Generator], Any]:
    """How often the tail test speaks: nothing changed, all fell by the accepted harm, two prompts are broken."""

    def measure(rng: np.random.Generator) -> dict[str, float]:
        prompts: list[int] = np.repeat(np.arange(num), per).tolist()
        found: dict[str, float] = {}
        for name, broken, harm in (("none", 0, 0.0), ("accepted", 0, 0.03), ("two", 2, 0.0)):
            rejected = 0
            for _ in range(runs):
                new, old = seed_values(kind, rng, num, per, broken)
                tail = tail_test((new - harm).ravel(), old.ravel(), prompts, accepted=harm, alpha=ALPHA)
                rejected += tail is not None and tail.p < ALPHA
            found[name] = 100 * rejected / runs
        return found

    return measure


def tail_table(cells: Cells, runs: int) -> list[str]:
    """False alarms and power of the tail test."""
    lines = [
        "\nTail test: how often it speaks, in per cent.\n",
        "| values | seeds | prompts | nothing changed | all fell by the accepted harm | two prompts broke |",
        "|---|---|---|---|---|---|",
    ]
    for kind in ("normal", "heavy tails (t, 3)", "right or wrong"):
        for per in (2, 4):
            for num in SIZES:
                found = cells.run(f"tail, {kind}, {per}, {num}, {runs}", of_tail(kind, num, per, runs))
                shown = " | ".join(f"{found[name]:.1f}" for name in ("none", "accepted", "two"))
                lines.append(f"| {kind} | {per} | {num} | {shown} |")
    return lines


# --- the whole


def all_tables(cells: Cells, runs: int) -> list[str]:
    """Of the gate's rule and of its tail test."""
    return [*gate_tables(cells, runs), *tail_table(cells, runs)]


def gate_tables(cells: Cells, runs: int) -> list[str]:
    """Errors and power of the rule, at the margin that the gate advises."""
    head = ["no change", "harm of half the margin", "harm of the margin", "of two margins", "of the least change",
            "of two least changes"]  # fmt: skip
    lines = [
        f"{runs} runs a cell; in per cent, old rule in brackets.\n",
        "| changes | prompts | margin | least change | fails: " + " | fails: ".join(head[:2])
        + " | passes: " + head[2] + " | passes: no change | fails: " + " | fails: ".join(head[3:]) + " |",
        "|" + "---|" * 11,
    ]  # fmt: skip
    for shape, (draw, spread) in SHAPES.items():
        for num in SIZES:
            margin, least = limits(num, spread, STEPS.get(shape, 0.0))
            harms = dict(zip(HARMS, (0, margin / 2, margin, 2 * margin, least, min(2 * least, MOST_HARM)), strict=True))
            row = {
                name: cells.run(f"gate, {shape}, {num}, {name}, {runs}", of_gate(draw, num, harm, margin, runs))
                for name, harm in harms.items()
                if harm < FALL
            }
            shown = [
                _both(row, name, verdict)
                for name, verdict in (("0", "fail"), ("half", "fail"), ("margin", "pass"), ("0", "pass"),
                                      ("two margins", "fail"), ("least", "fail"), ("two least", "fail"))
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


if __name__ == "__main__":
    sys.exit(run_tables(__doc__, "gate", all_tables))
