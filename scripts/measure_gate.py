#!/usr/bin/env python
"""How often the gate errs, simulated over shapes of data; `measure_intervals.py` does the same for intervals.

    python scripts/measure_gate.py -o runs/gate              # every cell; one that is in gate.json is not run again

Every cell asks the gate's own functions, its bounds and p with fewer draws of their weights; the rule before, which
measured what a missing prompt can lose from the baseline's mean, stands beside the new one. Writes gate.json after each
cell, and gate.md; `--figures` writes docs/figures/gate.json, from which scripts/results.py fills
docs/gate-statistics.md. The same seed gives the same tables.
Letters: R runs, G prompts, S clips of a prompt.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gate_shapes import FALL, RISE, SHAPES, Drawn, Shape, one_each

from cineloop.files import write_atomic
from v2t_eval.core.bounds import beyond, lower_bounds, p_values
from v2t_eval.core.metric import MetricResult
from v2t_eval.core.power import least_margin
from v2t_eval.core.scores import ItemScores, Scores
from v2t_eval.core.statistics import parts_of_variance
from v2t_eval.gate.advice import least_margin_of, null_changes
from v2t_eval.gate.guards import motion

FIGURES = Path(__file__).resolve().parent.parent / "docs" / "figures"
ALPHA, POWER = 0.05, 0.8
SIZES = (20, 60, 200)
USUAL = (0.05, 0.1)  # margins at which an unchanged candidate is asked to pass
TIMES = (0.5, 1.0, 2.0)  # the least margin, for errors at a harm of the margin
OPEN_TIMES = (0.25, 0.375, *TIMES)  # likewise, where what the best prompts carry is far less than the least margin
HALVES = (0.5, 1.0)  # likewise, at a harm of half the margin
DRAWS, AT_ONCE = 4000, 250  # of the weights; runs in memory
LOOKS = 6  # times as many runs for two looks


# --- the rules


def distances(drawn: Drawn, *, is_open: bool, is_new: bool) -> tuple[np.ndarray, np.ndarray]:
    """How much a prompt that the sample lacks can lose and gain, (R,) each, by the new rule and by the one before."""
    sums, base = drawn
    means = sums[..., 0] / sums[..., 1]
    most = np.abs(means).max(1)
    if is_new:
        span = np.ones(len(sums)) if base is None or not is_open else np.maximum(beyond(base), beyond(base + means))
        return np.maximum(span, most), np.maximum(span, most)
    fall, rise = np.full(len(sums), FALL), np.full(len(sums), RISE)
    if base is not None:
        fall, rise = base.mean(1), np.maximum(base, base + means).max(1) - base.mean(1)
    return np.maximum(fall, -means.min(1)), np.maximum(rise, means.max(1))


def lows(drawn: Drawn, *, is_open: bool, is_new: bool, alpha: float = ALPHA) -> np.ndarray:
    """Lower bounds (R,): those above -margin pass."""
    fall, _ = distances(drawn, is_open=is_open, is_new=is_new)
    parts = range(0, len(fall), AT_ONCE)
    sums = drawn[0]
    bounds = [lower_bounds(sums[i : i + AT_ONCE], fall[i : i + AT_ONCE], alpha, num_draws=DRAWS) for i in parts]
    return np.concatenate(bounds)


def ps(drawn: Drawn, accepted: float, *, is_open: bool, is_new: bool) -> np.ndarray:
    """P (R,) of the accepted harm: those below alpha fail."""
    _, rise = distances(drawn, is_open=is_open, is_new=is_new)
    parts = range(0, len(rise), AT_ONCE)
    sums = drawn[0]
    values = [p_values(sums[i : i + AT_ONCE], rise[i : i + AT_ONCE], accepted, num_draws=DRAWS) for i in parts]
    return np.concatenate(values)


# --- cells


class Cells:
    """Results by name, kept in a file after each: one that is there is not run again. `results`: those that are there,
    without a file."""

    def __init__(self, path: Path | None, results: dict[str, Any] | None = None) -> None:
        self.path = path
        self.results: dict[str, Any] = results or (json.loads(path.read_text()) if path and path.exists() else {})
        self.begun = time.perf_counter()

    def run(self, name: str, measure: Callable[[np.random.Generator], Any]) -> Any:
        """The cell's result; its seed is made from its name."""
        if name not in self.results and self.path is None:
            raise KeyError(f"no cell {name!r}: run the script that measures it with --figures")
        if name not in self.results and self.path is not None:
            self.results[name] = measure(np.random.default_rng(zlib.crc32(name.encode())))
            write_atomic(self.path, (json.dumps(self.results, indent=1) + "\n").encode())
            print(f"{time.perf_counter() - self.begun:6.0f} s  {name}: {self.results[name]}", file=sys.stderr)
        return self.results[name]


def run_tables(description: str, name: str, make_tables: Callable[[Cells, int], list[str]]) -> int:
    """The command line of a simulation: its cells in `NAME.json`, its tables in `NAME.md` and on stdout."""
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--figures", action="store_true", help=f"write docs/figures/{name}.json too")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    cells = Cells(args.output / f"{name}.json")
    text = "\n".join(make_tables(cells, args.runs)) + "\n"
    if args.figures:
        stamp = {
            "command": f"python scripts/{Path(sys.argv[0]).name} -o runs/gate --figures"
            + (f" --runs {args.runs}" if args.runs != parser.get_default("runs") else ""),
            "device": f"CPU, {os.cpu_count()} cores",
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
        }
        data = json.dumps({"measured": stamp, "cells": cells.results}, indent=1) + "\n"
        write_atomic(FIGURES / f"{name}.json", data.encode())
    write_atomic(args.output / f"{name}.md", text.encode())
    print(text)
    return 0


def run_cells(
    description: str, runs: int, all_cells: Callable[[Cells, int], Any], table: Callable[[dict[str, Any]], str]
) -> int:
    """The command line of a simulation whose -o is the file of its cells; its table on stdout."""
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("--runs", type=int, default=runs)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    cells = Cells(args.output)
    all_cells(cells, args.runs)
    print(table(cells.results))
    return 0


def of_gate(shape: Shape, num: int, runs: int) -> Callable[[np.random.Generator], Any]:
    """The least margin of both rules, and shares of R runs in per cent: unchanged candidates that pass at usual margins
    and that fail, and errors at harms of the margin and of half of it, for margins of `TIMES` the least one."""

    def measure(rng: np.random.Generator) -> dict[str, Any]:
        figures: dict[str, Any] = {}
        unchanged = shape.draw(rng, runs, num, 0.0)
        both_lows = {name: lows(unchanged, is_open=shape.is_open, is_new=name == "new") for name in ("new", "old")}
        for name, low in both_lows.items():
            figures[f"{name} least"] = float(np.quantile(-low, POWER))
            figures |= {f"{name} pass at {margin}": 100 * float((low > -margin).mean()) for margin in USUAL}
        least = figures["new least"]
        # name, harm, margin, what is counted
        asked = [("0", 0.0, HALVES[0] * least, "fail")]
        asked += [(f"half, {times}", times * least / 2, times * least, "fail") for times in HALVES]
        asked += [
            (f"margin, {times}", times * least, times * least, "pass")
            for times in (OPEN_TIMES if shape.is_open else TIMES)
        ]
        asked += [("two margins", 2 * least, least, "fail")]
        for what, harm, margin, verdict in asked:
            if harm > shape.most:
                continue
            drawn = shape.draw(rng, runs, num, harm) if harm else unchanged
            for name in ("new", "old"):
                how: Any = {"is_open": shape.is_open, "is_new": name == "new"}
                hit = lows(drawn, **how) > -margin if verdict == "pass" else ps(drawn, margin / 2, **how) < ALPHA
                figures[f"{name} {what}"] = 100 * float(hit.mean())
        return figures

    return measure


def of_looks(alpha: float, runs: int) -> Callable[[np.random.Generator], Any]:
    """60 prompts, and where these are inconclusive the same and 60 more: passes in error at a harm of the margin, which
    is the least one of 120."""

    def measure(rng: np.random.Generator) -> dict[str, float]:
        draw, how, passed = SHAPES["normal"].draw, {"is_open": False, "is_new": True}, np.zeros(2)
        margin = float(np.quantile(-lows(draw(rng, runs, 120, 0.0), **how), POWER))
        for _ in range(LOOKS):  # in parts, for the memory
            sums, _ = draw(rng, runs, 120, margin)
            first = lows((sums[:, :60], None), alpha=alpha, **how) > -margin
            failed = ps((sums[:, :60], None), margin / 2, **how) < alpha
            second = lows((sums, None), alpha=alpha, **how) > -margin
            passed += first.mean(), (first | (~failed & second)).mean()
        return dict(zip(("first", "either"), (100 * passed / LOOKS).tolist(), strict=True))

    return measure


# --- what `gate init` prints, and the motion guard


def seeds_of(kind: str, rng: np.random.Generator, num: int) -> Callable[[int], np.ndarray]:
    """Values (G, S) of any number S of seeds of the same prompts, within 0 and 1."""
    if kind == "right or wrong, seeds alike":
        own = rng.beta(0.7, 0.3, (num, 1))
        return lambda per: (rng.random((num, per)) < own).astype(float)
    if kind == "right or wrong, seeds not alike":
        return lambda per: (rng.random((num, per)) < 0.7).astype(float)
    own = rng.normal(0.6, 0.1, (num, 1))
    return lambda per: np.clip(own + rng.normal(0, 0.1, (num, per)), 0, 1)


def of_init(kind: str, per: int, num: int, runs: int) -> Callable[[np.random.Generator], Any]:
    """The least margin that `gate init` prints, and the share of unchanged candidates that pass at it, in per cent;
    before, the spread of one clip a prompt counted as none, and no steps."""
    each = 20  # candidates of a baseline

    def measure(rng: np.random.Generator) -> dict[str, float]:
        clusters: list[int] = np.repeat(np.arange(num), per).tolist()
        rows = []
        for _ in range(runs // each):
            draw = seeds_of(kind, rng, num)
            base = draw(per)
            values = base.ravel().tolist()
            new = least_margin_of(null_changes(values, clusters), 1.0, alpha=ALPHA, power=POWER)
            parts = parts_of_variance(values, clusters)
            se = math.sqrt(2 * parts[1] / base.size) if parts else 0.0
            old = least_margin(se, num, float(base.mean()), alpha=ALPHA, power=POWER)
            sums = np.stack([draw(per).sum(1) - base.sum(1) for _ in range(each)])
            low = lower_bounds(np.stack([sums, np.full_like(sums, per)], axis=2), 1.0, ALPHA, num_draws=DRAWS)
            rows.append((new, old, 100 * float((low > -new).mean()), 100 * float((low > -old).mean())))
        return dict(zip(("new", "old", "new pass", "old pass"), np.mean(rows, axis=0).tolist(), strict=True))

    return measure


def motion_scores(values: np.ndarray) -> Scores:
    """Scores of a metric of motion, one clip a prompt."""
    clips = [ItemScores(id=str(n), cluster=str(n)) for n in range(len(values))]
    items = [{"id": str(n), "value": float(value)} for n, value in enumerate(values)]
    result = MetricResult(name="motion", headline="motion", figures={}, n=len(clips), coverage=1.0, fingerprint={},
                         items=items)  # fmt: skip
    return Scores(sources={}, clips=clips, results=[result])


def of_motion(spread: float, num: int, scale: float, runs: int) -> Callable[[np.random.Generator], Any]:
    """How often the motion guard fails and is inconclusive, in per cent, where all clips move `scale` as much; before,
    every clip counted in full, and the greatest one was what a missing prompt may gain."""
    least = 0.7

    def measure(rng: np.random.Generator) -> dict[str, float]:
        counts = np.zeros(4)
        for _ in range(runs):
            own = rng.normal(0, spread / math.sqrt(2), num)
            before, after = (np.exp(own + rng.normal(0, spread / math.sqrt(2), num)) for _ in range(2))
            after *= scale
            guard = motion(motion_scores(after), motion_scores(before), least)
            if guard is None or guard.p is None:
                raise ValueError("no motion was compared")
            most = max(before.max(), after.max())
            p = float(p_values(one_each((after - least * before)[None]), most, 0.0, num_draws=DRAWS)[0])
            is_less = after.sum() < least * before.sum()
            less = not guard.is_within
            counts += less and guard.p < ALPHA, less and guard.p >= ALPHA, is_less and p < ALPHA, is_less and p >= ALPHA
        names = ("new fail", "new unsure", "old fail", "old unsure")
        return dict(zip(names, (100 * counts / runs).tolist(), strict=True))

    return measure


def advice_tables(cells: Cells, runs: int) -> list[str]:
    """What `gate init` prints, and the motion guard."""
    lines = [
        "\n| values | clips a prompt | prompts | margin that `gate init` prints | passes: no change |",
        "|---|---|---|---|---|",
    ]
    for kind in ("right or wrong, seeds alike", "right or wrong, seeds not alike", "normal"):
        for per in (1, 2, 4):
            for num in SIZES[:2]:
                shares = cells.run(f"init, {kind}, {per}, {num}, {runs}", of_init(kind, per, num, runs))
                shown = [
                    f"{shares['new']:.3f} ({shares['old']:.3f})",
                    f"{shares['new pass']:.0f} ({shares['old pass']:.0f})",
                ]
                lines.append(f"| {' | '.join([kind, str(per), str(num), *shown])} |")
    scales = (1.0, 0.7, 0.5, 0.35)
    lines += [
        "\n| motion, lognormal | clips | "
        + " | ".join(f"{scale:g} of it: fails | inconclusive" for scale in scales)
        + " |",
        "|---|---|" + "---|" * 2 * len(scales),
    ]
    for spread in (1.0, 1.5):
        for num in (60, 180):
            shown = []
            for scale in scales:
                shares = cells.run(f"motion, {spread}, {num}, {scale}, {runs}", of_motion(spread, num, scale, runs))
                shown += [f"{shares[f'new {one}']:.1f} ({shares[f'old {one}']:.1f})" for one in ("fail", "unsure")]
            lines.append(f"| {spread:g} | {num} | {' | '.join(shown)} |")
    return lines


# --- the whole


def all_tables(cells: Cells, runs: int) -> list[str]:
    """Of the gate's rule, its advice and its guard of motion."""
    return [*gate_tables(cells, runs), *advice_tables(cells, runs)]


def gate_tables(cells: Cells, runs: int) -> list[str]:
    """Errors and power of the rule, a row for each shape."""
    sizes = " / ".join(map(str, SIZES))
    head = ["changes", "least margin", *(f"passes: no change at {margin}" for margin in USUAL), "fails: no change",
            "fails: harm of half the margin", "passes: harm of the margin", "fails: of two least margins"]  # fmt: skip
    lines = [f"{sizes} prompts, {runs:,} runs a cell, in per cent; the rule before in brackets.\n",
             f"| {' | '.join(head)} |", "|" + "---|" * len(head)]  # fmt: skip
    for name, shape in SHAPES.items():
        cells_of_sizes = [cells.run(f"gate, {name}, {num}, {runs}", of_gate(shape, num, runs)) for num in SIZES]
        usual = [] if shape.is_open else [f"pass at {margin}" for margin in USUAL]
        shown = [_by_size(cells_of_sizes, "least", 3), *(_by_size(cells_of_sizes, each, 0) for each in usual)]
        shown += ["–"] * (1 + len(USUAL) - len(shown))
        shown += [_by_size(cells_of_sizes, each, 1) for each in ("0", "half", "margin", "two margins")]
        lines.append(f"| {name} | {' | '.join(shown)} |")
    lines += ["\n| two looks, 60 and 120 prompts | passes at a harm of the margin: first | either |", "|---|---|---|"]
    for alpha in (ALPHA, ALPHA / 2):
        found_looks = cells.run(f"looks, {alpha}, {LOOKS * runs}", of_looks(alpha, runs))
        lines.append(f"| alpha {alpha:g} at each | {found_looks['first']:.1f} | {found_looks['either']:.1f} |")
    return lines


def _by_size(cells: Sequence[dict[str, float]], name: str, places: int) -> str:
    """The worst figure of this name at each number of prompts, the rule before in brackets."""

    def of_rule(rule: str) -> str:
        values = [[v for key, v in each.items() if key.startswith(f"{rule} {name}")] for each in cells]
        return " / ".join(f"{max(each):.{places}f}" if each else "–" for each in values)

    return f"{of_rule('new')} ({of_rule('old')})"


if __name__ == "__main__":
    sys.exit(run_tables(__doc__, "gate", all_tables))
