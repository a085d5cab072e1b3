#!/usr/bin/env python
"""How often `v2t-eval learn` stops a harmless learning, and how often a harmful one, simulated over shapes of values.

    python scripts/measure_stopping.py -o stopping.json [--runs 500]   # a cell that is in the file is not run again

Asks the rule's own functions; the rule that it replaced (lower than at the start by a 95 % interval, or fallen at two
measures in a row) is restated here and stands beside it. A run: prompts with two clips each, measured at the start and
at every look; the watchers' errors are those of correlated chains, since prompts and seeds stay and weights move; the
reward always rises. Harmless: the mean of no watcher changes. Harmful: that of the first one falls evenly to its fall
at the last look, those of the others stay. docs/learning.md quotes `table`; the same seed gives the same figures.
Letters: R runs, W watchers, G prompts, S clips a prompt.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from measure_gate import Cells, run_cells
from scipy.special import ndtr
from scipy.stats import binom, t  # type: ignore[import-untyped]

from v2t_eval.core.sequential import p_values_and_levels
from v2t_eval.core.statistics import mean_interval, student
from v2t_eval.learn.stopping import ALPHA, OF_GUARDS, alpha_until, guard_level, moved_p

SIZES = (32, 64, 128, 256)
LOOKS, WATCHERS = 5, 2  # of the default recipe
ALIKE, KEPT = 0.5, 0.7  # correlation of two watchers' errors, of a clip's at two looks in a row
CLIPS = 2
OTHERS = (
    ("looks", 10),
    ("watchers", 1),
    ("watchers", 4),
    ("alike", 0),
    ("alike", 0.9),
    ("kept", 0),
    ("kept", 0.95),
)
WORDS = {"looks": "looks: {}", "watchers": "watchers: {}", "alike": "watchers' errors correlated {}",
         "kept": "errors of looks in a row correlated {}"}  # fmt: skip
GUARDS, GUARDED = 3, (1.0, 0.7, 0.5, 0.35)  # of the default recipe; the guard at the last look, times its start
UNEVEN = 0.85  # standard deviation over mean of a prompt's diversity, measured: 45 prompts, two pairs of clips each
AT_ONCE = 250
# From standard normal prompts (R, W, G, 1) and errors (R, W, G, S) and how much the mean is to fall (R, W, 1, 1), to
# values of that mean; a shape may use the look, 0 at the start.
Shape = Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]


def chances(prompts: np.ndarray, fall: np.ndarray) -> np.ndarray:
    """A prompt's chance of being right, even from 0 to 1, less the fall in proportion."""
    return ndtr(prompts) * (1 - fall / 0.5)


def right_wrong(prompts: np.ndarray, errors: np.ndarray, fall: np.ndarray, look: int) -> np.ndarray:
    """1 or 0."""
    return (ndtr(errors) < chances(prompts, fall)).astype(float)


def facts(prompts: np.ndarray, errors: np.ndarray, fall: np.ndarray, look: int) -> np.ndarray:
    """The share of eight facts that are right."""
    steps = [binom.cdf(k, 8, chances(prompts, fall)) for k in range(8)]
    return np.stack([ndtr(errors) > step for step in steps]).sum(0) / 8


def score(prompts: np.ndarray, errors: np.ndarray, fall: np.ndarray, look: int) -> np.ndarray:
    """A similarity: normal, the spread of prompts .03, of clips .02."""
    return 0.3 + 0.03 * prompts + 0.02 * errors - fall


def heavy(prompts: np.ndarray, errors: np.ndarray, fall: np.ndarray, look: int) -> np.ndarray:
    """The same with errors of Student's t of three degrees."""
    return 0.3 + 0.03 * prompts + 0.02 * t.ppf(ndtr(errors), 3) / math.sqrt(3) - fall


def lognormal_values(prompts: np.ndarray, errors: np.ndarray, fall: np.ndarray, look: int) -> np.ndarray:
    """Lognormal, as sharpness is; of mean 1."""
    return np.exp(0.5 * prompts + 0.3 * errors - (0.25 + 0.09) / 2) * (1 - fall)


def ties(prompts: np.ndarray, errors: np.ndarray, fall: np.ndarray, look: int) -> np.ndarray:
    """Four of five prompts never change, but that some of them fall with the fall."""
    moves = np.modf(1e4 * np.abs(prompts))[0] < 0.2
    return np.where(moves, 0.5 + 0.1 * errors - 5 * fall, 0.5)


def few_gain(prompts: np.ndarray, errors: np.ndarray, fall: np.ndarray, look: int) -> np.ndarray:
    """Of values within 0 and 1, 1 of 20 prompts gains .5 and all others lose a little: no change of the mean."""
    gains = np.modf(1e4 * np.abs(prompts))[0] < 0.05
    moved = np.where(gains, 0.5, -0.5 * 0.05 / 0.95) if look else 0.0
    return 0.1 + 0.4 * ndtr(prompts) + 0.02 * errors + moved - fall


def few_lose(prompts: np.ndarray, errors: np.ndarray, fall: np.ndarray, look: int) -> np.ndarray:
    """The other way round."""
    return 1 - few_gain(prompts, errors, -fall, look)


SHAPES: dict[str, tuple[Shape, tuple[float, ...]]] = {  # with the falls to be found
    "right or wrong": (right_wrong, (0.05, 0.1, 0.2)),
    "share of 8 facts": (facts, (0.05, 0.1, 0.2)),
    "similarity (clips' spread .02)": (score, (0.005, 0.01, 0.02)),
    "the same, heavy tails": (heavy, (0.005, 0.01, 0.02)),
    "lognormal, mean 1": (lognormal_values, (0.1, 0.2, 0.3)),
    "80 % ties": (ties, (0.01, 0.02, 0.04)),
    "few gain, most lose a little": (few_gain, (0.05, 0.1, 0.2)),
    "few lose, most gain a little": (few_lose, (0.05, 0.1, 0.2)),
}


def correlated_normal(rng: np.random.Generator, shape: tuple[int, ...], alike: float) -> np.ndarray:
    """Standard normal (R, W, ...), of correlation `alike` between watchers."""
    runs, _, *rest = shape
    return math.sqrt(alike) * rng.standard_normal((runs, 1, *rest)) + math.sqrt(1 - alike) * rng.standard_normal(shape)


def measures(
    rng: np.random.Generator, shape: Shape, fall: float, num: int, runs: int, *, looks: int, watchers: int,
    alike: float, kept: float,
) -> Iterator[np.ndarray]:  # fmt: skip
    """Values (R, W, G, S) at the start and at every look."""
    prompts = correlated_normal(rng, (runs, watchers, num, 1), alike)
    errors = correlated_normal(rng, (runs, watchers, num, CLIPS), alike)
    falls = np.zeros((1, watchers, 1, 1))
    for look in range(looks + 1):
        falls[:, 0] = fall * look / looks
        yield shape(prompts, errors, falls, look)
        errors = kept * errors + math.sqrt(1 - kept**2) * correlated_normal(rng, errors.shape, alike)


def stops(values: Iterator[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """By the new rule and the old one: the look (R,) at which each run is stopped, 0 for never."""
    start, *looks = values
    now = np.stack(looks, axis=1)  # (R, K, V, G, S)
    changes, both = now - start[:, None], (np.maximum, np.minimum)
    most, least = (put(end(now), end(start)[:, None]) for put, end in zip(both, (_top, _bottom), strict=True))
    sums = np.stack([changes.sum(-1), np.full(changes.shape[:-1], float(CLIPS))], axis=-1)  # (R, K, V, G, 2)
    means = changes.mean(-1)
    mean, se = means.mean(-1), means.std(-1, ddof=1) / math.sqrt(means.shape[-1])  # (R, K, V)
    most_p = np.array([alpha_until(look) for look in range(1, len(looks) + 1)])[:, None]
    may_stop = (mean < se * t.ppf(most_p, means.shape[-1] - 1)).any((1, 2))  # the rule asks Student's test, too
    new = np.zeros(mean.shape[:2], dtype=bool)
    for run in np.flatnonzero(may_stop):
        p, levels = p_values_and_levels(sums[run], (most - least)[run], alpha=ALPHA - OF_GUARDS)
        new[run] = (np.stack(p) < levels[:, None]).any(1)
    down = np.diff(mean, axis=1, prepend=0.0) < 0
    down[:, 1:] &= down[:, :-1].copy()
    down[:, 0] = False
    old = (down | (mean + student(means.shape[-1] - 1, 0.025) * se < 0)).any(2)
    return _first(new), _first(old)


def _top(values: np.ndarray) -> np.ndarray:
    return np.asarray(values.max((-1, -2)))


def _bottom(values: np.ndarray) -> np.ndarray:
    return np.asarray(values.min((-1, -2)))


def _first(stopped: np.ndarray) -> np.ndarray:
    """(R, K) to (R,): the first look, from 1; 0 for none."""
    return np.where(stopped.any(1), stopped.argmax(1) + 1, 0)


def stop_shares(rng: np.random.Generator, shape: Shape, fall: float, num: int, runs: int, **how: Any) -> dict[str, Any]:
    """Shares of runs stopped, in per cent, and the median look of the stops."""
    given = {"looks": LOOKS, "watchers": WATCHERS, "alike": ALIKE, "kept": KEPT} | how
    parts = [
        stops(measures(rng, shape, fall, num, min(AT_ONCE, runs - first), **given)) for first in range(0, runs, AT_ONCE)
    ]
    new, old = (np.concatenate(each) for each in zip(*parts, strict=True))
    at = float(np.median(new[new > 0])) if new.any() else None
    return {"new": 100 * float((new > 0).mean()), "old": 100 * float((old > 0).mean()), "look": at, "runs": runs}


def guard_shares(rng: np.random.Generator, to: float, num: int, runs: int) -> dict[str, Any]:
    """Shares of runs that a guard of least .8 stops, by the rule and by its limit alone, where the mean falls evenly to
    so many times its start: a spread of pairs of clips, drawn anew at every look, as uneven as the bundled
    generator's."""
    new, old = np.zeros((runs, LOOKS), dtype=bool), np.zeros((runs, LOOKS), dtype=bool)
    for run in range(runs):
        values = rng.gamma(1 / UNEVEN**2, size=(LOOKS + 1, num)) * np.linspace(1, to, LOOKS + 1)[:, None]
        means, ends = values.mean(1), [mean_interval(one.tolist()) for one in values]
        halves = [max(end.high - mean, mean - end.low) for mean, end in zip(means, ends, strict=True)]
        for look in range(1, LOOKS + 1):
            p = moved_p(means[look] - means[0], math.hypot(halves[0], halves[look]), num)
            old[run, look - 1] = means[look] < 0.8 * means[0]
            new[run, look - 1] = old[run, look - 1] and p < guard_level(look, GUARDS)
    return {"new": 100 * float(new.any(1).mean()), "old": 100 * float(old.any(1).mean()), "runs": runs}


def all_cells(cells: Cells, runs: int) -> None:
    """Twice the runs where nothing is wrong."""
    for shape, (draw, falls) in SHAPES.items():
        for num in SIZES:
            for fall in (0.0, *falls):
                given = (draw, fall, num, runs if fall else 2 * runs)
                cells.run(f"{shape}|{fall:g}|{num}", lambda rng, given=given: stop_shares(rng, *given))  # type: ignore[misc]
    for to in GUARDED:
        for num in SIZES:
            cells.run(f"guard|{to:g}|{num}", lambda rng, to=to, num=num: guard_shares(rng, to, num, runs))  # type: ignore[misc]
    for key, value in OTHERS:
        how = {key: value}
        cells.run(
            f"{key} {value:g}|0|64",
            lambda rng, how=how: stop_shares(rng, right_wrong, 0.0, 64, 2 * runs, **how),  # type: ignore[misc]
        )


def table(figures: dict[str, Any]) -> str:
    """Of what `main` writes: shares of runs that are stopped, in per cent."""

    def share(shape: str, fall: float, num: int, key: str = "new") -> str:
        return f"{figures[f'{shape}|{fall:g}|{num}'][key]:.1f}"

    def both(shape: str, fall: float, num: int) -> str:
        return f"{share(shape, fall, num)} ({share(shape, fall, num, 'old')})"

    def rows(head: str, body: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
        heads = [*head.split(" | "), *(f"{num} prompts" for num in SIZES)]
        lines = ["", f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
        return [*lines, *(f"| {name} | {' | '.join(cells)} |" for name, cells in body)]

    lines = rows(
        "no change; in brackets by the rule before", [(shape, [both(shape, 0, n) for n in SIZES]) for shape in SHAPES]
    )
    lines += ["", "| the same of right or wrong at 64 prompts, but with | stopped |", "|---|---|"]
    lines += [f"| {WORDS[key].format(value)} | {both(f'{key} {value:g}', 0, 64)} |" for key, value in OTHERS]
    lines += rows(
        "harm: values | fall at the last look",
        [(f"{shape} | {fall:g}", [share(shape, fall, n) for n in SIZES]) for shape, (_, falls) in SHAPES.items()
         for fall in falls],
    )  # fmt: skip
    lines += rows(
        "a guard of least 0.8; in brackets by its limit alone",
        [("no change" if to == 1 else f"falls to {to:g} of its start", [both("guard", to, n) for n in SIZES])
         for to in GUARDED],
    )  # fmt: skip
    return "\n".join(lines[1:])


def main() -> int:
    """Run the command line."""
    return run_cells(__doc__, 500, all_cells, table)


if __name__ == "__main__":
    sys.exit(main())
