"""Measures on held-out prompts: the reward itself, judges that are not in it, the referee, guards, drift.

In: clips of a model for the held-out prompts, the recipe. Out: `Measure`, kept as `measure.json`: for each metric its
figure and the value of each clip. Clips of two measures have the same prompts and seeds, so they are compared in pairs,
clustered by prompt.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean

from cineloop.documents import read_json
from cineloop.files import write_atomic
from v2t_eval.inputs import read_inputs
from v2t_eval.learn.rewards import rewards_of
from v2t_eval.learn.settings import LearnConfig
from v2t_eval.metric import MetricResult
from v2t_eval.score import ScoreConfig, score
from v2t_eval.scores import Scores
from v2t_eval.stats import mean_interval
from v2t_eval.suite import parse_metrics

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
        """A measure that was written."""
        tree = read_json(path)
        return cls(**{**tree, "figures": {name: Measured(**one) for name, one in tree["figures"].items()}})

    def write(self, path: Path) -> None:
        """As JSON."""
        write_atomic(path, (json.dumps(asdict(self), allow_nan=False, indent=1) + "\n").encode())


@dataclass(frozen=True, kw_only=True)
class Change:
    """The mean of paired differences (now - then) with its 95 % interval, over `num` clips."""

    value: float
    low: float
    high: float
    num: int


def measure(
    folder: Path, config: LearnConfig, number: int, *, real: Path | None, drift: float | None, scoring: ScoreConfig,
    stop: Callable[[], bool],
) -> Measure:  # fmt: skip
    """Score the held-out clips in `folder`.

    Raises:
        MissingDependencyError: a metric cannot run. KeyboardInterrupt: stopped.
    """
    roles = _roles(config, with_real=real is not None)
    inputs = read_inputs(folder, reference_clips=real)
    metrics = parse_metrics(",".join(roles))
    scores = score(inputs, metrics, scoring, stop=stop)
    scores.require_all()
    figures = {}
    for (asked, role), metric in zip(roles.items(), metrics, strict=True):
        if role != REWARD:
            figures[asked] = _figure(asked, role, scores.result(metric.title))
    clusters = {clip.id: clip.cluster for clip in scores.clips}
    unrewarded: dict[str, int] = {}
    if config.rewards is None:
        figures = {REWARD: _reward(scores, config, clusters, unrewarded)} | figures
    if drift is not None:
        figures[DRIFT] = Measured(name=DRIFT, role=DRIFT, value=drift, low=drift, high=drift)
    factors = {} if config.referee is None else _factors(scores, config.referee)
    return Measure(round=number, figures=figures, clusters=clusters, factors=factors, unrewarded=unrewarded)


def _roles(config: LearnConfig, *, with_real: bool) -> dict[str, str]:
    """The metrics to run, each with its role."""
    roles = {part.metric: REWARD for part in config.reward} if config.rewards is None else {}
    roles |= dict.fromkeys(config.judges, "judge")
    roles |= {} if config.referee is None else {config.referee: "referee"}
    guards = {guard.metric: "guard" for guard in config.guards}
    return roles | {name: role for name, role in guards.items() if with_real or not _is_distance(name)}


def needs_real(config: LearnConfig) -> bool:
    """Whether a guard is a distance to real clips."""
    return any(_is_distance(guard.metric) for guard in config.guards)


def _is_distance(metric: str) -> bool:
    return "reference_clips" in parse_metrics(metric)[0].needs


def _figure(asked: str, role: str, result: MetricResult) -> Measured:
    figure = result.figures[result.headline]
    sign = -1.0 if result.higher_is_better is False else 1.0
    values = {item["id"]: sign * float(item["value"]) for item in result.items if item.get("value") is not None}
    return Measured(name=asked, role=role, value=figure.value, low=figure.low, high=figure.high, values=values)


def _reward(scores: Scores, config: LearnConfig, clusters: Mapping[str, str], unrewarded: dict[str, int]) -> Measured:
    names = dict.fromkeys(part.metric for part in config.reward)
    rewards = rewards_of(scores, config.reward, parse_metrics(",".join(names)))
    for row in rewards.values():
        if row["reward"] is None:
            unrewarded[row["status"]] = unrewarded.get(row["status"], 0) + 1
    values = {id: row["reward"] for id, row in rewards.items() if row["reward"] is not None}
    low, high = mean_interval(list(values.values()), [clusters[id] for id in values])
    return Measured(name=REWARD, role=REWARD, value=fmean(values.values()), low=low, high=high, values=values)


def _factors(scores: Scores, referee: str) -> dict[str, float]:
    result = scores.result(parse_metrics(referee)[0].title)
    return {name: figure.value for name, figure in result.figures.items()}


def change(now: Measure, then: Measure, name: str) -> Change | None:
    """How a figure changed, by clips that have it both times; None where it has no values of clips."""
    mine, others = now.figures[name].values, then.figures[name].values
    shared: Sequence[str] = [id for id in mine if id in others]
    if not shared:
        return None
    differences = [mine[id] - others[id] for id in shared]
    low, high = mean_interval(differences, [now.clusters[id] for id in shared])
    return Change(value=fmean(differences), low=low, high=high, num=len(shared))
