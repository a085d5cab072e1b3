#!/usr/bin/env python
"""How often the intervals of `v2t-eval rank` hold, and how often it names a wrong best, simulated over shapes of votes.

    python scripts/measure_ranking.py -o ranking.json [--runs 1000]   # a cell that is in the file is not run again

Asks the verb's own functions. A run: k generators, G prompts, votes by a shape; only the first two shapes are the model
that is fitted. What an interval has to hold are the strengths that the same fit gives of so many prompts that they are
exact: of a shape that is not the model these are the closest strengths of it. docs/figures/ranking.md shows `table`;
the same seed gives the same figures. Letters: k generators, G prompts, n votes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from measure_gate import Cells, run_cells

from v2t_eval.rank import bradley_terry as bt

NUMBERS, SIZES = (2, 4, 8), (20, 60, 200)
FAR = 0.8  # the strongest and the weakest of a shape: plus and minus so much
MANY = 400_000  # prompts of the exact strengths, over the number of generators


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How votes come about.

    Attributes:
        ties: Davidson's tie parameter; None for none.
        threshold: difference of two clips below which a vote is a tie (Rao and Kupper); overrides `ties`.
        prompt_sd: standard deviation of a clip's own quality, in log-odds: votes on one clip go together.
        guesses: share of votes that are thrown, by a die of three.
        left: what the left one gains, in log-odds.
        probit: the noise of a vote is normal and not logistic.
        unseen: share of prompts on which every vote is a tie.
        votes: votes of a prompt on pairs drawn at random; 0: every pair once, in an order drawn at random.
        far: of the strongest.
        position: whether the fit has a position.
    """

    ties: float | None = 0.0
    threshold: float = 0.0
    prompt_sd: float = 0.0
    guesses: float = 0.0
    left: float = 0.0
    probit: bool = False
    unseen: float = 0.0
    votes: int = 0
    far: float = FAR
    position: bool = False


SHAPES = {
    "the model, without ties": Shape(ties=None),
    "the model, about a third ties": Shape(),
    "ties by a threshold (Rao-Kupper), 25-40 %": Shape(threshold=0.8),
    "clips differ: spread 1 of a clip's own": Shape(prompt_sd=1.0),
    "clips differ: spread 2, three votes a prompt": Shape(prompt_sd=2.0, votes=3),
    "normal noise (Thurstone), ties by a threshold": Shape(threshold=0.5, probit=True),
    "one vote in four is a guess": Shape(guesses=0.25),
    "left gains 1, five votes a prompt": Shape(left=1.0, votes=5),
    "the same, with a position in the fit": Shape(left=1.0, votes=5, position=True),
    "every vote of one prompt in three a tie": Shape(unseen=1 / 3),
    "one vote a prompt": Shape(votes=1, ties=-1.0),
    "far apart: strongest and weakest 3 apart": Shape(far=1.5, ties=-1.0),
    "farther: 5 apart": Shape(far=2.5, ties=-1.0),
}


def strengths_of(case: str, num: int, far: float) -> np.ndarray:
    """(k,): all different, all equal, or the two best equal."""
    if case == "equal":
        return np.zeros(num)
    spread = np.linspace(far, -far, num)
    if case == "two best equal":
        spread[1] = spread[0]
    return spread - spread.mean()


def votes(
    rng: np.random.Generator, shape: Shape, strengths: np.ndarray, prompts: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Left, right, winner and prompt of each vote, (n,) each."""
    num = len(strengths)
    pairs = np.array([(a, b) for a in range(num) for b in range(a + 1, num)])
    each = shape.votes or len(pairs)
    at = np.repeat(np.arange(prompts), each)
    which = rng.integers(len(pairs), size=len(at)) if shape.votes else np.tile(np.arange(len(pairs)), prompts)
    turned = rng.random(len(at)) < 0.5
    left, right = np.where(turned, pairs[which, 1], pairs[which, 0]), np.where(turned, pairs[which, 0], pairs[which, 1])
    quality = strengths + shape.prompt_sd * rng.standard_normal((prompts, num))  # (G, k)
    gap = quality[at, left] - quality[at, right] + shape.left
    if shape.threshold:
        draw = rng.standard_normal(len(at)) if shape.probit else rng.logistic(size=len(at))
        seen = gap + draw
        winner = np.where(seen > shape.threshold, bt.LEFT, np.where(seen < -shape.threshold, bt.RIGHT, bt.TIE))
    else:
        tie = 0.0 if shape.ties is None else np.exp(shape.ties)
        weights = np.stack([np.exp(gap / 2), np.full(len(at), tie), np.exp(-gap / 2)], 1)  # (n, 3)
        shares = (weights / weights.sum(1, keepdims=True)).cumsum(1)
        winner = (rng.random(len(at))[:, None] > shares[:, :2]).sum(1)
    thrown = rng.random(len(at)) < shape.guesses
    winner = np.where(thrown, rng.integers(3, size=len(at)), winner)
    blank = rng.random(prompts) < shape.unseen
    return left, right, np.where(blank[at], bt.TIE, winner), at


def exact(rng: np.random.Generator, shape: Shape, strengths: np.ndarray) -> np.ndarray:
    """(k,): the strengths that the fit tends to, of sum zero."""
    left, right, winner, _ = votes(rng, shape, strengths, MANY // len(strengths))
    num = len(strengths)
    cells, where = np.unique(left * num + right, return_inverse=True)
    counts = np.zeros((len(cells), 3))
    np.add.at(counts, (where, winner), 1e4)  # the prior weighs nothing
    features = bt._features(cells // num, cells % num, num, position=shape.position)
    beta, _ = bt.maximum(features, counts, num)
    return np.asarray(beta[:num] - beta[:num].mean())


def shares(rng: np.random.Generator, shape: Shape, case: str, num: int, prompts: int, runs: int) -> dict[str, Any]:
    """Of the runs in per cent: intervals that hold the strength, and the difference of two; a wrong best; the true
    best named; a pair in the wrong order held apart."""
    given = strengths_of(case, num, shape.far)
    true = exact(rng, shape, given) if case == "different" else given
    held, gaps, wrong, named, turned, ties = 0, 0, 0, 0, 0, 0.0
    pairs = [(a, b) for a in range(num) for b in range(a + 1, num)]
    for _ in range(runs):
        left, right, winner, at = votes(rng, shape, given, prompts)
        ties += float((winner == bt.TIE).mean())
        result = bt.fit(left, right, winner, at, num, position=shape.position)
        for one in range(num):
            low, high = result.interval(one)
            held += low <= true[one] <= high
        for a, b in pairs:
            low, high = result.difference(a, b)[1]
            gaps += low <= true[a] - true[b] <= high
        apart = result.apart()
        first = bt.best(apart)
        is_right = case == "different" and first == 0
        wrong += first is not None and not is_right
        named += is_right
        turned += bool(any(apart[b, a] if given[a] > given[b] else apart[a, b] or apart[b, a]
                           for a, b in pairs if given[a] >= given[b]))  # fmt: skip
    per = 100 / runs
    figures = {"wrong": wrong * per, "named": named * per, "turned": turned * per, "ties": ties * per}
    if case == "different":
        figures |= {"strength": held * per / num, "difference": gaps * per / len(pairs)}
    return {name: round(float(value), 2) for name, value in figures.items()} | {"runs": runs}


AGAIN = "again: "  # before the names of the two worst cells of equal generators, with ten times the runs
CASES = ("different", "equal", "two best equal")


def all_cells(cells: Cells, runs: int) -> None:
    """Every shape and case; the two cells in which a best is named most often among equals once more."""
    for name, shape in SHAPES.items():
        for case in CASES:
            for num in NUMBERS:
                for prompts in SIZES:
                    if case == "two best equal" and num == 2:
                        continue
                    given = (shape, case, num, prompts, runs)
                    cells.run(f"{name}|{case}|{num}|{prompts}", lambda rng, given=given: shares(rng, *given))  # type: ignore[misc]

    worst = sorted((name for name in cells.results if "|equal|" in name and not name.startswith(AGAIN)),
                   key=lambda name: -cells.results[name]["wrong"])[:2]  # fmt: skip
    for name in worst:
        shape, case, num, prompts = name.split("|")
        again = (SHAPES[shape], case, int(num), int(prompts), 10 * runs)
        cells.run(AGAIN + name, lambda rng, again=again: shares(rng, *again))  # type: ignore[misc]


def table(figures: dict[str, Any]) -> str:
    """Of what `main` writes: Markdown, in per cent."""

    def rows(case: str, key: str, numbers: Sequence[int] = NUMBERS) -> list[str]:
        heads = [f"{num} × {prompts}" for num in numbers for prompts in SIZES]
        lines = [f"| votes | {' | '.join(heads)} |", "|" + "---|" * (1 + len(heads))]
        for name in SHAPES:
            row = [f"{figures[f'{name}|{case}|{num}|{prompts}'][key]:.1f}" for num in numbers for prompts in SIZES]
            lines.append(f"| {name} | {' | '.join(row)} |")
        return lines

    parts = (
        ("Intervals of 95 % of a strength that hold it", rows("different", "strength")),
        ("The same of the difference of two", rows("different", "difference")),
        ("All equal: a best is named", rows("equal", "wrong")),
        ("All equal: some pair is held apart", rows("equal", "turned")),
        ("The two best equal: a best is named", rows("two best equal", "wrong", NUMBERS[1:])),
        ("All different: a wrong best is named", rows("different", "wrong")),
        ("All different: the true best is named", rows("different", "named")),
        ("All different: share of ties", rows("different", "ties")),
    )
    again = [
        f"- {name.removeprefix(AGAIN)}: {figures[name.removeprefix(AGAIN)]['wrong']:.1f}, and {cell['wrong']:.1f} in "
        f"{cell['runs']} runs"
        for name, cell in figures.items()
        if name.startswith(AGAIN)
    ]
    lines = [
        "All equal, a best is named: the two worst cells (votes, case, generators, prompts) once more:",
        "",
        *again,
    ]
    return (
        "\n".join(lines)
        + "\n\n"
        + "\n\n".join(f"{head}; columns are generators × prompts:\n\n" + "\n".join(lines) for head, lines in parts)
    )


def main() -> int:
    """Run the command line."""
    return run_cells(__doc__, 1000, all_cells, table)


if __name__ == "__main__":
    sys.exit(main())
