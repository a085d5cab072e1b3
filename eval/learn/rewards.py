"""Rewards of drawn clips: metrics' values summed, one row a clip, none where a metric has none.

In: a run folder of `t2v generate`, the parts of the reward. Out: `rewards.jsonl` in it: `id, prompt, seed, reward,
parts, judge, status`, and counts by status. A clip that could not be judged, that the judge finds out of its domain, or
whose prompt it cannot be asked about (UNAUDITED), has the reward null: it teaches nothing, and is not a zero.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from cineloop.errors import NothingMatchedError, UsageError
from cineloop.files import write_atomic
from cineloop.manifest import dump_line, read_manifest
from t2v.train.rewarded import MANIFEST, REWARDS, read_rewards
from v2t_eval.core.inputs import read_inputs
from v2t_eval.core.score import ScoreConfig, score
from v2t_eval.core.scores import Scores
from v2t_eval.learn.settings import LearnConfig, RewardPart
from v2t_eval.suites.suite import each_once, parse_metric

OK, OUTSIDE = "ok", "OUT_OF_DOMAIN"


class Reward:
    """The sum of a few metrics' values.

    Raises:
        UsageError: no such metric.
    """

    def __init__(self, parts: Sequence[RewardPart]) -> None:
        self.parts, self.metrics = parts, {part.metric: parse_metric(part.metric) for part in parts}

    @property
    def value_range(self) -> tuple[float, float]:
        """The least and the greatest reward, as far as the metrics state them."""
        least = most = 0.0
        for part in self.parts:
            stated = {"chance": (0.0, 1.0), "value": self.metrics[part.metric].value_range}
            ends = sorted(part.weight * end for end in stated.get(part.key, (-math.inf, math.inf)))
            least, most = least + ends[0], most + ends[1]
        return least, most

    def write(self, folder: Path, config: ScoreConfig, *, stop: Callable[[], bool]) -> dict[str, int]:
        """Judge the clips of a run folder; returns how many rows have each status.

        Raises:
            UsageError: a metric without values of single clips, or without the key. KeyboardInterrupt: stopped.
            MissingDependencyError, NothingMatchedError: a metric cannot run, or no clip has a reward.
        """
        scores = score(read_inputs(folder), each_once(self.metrics.values()), config, stop=stop)
        rewards = self.of(scores)
        rows = [
            {"id": row["id"], "prompt": row["prompt"], "seed": row["seed"], **rewards[row["id"]]}
            for row in read_manifest(folder / MANIFEST)
        ]
        write_atomic(folder / REWARDS, b"".join(map(dump_line, rows)))
        statuses = Counter(row["status"] for row in rows)
        if not statuses[OK]:
            why = next((failure["message"] for result in scores.results for failure in result.failures), "")
            listed = ", ".join(f"{count} {status}" for status, count in statuses.items())
            raise NothingMatchedError(f"no clip of {folder} has a reward: {listed}", hint=why)
        return dict(statuses)

    def of(self, scores: Scores) -> dict[str, dict[str, Any]]:
        """`reward`, `parts`, `judge` and `status` of each clip by id.

        Raises:
            UsageError: see `write`. MissingDependencyError, NothingMatchedError: a metric was skipped.
        """
        scores.require_all()
        results = {name: scores.result(metric.title) for name, metric in self.metrics.items()}
        judges = dict.fromkeys(result.fingerprint.get("judge", "") for result in results.values())
        about = ", ".join(filter(None, judges)) or ", ".join(result.name for result in results.values())
        rows: dict[str, dict[str, Any]] = {}
        for clip in scores.clips:
            rows[clip.id] = {"reward": 0.0, "parts": {}, "judge": about, "status": OK}
            if clip.error is not None:
                rows[clip.id] |= {"reward": None, "status": clip.error["code"]}
        for part in self.parts:
            result = results[part.metric]
            values: Mapping[str, Any] = {item["id"]: item for item in result.items}
            codes = {failure["id"]: failure["code"] for failure in result.failures}
            for id, row in rows.items():
                if id not in values:
                    status = row["status"] if row["status"] != OK else codes.get(id, "NO_VALUE")
                    row |= {"reward": None, "status": status}
                    continue
                value = row["parts"][result.name] = _value(values[id], part)
                if values[id].get("outside"):
                    row |= {"reward": None, "status": OUTSIDE}
                elif row["reward"] is not None:
                    row["reward"] += part.weight * value
        return rows


def judge(
    config: LearnConfig, drawn: Path, scoring: ScoreConfig, stop: Callable[[], bool]
) -> tuple[Path, dict[str, int]]:
    """The file of rewards of a round, judged or made by hand, and how many clips have each status."""
    if config.rewards is not None:
        return config.rewards, {OK: len(read_rewards(config.rewards))}
    return drawn / REWARDS, Reward(config.reward).write(drawn, scoring, stop=stop)


def mean_reward(rewards: Path) -> float:
    """Of a file of rewards that something was learnt from."""
    return fmean(read_rewards(rewards).values())


def _value(item: Mapping[str, Any], part: RewardPart) -> float:
    if part.key == "chance" and "chance" not in item:
        chances = [one["chance"] for one in item.get("questions", ()) if one.get("chance") is not None]
        if not chances:
            raise UsageError(
                f"{part.metric} gives no chances of answers", hint="key: value, or a metric that asks questions"
            )
        return fmean(chances)
    value = item.get(part.key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        numbers = [key for key, each in item.items() if isinstance(each, int | float) and not isinstance(each, bool)]
        raise UsageError(f"{part.metric} gives a clip no number {part.key!r}, but {', '.join(numbers) or 'none'}")
    return float(value)
