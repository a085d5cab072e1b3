"""A metric's result for a few samples, as the tests of single metrics want it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from v2t_eval.core.metric import BaseMetric, MetricResult, load_metric
from v2t_eval.core.sample import Sample

if TYPE_CHECKING:
    from v2t.backends import VideoLM
    from v2t_eval.judge.calibration import Calibration


def result_of(metric: str | type[BaseMetric] | BaseMetric, *samples: Sample, **settings: Any) -> MetricResult:
    """The result of a metric, by its name, class or object, for these samples."""
    if not isinstance(metric, BaseMetric):
        metric = (load_metric(metric) if isinstance(metric, str) else metric)(**settings)
    metric.prepare()
    metric.update(samples)
    return metric.compute()


def result_of_prompts(
    metric: str | BaseMetric, clip: Any, *prompts: str, row: dict | None = None, **settings: Any
) -> MetricResult:
    """The result for one clip under each of these prompts."""
    samples = (Sample(id=f"{n}", clip=clip, prompt=prompt, row=row or {}) for n, prompt in enumerate(prompts))
    return result_of(metric, *samples, **settings)


def judged_by(
    captioner: VideoLM, metric: str, *samples: Sample, calibration: Calibration | None = None, **settings: Any
) -> MetricResult:
    """The result of a metric of this name whose judge asks this captioner."""
    from v2t_eval.judge.judge import Judge

    made: Any = load_metric(metric)(**settings)
    made.judge = Judge(captioner, calibration=calibration)
    return result_of(made, *samples)


def values(result: MetricResult) -> list:
    """The value of each sample; none may have failed."""
    assert not result.failures, result.failures
    return [item["value"] for item in result.items]
