"""Sides of a comparison made of numbers: one metric over prompts of some clips each, without a film behind it."""

from __future__ import annotations

from typing import Any

import numpy as np

from v2t_eval.core.metric import Figure, MetricResult
from v2t_eval.core.scores import ItemScores, Scores
from v2t_eval.gate.policy import Policy, Rule

NUM, SEEDS = 40, 2


def result(values: dict[str, float | None], **other: Any) -> MetricResult:
    """A metric that is a mean over clips."""
    known = [value for value in values.values() if value is not None]
    mean = sum(known) / len(known) if known else 0.0
    figure = Figure(value=mean, low=mean - 0.02, high=mean + 0.02, n=len(known))
    made: dict[str, Any] = {
        "name": "score", "headline": "score", "figures": {"score": figure} if known else {}, "n": len(values),
        "coverage": len(known) / max(len(values), 1), "fingerprint": {}, "value_range": (0.0, 1.0), "reduction": "mean",
        "items": [{"id": id, "value": value} for id, value in values.items()],
    }  # fmt: skip
    return MetricResult(**{**made, **other})


def side(*metrics: MetricResult, num: int = NUM, seeds: int = SEEDS, **other: dict[str, str]) -> Scores:
    """`num` prompts of `seeds` clips each; `other`: fields of the clips by id."""
    ids = [f"p{prompt:02}-{seed}" for prompt in range(num) for seed in range(seeds)]
    prompts = {id: f"prompt {id.split('-')[0]}" for id in ids}
    fields = {"cluster": prompts, "prompt": prompts, "path": {id: f"clips/{id}.mp4" for id in ids}} | other
    clips = [ItemScores(id=id, **{name: values[id] for name, values in fields.items()}) for id in ids]  # type: ignore[arg-type]
    return Scores(sources={}, clips=clips, results=list(metrics))


def bare(results: list[MetricResult], clusters: dict[str, str]) -> Scores:
    return Scores(sources={}, clips=[ItemScores(id=id, cluster=own) for id, own in clusters.items()], results=results)


def drawn(seed: int, shift: float = 0.0, *, num: int = NUM, seeds: int = SEEDS, spread: float = 0.1) -> dict[str, Any]:
    """Values of every clip: a part of the prompt's own, the same for any seed of the draw, and one of the clip's."""
    own = np.repeat(np.random.default_rng(99).normal(0.5, 0.1, num), seeds)
    values = own + np.random.default_rng(seed).normal(shift, spread, num * seeds)
    return {f"p{number // seeds:02}-{number % seeds}": float(value) for number, value in enumerate(values)}


def policy(*rules: Rule, **other: Any) -> Policy:
    return Policy(primary=rules or (Rule(metric="score", margin=0.08),), **other)
