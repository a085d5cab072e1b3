"""Measures on held-out prompts: the reward itself, judges that are not in it, the referee, guards, drift.

In: clips of a model for the held-out prompts, the recipe. Out: `Measure`, kept as `measure.json`: for each metric its
figure and the value of each clip. Clips of two measures have the same prompts and seeds, so they are compared in pairs,
clustered by prompt.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean

from cineloop.documents import read_json
from cineloop.errors import NothingMatchedError
from cineloop.files import write_atomic
from v2t_eval.core.inputs import read_inputs
from v2t_eval.core.measurement import REFERENCE_CLIPS
from v2t_eval.core.metric import MetricResult
from v2t_eval.core.score import ScoreConfig, score
from v2t_eval.core.statistics import mean_interval, unless_flat
from v2t_eval.learn.rewards import Reward
from v2t_eval.learn.settings import LearnConfig
from v2t_eval.suites.suite import each_once, parse_metric

FILE, REWARD, DRIFT = "measure.json", "reward", "drift"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One figure with its 95 % interval; `role`: reward, judge, referee, guard or drift. `values`: of each clip by id,
    higher is better; empty for figures of a set."""

    name: str
    role: str
    value: float
    low: float
    high: float
    values: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Measure:
    """The figures after so many rounds, by name; `clusters`: the prompt of each clip; `factors`: of the referee, the
    share of clips as asked by factor; `unrewarded`: clips without a reward, by status."""

    round: int
    figures: dict[str, Measured]
    clusters: dict[str, str]
    factors: dict[str, float] = field(default_factory=dict)
    unrewarded: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Measure:
        tree = read_json(path)
        return cls(**{**tree, "figures": {name: Measured(**one) for name, one in tree["figures"].items()}})

    def write(self, path: Path) -> None:
        write_atomic(path, (json.dumps(asdict(self), allow_nan=False, indent=1) + "\n").encode())


@dataclass(frozen=True, kw_only=True)
class Change:
    """The mean of paired differences (now - then) with its 95 % interval, over `num` clips."""

    value: float
    low: float
    high: float
    num: int


class Measurer:
    """The metrics of a recipe, each with its role.

    Raises:
        UsageError: no such metric.
    """

    def __init__(self, config: LearnConfig) -> None:
        self.reward = None if config.rewards is not None else Reward(config.reward)
        self.referee = config.referee
        roles = {} if self.reward is None else dict.fromkeys(self.reward.metrics, REWARD)
        roles |= dict.fromkeys(config.judges, "judge")
        roles |= {} if config.referee is None else {config.referee: "referee"}
        self.roles = roles | {guard.metric: "guard" for guard in config.guards}
        self.metrics = {name: parse_metric(name) for name in self.roles}

    @property
    def distances(self) -> set[str]:
        """The guards that need real clips."""
        needing = {name for name, metric in self.metrics.items() if REFERENCE_CLIPS in metric.needs}
        return {name for name in needing if self.roles[name] == "guard"}

    def measure(
        self, folder: Path, number: int, scoring: ScoreConfig, *, real: Path | None = None, drift: float | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Measure:  # fmt: skip
        """Score the held-out clips in `folder`, after so many rounds; without `real` clips no `distances`.

        Raises:
            MissingDependencyError: a metric cannot run. NothingMatchedError: no clip has a reward.
            KeyboardInterrupt: stopped.
        """
        left_out = self.distances if real is None else set()
        metrics = {name: metric for name, metric in self.metrics.items() if name not in left_out}
        inputs = read_inputs(folder, reference_clips=real)
        scores = score(inputs, each_once(metrics.values()), scoring, stop=stop)
        scores.require_all()
        results = {name: scores.result(metric.title) for name, metric in metrics.items()}
        clusters = {clip.id: clip.cluster for clip in scores.clips}
        figures, unrewarded = {}, {}
        if self.reward is not None:
            rows = self.reward.of(scores)
            values = {id: row["reward"] for id, row in rows.items() if row["reward"] is not None}
            unrewarded = dict(Counter(row["status"] for row in rows.values() if row["reward"] is None))
            if not values:
                raise NothingMatchedError(f"none of the held-out clips in {folder} has a reward: {unrewarded}")
            mean, prompts = fmean(values.values()), [clusters[id] for id in values]
            found = mean_interval(list(values.values()), prompts)
            low, high = unless_flat(found, mean, len(set(prompts)), self.reward.value_range)
            figures[REWARD] = Measured(name=REWARD, role=REWARD, value=mean, low=low, high=high, values=values)
        for name, result in results.items():
            if self.roles[name] != REWARD:
                figures[name] = _figure(name, self.roles[name], result)
        if drift is not None:
            figures[DRIFT] = Measured(name=DRIFT, role=DRIFT, value=drift, low=drift, high=drift)
        referee = {} if self.referee is None else results[self.referee].figures
        factors = {name: figure.value for name, figure in referee.items()}
        return Measure(round=number, figures=figures, clusters=clusters, factors=factors, unrewarded=unrewarded)


def _figure(asked: str, role: str, result: MetricResult) -> Measured:
    if result.headline not in result.figures:
        why = "; ".join(dict.fromkeys(failure["message"] for failure in result.failures[:3])) or "; ".join(result.notes)
        hint = "another metric, or more held-out clips a prompt (held_out_videos)"
        raise NothingMatchedError(f"{asked} ({role}) has no figure for the held-out clips: {why}", hint=hint)
    figure = result.figures[result.headline]
    sign = -1.0 if result.higher_is_better is False else 1.0
    values = {item["id"]: sign * float(item["value"]) for item in result.items if item.get("value") is not None}
    return Measured(name=asked, role=role, value=figure.value, low=figure.low, high=figure.high, values=values)


def change(now: Measure, then: Measure, name: str) -> Change | None:
    """How a figure changed, by clips that have it both times; None where it has no values of clips."""
    mine, others = now.figures[name].values, then.figures[name].values
    shared = [id for id in mine if id in others]
    if not shared:
        return None
    differences = [mine[id] - others[id] for id in shared]
    low, high = mean_interval(differences, [now.clusters[id] for id in shared])
    return Change(value=fmean(differences), low=low, high=high, num=len(shared))
