#!/usr/bin/env python
"""How often `v2t-eval pick` drops the best checkpoint or calls another one the best, and what it draws, simulated.

    python scripts/measure_pick.py -o pick.json [--runs 300]   # a cell that is in the file is not run again

Asks the rule's own functions (`v2t_eval.pick.choice`), over shapes of values that it was not made on, at another number
of draws of weights. A run: M checkpoints, G prompts in a random order, one clip each or several whose seeds are alike.
docs/picking.md quotes `table`; the same seed gives the same figures.
Letters: M checkpoints, G prompts, S clips a prompt.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from measure_gate import Cells, run_cells
from scipy.special import ndtr
from scipy.stats import t  # type: ignore[import-untyped]

from v2t_eval.core.changes import ends
from v2t_eval.core.metric import MetricResult
from v2t_eval.pick.choice import PairedTotals, drops, look_sizes, prompts_to_decide

NUM_DRAWS = 2000  # of weights; a pick takes 10,000
SIZES = (48, 96)
WHOLE = (0.0, 1.0)  # the range of a metric with two ends
# From standard normal prompts (G, 1), errors (M, G, S) and means (M, 1, 1) to values of these means.
Shape = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def right_wrong(prompts: np.ndarray, errors: np.ndarray, means: np.ndarray) -> np.ndarray:
    """1 or 0; how hard a prompt is moves all checkpoints."""
    from scipy.special import ndtri

    chance = ndtr(ndtri(means) * math.sqrt(2) + prompts)  # its mean over prompts is `means`
    return np.asarray((ndtr(errors) < chance).astype(float))


def facts(prompts: np.ndarray, errors: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Within 0 and 1, in eighths."""
    from scipy.special import ndtri

    chance = ndtr(ndtri(means) * math.sqrt(2) + 0.7 * prompts + math.sqrt(0.51) * errors)
    return np.asarray(np.floor(8 * chance + 0.5) / 8)


def score(prompts: np.ndarray, errors: np.ndarray, means: np.ndarray) -> np.ndarray:
    """A similarity: normal, the spread of prompts .06, of clips .04."""
    return np.asarray(0.06 * prompts + 0.04 * errors + means)


def heavy(prompts: np.ndarray, errors: np.ndarray, means: np.ndarray) -> np.ndarray:
    """The same with errors of Student's t of three degrees."""
    return np.asarray(0.06 * prompts + 0.04 * t.ppf(ndtr(errors), 3) / math.sqrt(3) + means)


def lognormal_values(prompts: np.ndarray, errors: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Lognormal, as sharpness is."""
    return np.asarray(np.exp(0.5 * prompts + 0.3 * errors - (0.25 + 0.09) / 2) * means)


def few_decide(prompts: np.ndarray, errors: np.ndarray, means: np.ndarray) -> np.ndarray:
    """1 of 20 prompts of each checkpoint loses .5, all others gain a little: skewed, no change of the mean."""
    loses = np.modf(1e4 * np.abs(errors))[0] < 0.05
    return np.asarray(means + 0.05 * prompts + np.where(loses, -0.5 * 0.95, 0.5 * 0.05))


def few_win(prompts: np.ndarray, errors: np.ndarray, means: np.ndarray) -> np.ndarray:
    """The other way round."""
    return np.asarray(2 * means - few_decide(prompts, errors, means))


# By name: the shape, the range of the metric, the best mean, and the step between checkpoints where they differ.
SHAPES: dict[str, tuple[Shape, tuple[float, float], float, float]] = {
    "right or wrong": (right_wrong, WHOLE, 0.7, 0.1),
    "share of 8 facts": (facts, WHOLE, 0.7, 0.1),
    "similarity": (score, (-1.0, 1.0), 0.3, 0.03),
    "the same, heavy tails": (heavy, (-math.inf, math.inf), 0.3, 0.03),
    "lognormal": (lognormal_values, (0.0, math.inf), 1.0, 0.15),
    "few prompts lose much": (few_decide, WHOLE, 0.6, 0.08),
    "few prompts win much": (few_win, WHOLE, 0.4, 0.08),
}
# Places of the checkpoints below the best one, in steps.
FIELDS: dict[str, tuple[float, ...]] = {
    "all equal": (0, 0, 0, 0, 0, 0),
    "two best": (0, 0, 1, 2, 3, 4),
    "best and five near ones": (0, 0.25, 0.25, 0.25, 0.25, 0.25),
    "in steps": (0, 1, 2, 3, 4, 5),
}


def contest(values: np.ndarray, ends_of: tuple[float, float]) -> dict[str, Any]:
    """One pick: which checkpoints are left, clips drawn, and the prompts that would decide between the two first ones.
    `values`: (M, G, S)."""
    num, prompts, clips = values.shape
    totals, left, rounds, draws, before, level = values.sum(2), list(range(num)), list[PairedTotals](), 0, 0, 0.0
    for size in look_sizes(prompts):
        draws += len(left) * (size - before) * clips
        before = size
        seen = np.arange(prompts) < size
        rounds.append(
            PairedTotals(
                totals=totals[left] * seen,
                counts=clips * seen.astype(float),
                span=span(values, seen, ends_of),
                num_draws=NUM_DRAWS,
            )
        )
        worse, level = drops(rounds)
        gone = {left[one.number] for one in worse}
        left = [name for name in left if name not in gone]
        if len(left) < 2:
            break
    return {"left": left, "draws": draws, "look": rounds[-1], "level": level}


def span(values: np.ndarray, seen: np.ndarray, ends_of: tuple[float, float]) -> float:
    """As `v2t_eval.pick.field` takes it: the metric's range, beyond the values seen where that is open."""
    if all(map(math.isfinite, ends_of)):
        return ends_of[1] - ends_of[0]
    result = MetricResult(name="", headline="", figures={}, n=0, coverage=1.0, items=[], fingerprint={},
                          higher_is_better=True, value_range=ends_of)  # fmt: skip
    every = np.arange(int(seen.sum()))
    both = [ends(result, [one[seen].mean(1).tolist()], every.tolist(), None) for one in values]
    return max(best for _, best in both) - min(worst for worst, _ in both)


def shares(rng: np.random.Generator, shape: str, places: Sequence[float], num: int, runs: int, *, clips: int = 1,
           alike: float = 0.0) -> dict[str, Any]:  # fmt: skip
    """In per cent of runs: a best one dropped, another one called the best, one called the best at all; and of all
    clips those drawn. `alike`: correlation of the errors of checkpoints for the same prompt and seed."""
    draw, ends_of, top, step = SHAPES[shape]
    below = np.array(places)
    means = (top - step * below)[:, None, None]
    best = set(np.flatnonzero(below == 0).tolist())
    counts = {"dropped": 0, "wrong": 0, "decided": 0}
    drawn = 0
    for _ in range(runs):
        prompts = rng.standard_normal((num, 1))
        same = rng.standard_normal((num, clips))
        own = rng.standard_normal((len(below), num, clips))
        values = draw(prompts, math.sqrt(alike) * same + math.sqrt(1 - alike) * own, means)
        came = contest(values, ends_of)
        left = set(came["left"])
        counts["dropped"] += not best <= left
        counts["decided"] += len(left) == 1
        counts["wrong"] += len(left) == 1 and not left <= best
        drawn += came["draws"]
    return {key: 100 * count / runs for key, count in counts.items()} | {
        "draws": 100 * drawn / (runs * len(below) * num * clips), "runs": runs,
    }  # fmt: skip


def advice(rng: np.random.Generator, shape: str, lead: float, num: int, runs: int) -> dict[str, Any]:
    """Two checkpoints, one better by `lead` steps: of the picks that cannot tell, how many prompts in all they ask for
    (median), and how many a pick with so many more decides, in per cent."""
    draw, ends_of, top, step = SHAPES[shape]
    means = np.array([top, top - lead * step])[:, None, None]
    asked, decided = [], []
    for _ in range(runs):
        prompts, errors = rng.standard_normal((num, 1)), rng.standard_normal((2, num, 1))
        came = contest(draw(prompts, errors, means), ends_of)
        if len(came["left"]) == 1:
            continue
        first = int(np.argmax(came["look"].means))
        wanted = prompts_to_decide(came["look"], first, 1 - first, came["level"])
        if wanted is None or wanted > 2000:
            continue
        asked.append(wanted)
        more = max(wanted, num + 1)
        values = draw(rng.standard_normal((more, 1)), rng.standard_normal((2, more, 1)), means)
        decided.append(len(contest(values, ends_of)["left"]) == 1)
    return {"asked": float(np.median(asked)) if asked else None, "undecided": 100 * len(asked) / runs,
            "decided": 100 * float(np.mean(decided)) if decided else None, "runs": runs}  # fmt: skip


def all_cells(cells: Cells, runs: int) -> None:
    """Twice the runs where all are equal: there the error is greatest."""
    for shape in SHAPES:
        for field, places in FIELDS.items():
            for num in SIZES:
                given = (shape, places, num, 2 * runs if field == "all equal" else runs)
                cells.run(f"{shape}|{field}|{num}", lambda rng, given=given: shares(rng, *given))  # type: ignore[misc]
    for name, how in OTHERS.items():
        cells.run(f"other|{name}", lambda rng, how=how: shares(rng, "right or wrong", num=48, runs=runs, **how))  # type: ignore[misc]
    for lead in (0.5, 1.0):
        cells.run(f"advice|{lead:g}", lambda rng, lead=lead: advice(rng, "share of 8 facts", lead, 48, runs))  # type: ignore[misc]


OTHERS: dict[str, dict[str, Any]] = {
    "4 clips a prompt": {"places": FIELDS["all equal"], "clips": 4},
    "checkpoints alike (.9)": {"places": FIELDS["all equal"], "alike": 0.9},
    "two checkpoints": {"places": (0, 0)},
    "12 checkpoints": {"places": (0,) * 12},
}


def highest(figures: dict[str, Any], key: str) -> float:
    """Over all cells."""
    return max(float(cell[key]) for name, cell in figures.items() if key in cell)


def table(figures: dict[str, Any]) -> str:
    """Of what `main` writes, in per cent of runs."""
    lines = []
    for field in FIELDS:
        heads = [f"{field}, {num} prompts: {what}" for num in SIZES for what in ("wrong best", "best dropped",
                                                                                  "decided", "drawn")]  # fmt: skip
        lines += ["", f"| {field}: values | " + " | ".join(head.partition(", ")[2] for head in heads) + " |",
                  "|---" * (len(heads) + 1) + "|"]  # fmt: skip
        for shape in SHAPES:
            cells = [figures[f"{shape}|{field}|{num}"] for num in SIZES]
            row = [f"{cell[key]:.1f}" if key != "draws" else f"{cell[key]:.0f}"
                   for cell in cells for key in ("wrong", "dropped", "decided", "draws")]  # fmt: skip
            lines.append(f"| {shape} | {' | '.join(row)} |")
    lines += [
        "",
        "| right or wrong, all equal, 48 prompts, but with | wrong best | best dropped | drawn |",
        "|---|---|---|---|",
    ]
    for name in OTHERS:
        cell = figures[f"other|{name}"]
        lines.append(f"| {name} | {cell['wrong']:.1f} | {cell['dropped']:.1f} | {cell['draws']:.0f} |")
    heads = ("two checkpoints, share of 8 facts, 48 prompts: better by", "not distinguished",
             "prompts asked for (median)",
             "decided with so many")  # fmt: skip
    lines += ["", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for lead in (0.5, 1.0):
        cell = figures[f"advice|{lead:g}"]
        asked, decided = ("–" if cell[key] is None else f"{cell[key]:.0f}" for key in ("asked", "decided"))
        lines.append(f"| {lead * SHAPES['share of 8 facts'][3]:g} | {cell['undecided']:.0f} | {asked} | {decided} |")
    return "\n".join(lines[1:])


def main() -> int:
    """Run the command line."""
    return run_cells(__doc__, 300, all_cells, table)


if __name__ == "__main__":
    sys.exit(main())
