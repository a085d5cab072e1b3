#!/usr/bin/env python
"""How near corrected figures come to the truth, and how often a gate by corrected values errs, simulated.

    python scripts/measure_correction.py -o runs/gate --figures    # a cell that is in the file is not run again

Asks the product's own functions. A run of `shares` draws an audit (so many true and false claims of each kind) and a
scoring (prompts of unlike difficulty, seeds, questions) of a judge that is right on true and false claims with the same
chance. Bias and coverage of 95 % are of the judged mean and of the corrected share, against the share that prompts like
these have. `labels` does so for some clips with true answers. A run of `gate` draws two sides and asks the gate's
bounds under the policy's own narrower margin. Shapes that break what a correction assumes are there, too, and named so.
Letters: R runs, G prompts, K kinds of fact, N clips, Q questions a clip.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from measure_gate import Cells, run_tables

from v2t_eval.audit.record import Confusion
from v2t_eval.core.bounds import lower_bounds, p_values
from v2t_eval.core.statistics import mean_interval, unless_flat
from v2t_eval.correction.estimate import Claims, corrected_share
from v2t_eval.correction.gating import MAX_SCALE_ERROR
from v2t_eval.correction.powered import powered_mean
from v2t_eval.correction.rates import error_rates
from v2t_eval.gate.policy import Policy, Rule

ACCURACIES, PREVALENCES, AUDITS = (0.7, 0.8, 0.9, 0.95, 0.99), (0.1, 0.5, 0.9), (50, 200, 1000)
CLAIMS = 400  # of the audits of `SHAPES`
ALIKE = 0.3  # correlation of the truths of one prompt
GATE_RUNS = 400


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Of a scoring and its audit: `prompts` with `seeds` clips of `questions` each, about `kinds` with `answers` of
    which the judge's log odds of being right differ by `uneven`, and the log odds of being true by `unequal`.
    `chained`: a question counts only if those before it are right. `together`: share of clips in which all
    errors come at once. `shift`: how much less accurate the judge is on these clips than on the audit's."""

    prompts: int = 100
    seeds: int = 1
    questions: int = 1
    answers: int = 1
    uneven: float = 0.0
    unequal: float = 0.0
    chained: bool = False
    together: float = 0.0
    shift: float = 0.0


SHAPES = {
    "60 prompts of 4 seeds, 5 questions": Shape(prompts=60, seeds=4, questions=5),
    "20 prompts of 4 seeds, 5 questions": Shape(prompts=20, seeds=4, questions=5),
    "400 prompts, 5 questions, 10 answers alike": Shape(prompts=400, questions=5, answers=10),
    "400 prompts, 5 questions, 10 uneven answers": Shape(prompts=400, questions=5, answers=10, uneven=0.7, unequal=0.7),
    "400 prompts, 5 questions, 40 uneven answers": Shape(prompts=400, questions=5, answers=40, uneven=0.7, unequal=0.7),
    "150 prompts, chains of 3 questions": Shape(prompts=150, questions=3, chained=True),
    "broken: chains of 3, a third of the errors come together": Shape(
        prompts=150, questions=3, chained=True, together=0.33
    ),
    "broken: the judge is 5 points worse than on the audit's clips": Shape(prompts=150, questions=5, shift=0.05),
}


def odds(share: np.ndarray | float, by: np.ndarray | float) -> np.ndarray:
    """Shares with their log odds moved."""
    return np.asarray(1 / (1 + np.exp(-(np.log(share) - np.log1p(-np.asarray(share)) + by))))


def truths(prevalence: np.ndarray, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """Truths (G, S, Q) of claims with these prevalences (G, 1, Q); those of one prompt are alike by `ALIKE`."""
    scale = (1 - ALIKE) / ALIKE
    level = rng.beta(scale * prevalence, scale * (1 - prevalence))  # of each claim of a prompt
    return np.asarray(rng.random((shape.prompts, shape.seeds, shape.questions)) < level)


def answers_of(
    true: np.ndarray, hit: np.ndarray, alarm: np.ndarray, shape: Shape, rng: np.random.Generator
) -> np.ndarray:
    """What the judge holds true (G, S, Q)."""
    own = rng.random(true.shape)
    if shape.together:
        own = np.where(rng.random((*true.shape[:2], 1)) < shape.together, own[..., :1], own)
    return np.asarray(np.where(true, own < hit, own > 1 - alarm))


def one_share(
    accuracy: float, prevalence: float, claims: int, shape: Shape, rng: np.random.Generator
) -> list[float] | None:
    """Judged minus true, whether its interval holds the truth, the same and the interval's width of the corrected
    share; None where it cannot be corrected."""
    num = shape.answers
    hit, alarm = (odds(accuracy, shape.uneven * rng.standard_normal(num)) for _ in range(2))
    alarm, share = 1 - alarm, odds(prevalence, shape.unequal * rng.standard_normal(num))
    cases = rng.multinomial(claims, np.ones(num) / num)
    rows = [
        Confusion(kind="fact", answer=str(a), true=int(n), hits=int(rng.binomial(n, hit[a])), false=int(n),
                  alarms=int(rng.binomial(n, alarm[a])), clips=2 * int(n))
        for a, n in enumerate(cases)
    ]  # fmt: skip
    rates = error_rates(rows, [("fact", str(a)) for a in range(num)])
    if rates.weak:
        return None
    at = np.repeat(rng.integers(0, num, (shape.prompts, 1, shape.questions)), shape.seeds, axis=1)
    true = truths(share[at][:, :1], shape, rng)
    held = answers_of(true, hit[at] - shape.shift, alarm[at] + shape.shift, shape, rng)
    clusters = np.repeat(np.arange(shape.prompts), shape.seeds).tolist()
    expected = _expected_share(share, shape)
    judged = (np.cumprod(held, axis=2) if shape.chained else held).mean(2).ravel()
    plain = mean_interval(judged.tolist(), clusters)
    plain = unless_flat(plain, float(judged.mean()), shape.prompts)
    result = corrected_share(_as_claims(at, held, clusters, chained=shape.chained), rates)
    _, low, high = result.clipped
    return [float(judged.mean()) - expected, float(plain.low <= expected <= plain.high), result.value - expected,
            float(low <= expected <= high), high - low]  # fmt: skip


def _expected_share(share: np.ndarray, shape: Shape) -> float:
    """The share of true answers, or of questions that count, which prompts of this shape have."""
    if not shape.chained:
        return float(share.mean())
    return float(np.mean([share[0] ** n for n in range(1, shape.questions + 1)]))


def _as_claims(at: np.ndarray, held: np.ndarray, clusters: Sequence[int], *, chained: bool) -> Claims:
    """The claims of clips, (G, S, Q) each."""
    num = held.shape[2]
    flat, yes = at.reshape(-1, num), held.reshape(-1, num)  # (N, Q)
    members = [[*range(n + 1)] for n in range(num)] if chained else [[n] for n in range(num)]
    columns = np.array([n for own in members for n in own])
    sizes = np.array([len(own) for own in members])
    products = np.repeat(np.arange(len(flat) * num), np.tile(sizes, len(flat)))
    return Claims(
        answer=flat[:, columns].ravel(), yes=yes[:, columns].ravel().astype(float), product=products,
        clip=np.repeat(np.arange(len(flat)), num), weight=np.full(len(flat) * num, 1 / num), clusters=clusters,
    )  # fmt: skip


def of_share(
    accuracy: float, prevalence: float, claims: int, shape: Shape, runs: int
) -> Callable[[np.random.Generator], Any]:
    """Median bias and coverage, in per cent, before and after, and the share that is refused."""

    def measure(rng: np.random.Generator) -> dict[str, float]:
        rows = [one_share(accuracy, prevalence, claims, shape, rng) for _ in range(runs)]
        kept = np.array([row for row in rows if row is not None])
        refused = 100 * (1 - len(kept) / runs)
        if not len(kept):
            return {"refused": refused}
        bias, held, after, inside, width = 100 * kept.T
        return {"judged bias": float(bias.mean()), "judged coverage": float(held.mean()),
                "bias": float(np.median(after)),
                "coverage": float(inside.mean()), "width": float(np.median(width)), "refused": refused}  # fmt: skip

    return measure


def of_labels(
    accuracy: float, prevalence: float, labels: int, shape: Shape, runs: int
) -> Callable[[np.random.Generator], Any]:
    """Bias and coverage by labels of so many prompts, widths with and without the judge, the judge's weight."""

    def measure(rng: np.random.Generator) -> dict[str, float]:
        rows = []
        for _ in range(runs):
            share = np.full((shape.prompts, 1, shape.questions), prevalence)
            true = truths(share, shape, rng)
            held = answers_of(true, np.array(accuracy), np.array(1 - accuracy), shape, rng).mean(2)
            known = rng.permutation(shape.prompts) < labels
            truth = np.where(known[:, None], true.mean(2), np.nan)
            clusters = np.repeat(np.arange(shape.prompts), shape.seeds).tolist()
            mean = powered_mean(held.ravel(), truth.ravel(), clusters)
            alone = powered_mean(np.zeros(truth.size), truth.ravel(), clusters)
            rows.append([mean.value - prevalence, mean.low <= prevalence <= mean.high, mean.high - mean.low,
                         alone.high - alone.low, mean.weight])  # fmt: skip
        bias, inside, width, own, weight = np.array(rows, float).mean(0)
        return {
            "bias": 100 * bias,
            "coverage": 100 * inside,
            "width": 100 * width,
            "labels alone": 100 * own,
            "weight": weight,
        }

    return measure


def of_gate(
    accuracy: float, prevalence: float, claims: int, num: int, *, one_kind: bool, allowing: bool = True
) -> Callable[[np.random.Generator], Any]:
    """Errors of a gate by corrected values in per cent: of five kinds of fact with an audit each, harm in all or in
    one; `allowing`: with the margins that `Policy.allowing` leaves."""
    kinds, margin, runs = 5, 0.1, GATE_RUNS if num < 500 else GATE_RUNS // 2

    def measure(rng: np.random.Generator) -> dict[str, float]:
        hits, alarms = (np.zeros((runs, 1, kinds)) for _ in range(2))
        margins, accepted, usable = np.zeros(runs), np.zeros(runs), np.zeros(runs, bool)
        for r in range(runs):
            rows = [
                Confusion(kind=str(k), answer="", true=claims, hits=int(rng.binomial(claims, accuracy)), false=claims,
                          alarms=int(rng.binomial(claims, 1 - accuracy)), clips=2 * claims)
                for k in range(kinds)
            ]  # fmt: skip
            rates = error_rates(rows, [(str(k), "") for k in range(kinds)])
            usable[r] = not rates.weak and rates.scale_error <= MAX_SCALE_ERROR
            scale = rates.scale_error if allowing and usable[r] else 1.0
            (rule,) = Policy(primary=(Rule(metric="m", margin=margin),)).allowing({"m": scale}).primary
            hits[r], alarms[r], margins[r], accepted[r] = rates.hits, rates.alarms, rule.margin or 0.0, rule.accepts
        if not usable.any():
            return {"refused": 100.0}
        contrast = np.maximum(hits - alarms, 0.05)
        span = ((1 - alarms) / contrast).max(2).ravel() - (-alarms / contrast).min(2).ravel()
        scale = (1 - ALIKE) / ALIKE
        level = rng.beta(scale * prevalence, scale * (1 - prevalence), (runs, num, 1))
        before = rng.random((runs, num, kinds)) < level
        seeds = np.where(rng.random(before.shape) < 0.5, before, rng.random(before.shape) < level)

        def judged_values(true: np.ndarray) -> np.ndarray:
            held = rng.random(true.shape) < np.where(true, accuracy, 1 - accuracy)
            return np.asarray((held / contrast).mean(2))

        first, errors = judged_values(before), {}
        for name, harm in (("null", 0.0), ("accepted", margin / 2), ("margin", margin)):
            lost = np.full(kinds, harm / prevalence) if not one_kind else np.eye(kinds)[0] * kinds * harm / prevalence
            change = judged_values(seeds & (rng.random(seeds.shape) >= lost)) - first  # (R, G)
            sums = np.stack([change, np.ones_like(change)], axis=2)
            passes = lower_bounds(sums, span, 0.05) > -margins
            fails = ~passes & (p_values(sums, span, accepted) < 0.05)
            errors |= {
                f"{name} passes": 100 * float(passes[usable].mean()),
                f"{name} fails": 100 * float(fails[usable].mean()),
            }
        return {**errors, "refused": 100 * float(1 - usable.mean())}

    return measure


def tables(cells: Cells, runs: int) -> list[str]:
    """All tables, as Markdown lines."""
    return [*share_tables(cells, runs), "", *label_table(cells, runs), "", *gate_table(cells)]


def share_tables(cells: Cells, runs: int) -> list[str]:
    """Of corrected shares: the plain shape in all sizes, then the others."""
    columns = ("true", "claims", "judged bias", "judged coverage", "bias", "coverage", "width", "refused")
    head = f"| sensitivity = specificity | {' | '.join(columns)} |"
    lines = [f"One question a clip, 100 prompts ({runs} runs a cell):", "", head, "|---" * 9 + "|"]
    for accuracy in ACCURACIES:
        for prevalence in PREVALENCES:
            for claims in AUDITS:
                made = of_share(accuracy, prevalence, claims, Shape(), runs)
                lines.append(
                    _share_row(
                        cells.run(f"share, {accuracy}, {prevalence}, {claims}", made), accuracy, prevalence, claims
                    )
                )
    for name, shape in SHAPES.items():
        lines += ["", f"{name[0].upper()}{name[1:]}:", "", head, "|---" * 9 + "|"]
        for accuracy in (0.7, 0.9, 0.99) if not shape.shift else (0.9,):
            for prevalence in (0.5, 0.9):
                made = of_share(accuracy, prevalence, CLAIMS, shape, runs)
                cell = cells.run(f"share, {name}, {accuracy}, {prevalence}, {CLAIMS}", made)
                lines.append(_share_row(cell, accuracy, prevalence, CLAIMS))
    return lines


def _share_row(cell: dict[str, float], accuracy: float, prevalence: float, claims: int) -> str:
    start = f"| {accuracy:g} | {prevalence:g} | {claims} |"
    if "coverage" not in cell:
        return f"{start} | | | | | {cell['refused']:.0f} |"
    return (f"{start} {cell['judged bias']:+.1f} | {cell['judged coverage']:.1f} | {cell['bias']:+.1f} | "
            f"{cell['coverage']:.1f} | {cell['width']:.1f} | {cell['refused']:.0f} |")  # fmt: skip


def label_table(cells: Cells, runs: int) -> list[str]:
    """Of figures by labels."""
    lines = [
        "By labels of some of 400 prompts, five questions a clip:", "",
        "| sensitivity = specificity | true | prompts labelled | bias | coverage | width | by labels alone | weight |",
        "|---" * 8 + "|",
    ]  # fmt: skip
    shape = Shape(prompts=400, questions=5)
    for accuracy in (0.7, 0.9, 0.99):
        for prevalence in (0.5, 0.9, 0.97):
            for labels in (20, 40, 100):
                cell = cells.run(
                    f"labels, {accuracy}, {prevalence}, {labels}", of_labels(accuracy, prevalence, labels, shape, runs)
                )
                lines.append(
                    f"| {accuracy:g} | {prevalence:g} | {labels} | {cell['bias']:+.1f} | {cell['coverage']:.1f} | "
                    f"{cell['width']:.1f} | {cell['labels alone']:.1f} | {cell['weight']:.2f} |"
                )
    return lines


def gate_table(cells: Cells) -> list[str]:
    """Of the gate's errors."""
    lines = [
        f"A gate by corrected values, margin .1, five kinds of fact ({GATE_RUNS} runs a cell, half as many of 1,000 "
        "prompts); in brackets with the margin as it stands:", "",
        "| sensitivity = specificity | true | claims a kind | prompts | harm in | nothing changed, fails "
        "| accepted harm, fails | harm of the margin, passes | nothing changed, passes | refused |",
        "|---" * 10 + "|",
    ]  # fmt: skip
    for num in (60, 200, 1000):
        for accuracy in (0.7, 0.9, 0.99):
            if num == 1000 and accuracy != 0.9:
                continue
            for prevalence, claims in ((0.6, 50), (0.8, 200), (0.95, 1000)):
                for one_kind in (False, True):
                    if one_kind and prevalence != 0.8:
                        continue
                    lines.append(_gate_row(cells, num, accuracy, prevalence, claims, one_kind=one_kind))
    return lines


def _gate_row(cells: Cells, num: int, accuracy: float, prevalence: float, claims: int, *, one_kind: bool) -> str:
    where = "one" if one_kind else "all"
    name = f"{accuracy}, {prevalence}, {claims}, {num}, {where}"
    cell = cells.run(f"gate, {name}", of_gate(accuracy, prevalence, claims, num, one_kind=one_kind))
    plain = cells.run(
        f"as it stands, {name}", of_gate(accuracy, prevalence, claims, num, one_kind=one_kind, allowing=False)
    )
    start = f"| {accuracy:g} | {prevalence:g} | {claims} | {num} | {where} |"
    if "null fails" not in cell:
        return f"{start} | | | | {cell['refused']:.0f} |"
    both = [
        f"{cell[key]:.1f} ({plain[key]:.1f})"
        for key in ("null fails", "accepted fails", "margin passes", "null passes")
    ]
    return f"{start} {' | '.join(both)} | {cell['refused']:.0f} |"


if __name__ == "__main__":
    sys.exit(run_tables(__doc__ or "", "correction", tables))
