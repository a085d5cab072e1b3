"""Measures on held-out prompts: the reward itself, judges that are not in it, the referee, guards, drift.

In: clips of a model for the held-out prompts, the recipe. Out: a measure is a `scores.json` like any other: a result
for each metric by its name in the recipe, with two more, `reward` and `drift`. Clips of two measures have the same
prompts and seeds, so they are compared in pairs, clustered by prompt (`v2t_eval.core.changes`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from cineloop.errors import NothingMatchedError
from cineloop.files import write_atomic
from v2t_eval.core.inputs import read_inputs
from v2t_eval.core.measurement import REFERENCE_CLIPS
from v2t_eval.core.metric import Figure, MetricResult
from v2t_eval.core.score import ScoreConfig, score
from v2t_eval.core.scores import RESULTS, Scores, render_scores
from v2t_eval.core.statistics import mean_interval, unless_flat
from v2t_eval.learn.rewards import Reward
from v2t_eval.learn.settings import LearnConfig
from v2t_eval.suites.suite import each_once, parse_metric

REWARD, DRIFT = "reward", "drift"


class Measurer:
    """The metrics of a recipe, each with its role: reward, judge, referee or guard.

    Raises:
        UsageError: no such metric.
    """

    def __init__(self, config: LearnConfig) -> None:
        self.reward = None if config.rewards is not None else Reward(config.reward)
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
        self, drawn: Path, scoring: ScoreConfig, *, real: Path | None = None, drift: float | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Scores:  # fmt: skip
        """Score the held-out clips in `drawn`, and keep the scores beside it; without `real` clips no `distances`.

        Raises:
            MissingDependencyError: a metric cannot run. NothingMatchedError: no clip has a reward, or a metric no
                figure. KeyboardInterrupt: stopped.
        """
        left_out = self.distances if real is None else set()
        metrics = {name: metric for name, metric in self.metrics.items() if name not in left_out}
        scores = score(read_inputs(drawn, reference_clips=real), each_once(metrics.values()), scoring, stop=stop)
        scores.require_all()
        results = [] if self.reward is None else [_reward(self.reward, scores, drawn)]
        for name, metric in metrics.items():
            result = replace(scores.result(metric.title), name=name)
            results.append(result if self.roles[name] == REWARD else _with_figure(result, self.roles[name]))
        if drift is not None:
            figure = Figure(value=drift, low=drift, high=drift, n=len(scores.clips))
            results.append(_result(DRIFT, figure, scores, higher_is_better=False, reduction="set"))
        measure = replace(scores, results=results)
        write_atomic(drawn.parent / RESULTS, render_scores(measure))
        return measure


def figures_to_show(scores: Scores, roles: Mapping[str, str]) -> dict[str, tuple[str, Figure]]:
    """Role and figure of each result of a measure but the parts of the reward, by name."""
    known = {REWARD: REWARD, **{name: role for name, role in roles.items() if role != REWARD}, DRIFT: DRIFT}
    return {one.name: (known[one.name], one.figures[one.headline]) for one in scores.results if one.name in known}


def clips_without_reward(scores: Scores) -> dict[str, int]:
    """Clips without a reward, by status."""
    reward = scores.by_name.get(REWARD)
    return {} if reward is None else dict(Counter(failure["code"] for failure in reward.failures))


def _reward(reward: Reward, scores: Scores, drawn: Path) -> MetricResult:
    """The reward of each clip as a metric."""
    rows = reward.of(scores)
    values = {id: row["reward"] for id, row in rows.items() if row["reward"] is not None}
    failures = [{"id": id, "code": row["status"], "message": ""} for id, row in rows.items() if row["reward"] is None]
    if not values:
        statuses = dict(Counter(failure["code"] for failure in failures))
        raise NothingMatchedError(f"none of the held-out clips in {drawn} has a reward: {statuses}")
    clusters = {clip.id: clip.cluster for clip in scores.clips}
    mean, prompts = fmean(values.values()), [clusters[id] for id in values]
    low, high = unless_flat(mean_interval(list(values.values()), prompts), mean, len(set(prompts)), reward.value_range)
    settings = json.dumps([asdict(part) for part in reward.parts])
    return _result(
        REWARD, Figure(value=mean, low=low, high=high, n=len(values)), scores, reduction="mean", failures=failures,
        items=[{"id": id, "value": value} for id, value in values.items()], fingerprint={"settings": settings},
        value_range=reward.value_range,
    )  # fmt: skip


def _result(name: str, figure: Figure, scores: Scores, **more: Any) -> MetricResult:
    usual: dict[str, Any] = {"fingerprint": {}, "items": [], "coverage": figure.n / max(len(scores.clips), 1)}
    return MetricResult(name=name, headline=name, figures={name: figure}, n=len(scores.clips), **usual | more)


def _with_figure(result: MetricResult, role: str) -> MetricResult:
    if result.headline not in result.figures:
        why = "; ".join(dict.fromkeys(failure["message"] for failure in result.failures[:3])) or "; ".join(result.notes)
        hint = "another metric, or more held-out clips a prompt (held_out_videos)"
        raise NothingMatchedError(f"{result.name} ({role}) has no figure for the held-out clips: {why}", hint=hint)
    return result
