#!/usr/bin/env python
"""How often the gate errs, simulated on real scores of clips with several seeds for each prompt.

    python scripts/measure_gate.py --make 40 -o runs/gate             # 40 prompts x 5 seeds of the bundled generator
    python scripts/measure_gate.py scores/scores.json -o runs/gate    # any `v2t-eval score` with seeds of a prompt

Draws prompts with replacement and for each of them, anew, the seeds of a candidate and of a baseline: two sides of one
generator. Each run is decided by the gate's own functions. Then a harm of a known size is planted in one metric of the
candidate, and at last the seeds of a prompt are taken for independent, which they are not. Writes gate.md and
gate.json; same scores and seed, same tables. Shares come with Wilson's interval of 95 %.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from v2t.base.files import write_atomic
from v2t.base.shares import wilson
from v2t_eval.gate.policy import Policy, Rule
from v2t_eval.gate.reasons import of_margin
from v2t_eval.gate.statistics import (
    NUM_RESAMPLES,
    SEED,
    Change,
    finite_values,
    least_change,
    paired_change,
    parts_of_variance,
    step_of,
)
from v2t_eval.metric import MetricResult
from v2t_eval.scores import Scores, read_scores
from v2t_eval.significance import holm, sign_flip

METRICS = "temporal_flickering,motion_smoothness,sharpness,clipsim,question_score,vqascore"
STEPS, SEEDS = 12, 5  # of the clips that --make makes
ALPHA, POWER = 0.05, 0.8
FACTORS = (1.0, 1.25, 1.5)  # margins, in least detectable changes
HARM = 2.0  # planted, in least detectable changes


@dataclass(frozen=True)
class Data:
    """Real values: by metric float (P, S), prompts and seeds; what the metric declares."""

    values: dict[str, np.ndarray]
    declared: dict[str, MetricResult]

    @property
    def shape(self) -> tuple[int, int]:
        """Prompts and seeds."""
        prompts, seeds = next(iter(self.values.values())).shape
        return prompts, seeds


@dataclass
class Tally:
    """Yes and no of several questions, one for each run."""

    counts: dict[str, list[int]] = field(default_factory=dict)

    def add(self, name: str, yes: bool) -> None:
        """One run more."""
        count = self.counts.setdefault(name, [0, 0])
        count[0] += yes
        count[1] += 1

    def share(self, name: str) -> str:
        """Share with its interval, in per cent."""
        if name not in self.counts:
            return "–"
        yes, num = self.counts[name]
        low, high = wilson(yes, num)
        return f"{100 * yes / num:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("scores", type=Path, nargs="?", help="scores.json of clips with several seeds for each prompt")
    parser.add_argument("--make", type=int, metavar="N", help="instead: make and score clips of N prompts in -o")
    parser.add_argument("--metrics", default=METRICS, help="primary metrics, all with a margin")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    if (args.scores is None) == (args.make is None):
        parser.error("give scores.json, or --make with a number of prompts")
    args.output.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    data = load(read_scores(args.scores or made(args.output, args.make, args.metrics)), args.metrics.split(","))
    least = usual_least(data, args.seed)
    print(f"{data.shape[0]} prompts, {data.shape[1]} seeds; least changes: {least}", file=sys.stderr)
    unchanged = no_change(data, {"halves": usual_least(data, args.seed, "halves"), "same": least}, args.runs, args.seed)
    print(f"unchanged: {time.perf_counter() - begun:.0f} s, {unchanged.counts}", file=sys.stderr)
    planted = with_harm(data, least, args.runs, args.seed)
    for name, tally in planted.items():
        print(f"harm in {name}: {time.perf_counter() - begun:.0f} s, {tally.counts}", file=sys.stderr)
    wrong = wrong_clusters(data, args.runs, args.seed)
    text = page(data, least, unchanged, planted, wrong, args.runs, time.perf_counter() - begun)
    tallies = {"no change": unchanged, **{f"harm in {name}": tally for name, tally in planted.items()}}
    tallies |= {f"clusters, {case}": tally for case, (_, tally) in wrong.items()}
    found = {name: tally.counts for name, tally in tallies.items()}
    write_atomic(args.output / "gate.json", (json.dumps({"least": least, "counts": found}, indent=1) + "\n").encode())
    write_atomic(args.output / "gate.md", text.encode())
    print(text)
    return 0


def made(folder: Path, num_prompts: int, metrics: str) -> Path:
    """Scores of clips that the bundled generator makes of the prompts of its world, `SEEDS` for each."""
    from t2v.cli import main as generate
    from v2t.world.solo import prompt, sample_solo
    from v2t_eval.cli import main as score

    scenes = [sample_solo("seen", 0, index) for index in range(4 * num_prompts)]
    told = dict.fromkeys(prompt(scene.facts(), random.Random(place)) for place, scene in enumerate(scenes))
    prompts = list(told)[:num_prompts]
    write_atomic(folder / "prompts.txt", ("\n".join(prompts) + "\n").encode())
    clips = ["--prompts", str(folder / "prompts.txt"), "-o", str(folder / "clips")]
    if code := generate(["generate", *clips, "--num-videos", str(SEEDS), "--steps", str(STEPS)]):
        raise SystemExit(code)
    if code := score(["score", str(folder / "clips"), "--metrics", metrics, "-o", str(folder / "scores")]):
        raise SystemExit(code)
    return folder / "scores" / "scores.json"


def load(scores: Scores, metrics: list[str]) -> Data:
    """Values of the prompts that have the most usual number of clips with a value in every metric."""
    declared = {name: scores.result(name) for name in metrics}
    known = {name: finite_values(result.items) for name, result in declared.items()}
    clips: dict[str, list[str]] = {}
    for clip in scores.clips:
        if all(clip.id in values for values in known.values()):
            clips.setdefault(clip.cluster, []).append(clip.id)
    sizes = [len(ids) for ids in clips.values()]
    if not sizes or max(sizes) < 4:
        raise SystemExit("every prompt has fewer than 4 scored clips: two seeds for each side are the least")
    usual = max(set(sizes), key=lambda size: (sizes.count(size), size))
    rows = [ids[:usual] for ids in clips.values() if len(ids) >= usual]
    return Data({name: np.array([[known[name][id] for id in ids] for ids in rows]) for name in metrics}, declared)


def drawn(data: Data, rng: np.random.Generator, case: str = "same") -> tuple[dict[str, Any], dict[str, Any]]:
    """Values of candidate and baseline by metric, float (P, s), between which nothing has changed.

    halves: two seeds for each side, none of them in both. same: S seeds, drawn with replacement. effect: as same, and
    each prompt of the candidate is moved, for all its seeds, by as much as seeds differ; the mean of that is zero.
    others: the baseline's prompts are others, so that the prompts' own differences are in the changes.
    """
    num, seeds = data.shape
    prompts = rng.integers(0, num, num)[:, None]
    others = rng.integers(0, num, num)[:, None] if case == "others" else prompts
    if case == "halves":
        order = np.argsort(rng.random((num, seeds)), axis=1)
        ours, theirs = order[:, : seeds // 2], order[:, seeds // 2 : 2 * (seeds // 2)]
    else:
        ours, theirs = rng.integers(0, seeds, (2, num, seeds))
    moved = rng.normal(0, 1, (num, 1)) if case == "effect" else np.zeros((num, 1))
    candidate, baseline = {}, {}
    for name, values in data.values.items():
        size = np.sqrt(2 * values.var(axis=1, ddof=1).mean())
        candidate[name], baseline[name] = values[prompts, ours] + moved * size, values[others, theirs]
    return candidate, baseline


def changes(data: Data, ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Change]:
    """Of each metric that `ours` has, as the gate finds them."""
    found = {}
    for name, values in ours.items():
        declared, (num, seeds) = data.declared[name], values.shape
        first, second = values.ravel().tolist(), theirs[name].ravel().tolist()
        span = declared.value_range[1] - declared.value_range[0]
        found[name] = paired_change(
            [a - b for a, b in zip(first, second, strict=True)],
            np.repeat(np.arange(num), seeds).tolist(),
            higher_is_better=declared.higher_is_better,
            alpha=ALPHA,
            step=step_of(first, second, span, same_bytes=False),
        )
    return found


def adjusted(found: dict[str, Change]) -> dict[str, float]:
    """Holm's p of each."""
    return dict(zip(found, holm([one.p for one in found.values()]), strict=True))


def least_of(change: Change, data: Data) -> float:
    """Its least detectable change."""
    return least_change(change, alpha=ALPHA, power=POWER, num_tests=len(data.values)) or 0.0


def outcome(change: Change, p: float, margin: float, name: str, data: Data, *, refuses: bool = True) -> str:
    """What the gate says with this margin; `refuses`: margins below the least detectable change, as it does."""
    policy = Policy(primary=(Rule(metric=name, margin=margin),), alpha=ALPHA, power=POWER)
    better, num = data.declared[name].higher_is_better, len(data.values)
    least = least_of(change, data) if refuses else min(least_of(change, data), margin)
    return of_margin(change, margin, p, least, better, policy, num, "prompts")[0]


def usual_least(data: Data, seed: int, case: str = "same", num: int = 20) -> dict[str, float]:
    """The least detectable change of each metric, mean of some runs: what a team learns from its first gates."""
    rng = np.random.default_rng([seed, 1])
    found = [changes(data, *drawn(data, rng, case)) for _ in range(num)]
    return {name: fmean(least_of(run[name], data) for run in found) for name in data.values}


def textbook(change: Change, margin: float, higher_is_better: bool | None) -> bool:
    """Fails by the rule of the textbook: the whole interval beyond the margin."""
    good = (change.high or 0.0) if higher_is_better else -(change.low or 0.0)
    return good < -margin


def no_change(data: Data, least: dict[str, dict[str, float]], runs: int, seed: int) -> Tally:
    """What all metrics together say where nothing has changed; `least`: detectable changes by case."""
    tally, rng = Tally(), np.random.default_rng([seed, 2])
    for _ in range(runs):
        for case in ("halves", "same"):
            found = changes(data, *drawn(data, rng, case))
            ps = adjusted(found)
            for factor in (0.0, *FACTORS):
                margins = {name: factor * least[case][name] or 1e-12 for name in found}
                said = [outcome(one, ps[name], margins[name], name, data) for name, one in found.items()]
                total = next(one for one in ("fail", "inconclusive", "pass") if one in said)
                for name in ("fail", "inconclusive", "pass"):
                    tally.add(f"{case}, {factor}: {name}", total == name)
                bare = (outcome(one, ps[name], margins[name], name, data, refuses=False) for name, one in found.items())
                tally.add(f"{case}, {factor}: bare pass", all(one == "pass" for one in bare))
    return tally


def harmed(values: np.ndarray, all_values: np.ndarray, harm: float, how: str, declared: MetricResult,
           rng: np.random.Generator) -> np.ndarray | None:  # fmt: skip
    """Values that are worse by `harm` on average and stay within what was seen or is possible; None where there is no
    room. `every`: each clip is drawn nearer to the bad end of the range; values of two levels, and `some`: a share of
    the clips gets the worst value there is."""
    sign = 1.0 if declared.higher_is_better else -1.0
    end = declared.value_range[0 if sign > 0 else 1]
    if how == "some" or len(np.unique(all_values)) == 2:
        end = float(all_values.min() if sign > 0 else all_values.max())
        share = harm / max(abs(float(values.mean()) - end), 1e-12)
        return None if share > 0.9 else np.where(rng.random(values.shape) < share, end, values)
    if not np.isfinite(end):
        return values - sign * harm
    room = abs(float(values.mean()) - end)
    return None if harm > room else end + (values - end) * (1 - harm / room)


def with_harm(data: Data, least: dict[str, float], runs: int, seed: int) -> dict[str, Tally]:
    """By metric: how often a harm of `HARM` least changes in it fails it, while the others have not changed."""
    tallies, rng = {name: Tally() for name in data.values}, np.random.default_rng([seed, 3])
    for _ in range(runs):
        ours, theirs = drawn(data, rng)
        sound = changes(data, ours, theirs)
        for name, how in itertools.product(tallies, ("every", "some")):
            declared = data.declared[name]
            bad = harmed(ours[name], data.values[name], HARM * least[name], how, declared, rng)
            if bad is None:
                continue
            found = sound | changes(data, {name: bad}, theirs)
            one, p = found[name], adjusted(found)[name]
            for factor in FACTORS:
                margin = factor * least[name]
                fails = outcome(one, p, margin, name, data) == "fail"
                tallies[name].add(f"{how}, {factor}", fails)
                tallies[name].add(f"{how}, {factor}, refused first", fails and margin >= least_of(one, data))
                tallies[name].add(f"{how}, {factor}, textbook", textbook(one, margin, declared.higher_is_better))
    return tallies


def wrong_clusters(data: Data, runs: int, seed: int) -> dict[str, tuple[float, Tally]]:
    """False alarms when clusters are prompts, and when every clip is taken for a case of its own; with the mean share
    of the changes' variance that lies between prompts."""
    found = {}
    for case in ("same", "effect", "others"):
        tally, rng, parts = Tally(), np.random.default_rng([seed, 4]), []
        for _ in range(runs):
            ours, theirs = drawn(data, rng, case)
            ps: dict[str, list[float]] = {"prompts": [], "clips": []}
            for name, declared in data.declared.items():
                worse = (theirs[name] - ours[name]) * (1 if declared.higher_is_better else -1)  # (P, s)
                for way, totals in (("prompts", worse.sum(1)), ("clips", worse.ravel())):
                    ps[way].append(sign_flip(totals.tolist(), NUM_RESAMPLES, SEED, one_sided=True))
                clusters = np.repeat(np.arange(len(worse)), worse.shape[1]).tolist()
                between, within = parts_of_variance(worse.ravel().tolist(), clusters) or (0.0, 1.0)
                parts.append(between / (between + within) if between + within > 0 else 0.0)
            for way, raw in ps.items():
                tally.add(way, min(holm(raw)) < ALPHA)
        found[case] = fmean(parts), tally
    return found


def page(data: Data, least: dict[str, float], unchanged: Tally, planted: dict[str, Tally],
         wrong: dict[str, tuple[float, Tally]], runs: int, seconds: float) -> str:  # fmt: skip
    """The tables, as Markdown."""
    num, seeds = data.shape
    lines = [
        f"{runs} runs each, {num} prompts x {seeds} seeds, {len(least)} primary metrics, alpha 0.05; {seconds:.0f} s.",
        f"MDE: least change that {num} prompts detect with power 0.8 at the first step of Holm.\n",
        "### No true change\n",
        "| seeds a side | margin | fail | inconclusive | pass | pass if no margin were refused |",
        "|---|---|---|---|---|---|",
    ]
    for case, size in (("halves", seeds // 2), ("same", seeds)):
        for factor in (0.0, *FACTORS):
            shares = [
                unchanged.share(f"{case}, {factor}: {name}") for name in ("fail", "inconclusive", "pass", "bare pass")
            ]
            lines.append(f"| {size} | {f'{factor:g} MDE' if factor else 'as good as none'} | {' | '.join(shares)} |")
    told = "every clip a little worse", "some clips as bad as any"
    for how, words in zip(("every", "some"), told, strict=True):
        lines += [
            f"\n### Twice the least detectable change planted: {words}\n",
            "| metric | MDE | fails, margin 1 MDE | 1.25 MDE | 1.5 MDE | 1 MDE, refusal first | 1 MDE, textbook |",
            "|---|---|---|---|---|---|---|",
        ]
        for name, tally in planted.items():
            names = [*(f"{how}, {factor}" for factor in FACTORS), f"{how}, 1.0, refused first", f"{how}, 1.0, textbook"]
            lines.append(f"| {name} | {least[name]:.3g} | {' | '.join(tally.share(one) for one in names)} |")
    lines += [
        "\n### False alarms when seeds of a prompt are taken for independent cases\n",
        "| changes | of their variance between prompts | prompts as clusters | every clip a case (wrong) |",
        "|---|---|---|---|",
    ]
    cases = {
        "same": "seeds alone differ",
        "effect": "each prompt moved by as much as its seeds differ",
        "others": "other prompts in the baseline",
    }
    for case, words in cases.items():
        part, tally = wrong[case]
        lines.append(f"| {words} | {100 * part:.0f} % | {tally.share('prompts')} | {tally.share('clips')} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
