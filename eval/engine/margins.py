"""Margins from A/A runs: how far runs of one engine lie apart, and what of that is no fault.

In: scores of an engine's clips against its own other runs. Out: a baseline (`v2t_eval.gate.baseline`) whose values are
the distances within the engine, and whose policy holds a rule for every metric that has a preferred direction; the gate
then asks whether a candidate lies farther from the engine than the engine from itself. Of a candidate that is the same
engine both are draws of one distribution, whatever its shape: their difference is zero on average, which is what the
false alarms rest on. Rules and error rates: docs/engines.md.
Letters: R runs, n clips, G prompts, N draws.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cineloop.errors import UsageError
from cineloop.log import logger
from v2t_eval.core.bounds import SEED, beyond
from v2t_eval.core.changes import finite_values
from v2t_eval.core.metric import Figure, MetricResult
from v2t_eval.core.scores import Scores
from v2t_eval.core.statistics import number_clusters, student, sum_by_cluster
from v2t_eval.engine.derived import ABOVE, LIMIT, STRAYS, limit_of, result_of, reversed_result, stray_result
from v2t_eval.gate.advice import RUNS, least_margin_of
from v2t_eval.gate.baseline import baseline_of
from v2t_eval.gate.policy import Policy, Rule
from v2t_eval.gate.run import plain_policy
from v2t_eval.suites.suite import Suite

LEAST_RUNS = 2  # beside the first: one distance has no spread
POWER = 0.95  # chance that all margins together let the same engine pass
LEAST_DB = 1.0  # accepted of a distance: a quarter farther
LEAST_SHARE = 0.05  # accepted of any other value: this part of what another prompt's clip costs
LEAST_STRAYS = 0.02  # accepted share of clips beyond the limits


@dataclass(frozen=True, kw_only=True)
class RunValues:
    """Values of one metric over an engine's own runs.

    Attributes:
        ids: of the clips, n. values: (R, n). clusters: of each clip, n.
        sign: 1 where greater is worse, else -1.
        unrelated: values (m,) of clips of other prompts.
        least: the accepted harm where runs do not differ as a whole; None for that of a distance in decibels.
    """

    ids: tuple[str, ...]
    values: np.ndarray
    clusters: tuple[str, ...]
    sign: float
    unrelated: np.ndarray
    least: float | None = None

    @property
    def harms(self) -> np.ndarray:
        """Of each run how much worse it is than the mean of the others, (R, n): what a new run of the engine does."""
        others = (self.values.sum(0) - self.values) / (len(self.values) - 1)
        return np.asarray(self.sign * (self.values - others))

    @property
    def drift(self) -> float:
        """How far a new run may lie from these as a whole: Student's prediction bound, since runs on another machine or
        day may differ, and a few runs say little of how much. Of a run the median over clips counts: single clips that
        took another way are noise of clips, which the test of the mean allows for."""
        num = len(self.values)
        medians = np.median(self.values - self.values.mean(0), axis=1)  # (R,)
        return student(num - 1, 0.05) * math.sqrt(1 + 1 / num) * float(medians.std(ddof=1))

    @property
    def accepted(self) -> float:
        """The harm that is no fault: the drift of runs, or what counts as nothing. Of a distance that is one floor more
        (3 dB from zero, less from farther off), or `LEAST_DB`."""
        if self.least is not None:
            return max(self.drift, self.least)
        return max(self.drift, LEAST_DB, 10 * math.log10(1 + 10 ** (-float(self.values.mean()) / 10)))

    @property
    def ends(self) -> tuple[float, float]:
        """Worst and best that a clip may have."""
        both = np.concatenate([self.values.ravel(), self.unrelated])
        low, high = float(both.min()), float(both.max())
        low = min(low, 0.0) if self.least is None else low
        return (high, low) if self.sign > 0 else (low, high)

    @property
    def gain(self) -> float:
        """The most by which the candidate's clip of a prompt can be better than the engine's own: from the engine's
        worst clips, of prompts that the sample lacks too (`v2t_eval.core.bounds.beyond`), to the best that there is."""
        return float(beyond((self.sign * self.values).ravel())) - self.sign * self.ends[1]

    @property
    def limit(self) -> float:
        """Harm from which one clip is beyond the engine's own, see `limit_of`."""
        return limit_of(self.harms, self.accepted)

    def rule(self, name: str, alpha: float, num_rules: int) -> Rule:
        """The rule: its margin is the accepted harm and what the noise of clips, and prompts that are not in the
        sample, add to that where the engine is the same (`v2t_eval.gate.advice.least_margin_of`)."""
        worst, best = self.ends
        if worst == best:
            worst, best = worst + self.sign, best
        rng, (at, num) = np.random.default_rng(SEED), number_clusters(self.clusters)
        runs = rng.integers(0, len(self.values), (RUNS, len(at)))  # (N, n)
        drawn = -self.harms[runs, np.arange(len(at))]  # (N, n), good above zero
        rows = np.stack([drawn, np.ones_like(drawn)], 2).swapaxes(0, 1)  # (n, N, 2)
        sums = sum_by_cluster(rows, at, num).swapaxes(0, 1)  # (N, G, 2)
        least = least_margin_of(sums, abs(worst - best), alpha=alpha, power=POWER ** (1 / num_rules))
        accepted = self.accepted
        return Rule(metric=name, margin=accepted + max(least, 1e-9), accepted=accepted, worst=worst, best=best,
                    gain=self.gain)  # fmt: skip


def calibrate(own: Scores, unrelated: Scores, runs: Sequence[Scores], suite: Suite) -> Scores:
    """The baseline with its margins.

    Args:
        own: of the first run's clips, with themselves as reference videos.
        unrelated: of the same clips with prompts and reference videos of others, see
            `v2t_eval.engine.pairs.unrelated_pairs`.
        runs: of the engine's other runs with the first one's clips as reference videos, two and more.
        suite: by which they were scored. Rules of its own take the place of measured ones.

    Raises:
        UsageError: too few runs, fewer than two prompts, or no metric that decides.
    """
    require_runs(len(runs))
    runs = _other_runs(own, runs)
    paired = {metric.title for metric in suite.metrics if metric.reads("reference_video")}
    tables = {name: _values(name, own, unrelated, runs, name in paired) for name in own.by_name}
    known = {name: table for name, table in tables.items() if table is not None}
    decides = {name: table for name, table in known.items() if own.by_name[name].higher_is_better is not None}
    if not decides or min(len(set(table.clusters)) for table in decides.values()) < 2:
        raise UsageError("a metric with a preferred direction needs values of two prompts in every run",
                         hint="use 20 prompts and more, and the suite `engine`")  # fmt: skip
    _refuse_wide(decides)
    asked = dict(decides)
    asked |= {f"{name}{ABOVE}": replace(one, sign=-one.sign) for name, one in decides.items() if name not in paired}
    results = [_mean_over_runs(own.by_name[name], one, own, with_limit=name in decides) for name, one in known.items()]
    results += [reversed_result(each) for each in results if f"{each.name}{ABOVE}" in asked]
    if distances := {name: one for name, one in decides.items() if name in paired}:
        asked[STRAYS] = strays = _strays(distances)
        shares = dict(zip(strays.ids, strays.values.mean(0).tolist(), strict=True))
        results.append(stray_result(shares, {name: one.limit for name, one in distances.items()}, own.clips))
    usual = suite.policy or Policy(primary=(Rule(metric=STRAYS, margin=1.0),))
    fixed = {rule.metric: rule for rule in usual.primary} if suite.policy else {}
    rules = tuple(fixed.get(name) or one.rule(name, usual.alpha, len(asked)) for name, one in asked.items())
    plain = plain_policy(replace(usual, primary=rules))
    made = replace(own, results=results)
    return baseline_of(made, suite.name, plain, reason=f"margins from {len(runs) + 1} runs of one engine")


def require_runs(num: int) -> None:
    """Refuse a calibration by too few runs beside the first.

    Raises:
        UsageError: fewer than `LEAST_RUNS`.
    """
    if num < LEAST_RUNS:
        raise UsageError(
            f"margins take {LEAST_RUNS} runs of the engine beside the first, got {num}",
            hint="draw the same prompts again: another batch size, another order, another GPU",
        )


def _other_runs(own: Scores, runs: Sequence[Scores]) -> Sequence[Scores]:
    """The runs that are not byte for byte the first one; all of them where every run is. An engine that repeats itself
    in one run and not in others would seem to drift by all of its noise.

    Raises:
        UsageError: some are the first one, and too few are left.
    """
    known = {clip.id: clip.content for clip in own.clips}
    others = [
        run for run in runs if any(clip.content is None or clip.content != known.get(clip.id) for clip in run.clips)
    ]
    if not others or len(others) == len(runs):
        return runs
    if len(others) < LEAST_RUNS:
        raise UsageError(
            f"{len(runs) - len(others)} of {len(runs)} runs are byte for byte the first one, {len(others)} is left",
            hint=f"give {LEAST_RUNS} runs that differ from it, or only such as do not",
        )
    logger.warning("%d of %d runs are byte for byte the first one and say nothing", len(runs) - len(others), len(runs))
    return others


def _refuse_wide(tables: Mapping[str, RunValues]) -> None:
    """Refuse runs that differ as a whole so much that clips of other prompts would be accepted.

    Raises:
        UsageError: by some distance they do.
    """
    for name, one in tables.items():
        far = one.sign * float(one.unrelated.mean() - one.values.mean())
        if one.least is None and one.drift and one.accepted >= abs(far):
            raise UsageError(
                f"{name}: runs of the engine differ as a whole by {one.accepted:.3g} (95 % bound of one more run), and "
                f"clips of other prompts by {abs(far):.3g}: such margins would let anything pass",
                hint="give more runs, and such as differ from the first one alike: no batch size that repeats it",
            )


def _values(name: str, own: Scores, unrelated: Scores, runs: Sequence[Scores], is_paired: bool) -> RunValues | None:
    """None where no clip has a value in every run, and of a figure of a whole set. Of a metric that compares a clip
    with its reference video the first run has no values: it is the reference."""
    result = own.by_name[name]
    sides = [*runs] if is_paired else [own, *runs]
    tables = [finite_values(side.by_name[name].items) if name in side.by_name else {} for side in sides]
    ids = tuple(sorted(set.intersection(*map(set, tables)) & set(own.by_id)))
    if not ids or result.reduction != "mean":
        return None
    values = np.array([[table[id] for id in ids] for table in tables])
    others = finite_values(unrelated.by_name[name].items) if name in unrelated.by_name else {}
    far = np.array(list(others.values()) or values[0])
    least = None if "distance" in result.items[0] else LEAST_SHARE * abs(float(far.mean() - values.mean()))
    clusters = own.by_id
    return RunValues(ids=ids, values=values, clusters=tuple(clusters[id].cluster for id in ids), unrelated=far,
                     least=least, sign=-1.0 if result.higher_is_better else 1.0)  # fmt: skip


def _mean_over_runs(result: MetricResult, table: RunValues, own: Scores, *, with_limit: bool) -> MetricResult:
    """The mean over runs of each clip, and of a metric that decides the limit of a clip."""
    limit = table.limit if with_limit else 0.0
    more = {LIMIT: Figure(value=limit, low=limit, high=limit, n=table.values.size)} if with_limit else {}
    return result_of(result, dict(zip(table.ids, table.values.mean(0).tolist(), strict=True)), own.clips, **more)


def _strays(distances: Mapping[str, RunValues]) -> RunValues:
    """Whether a clip of a run is beyond a limit that was made of the other clips: 1 or 0, (R, n)."""
    ids = tuple(sorted(set.intersection(*(set(one.ids) for one in distances.values()))))
    first = next(iter(distances.values()))
    flags = np.zeros((len(first.values), len(ids)))
    for one in distances.values():
        harms, places = one.harms, {id: place for place, id in enumerate(one.ids)}
        for n, id in enumerate(ids):
            rest = np.delete(harms, places[id], axis=1)
            flags[:, n] = np.maximum(flags[:, n], harms[:, places[id]] > limit_of(rest, one.accepted))
    clusters = dict(zip(first.ids, first.clusters, strict=True))
    return RunValues(ids=ids, values=flags, clusters=tuple(clusters[id] for id in ids), sign=1.0,
                     unrelated=np.array([0.0, 1.0]), least=LEAST_STRAYS)  # fmt: skip
