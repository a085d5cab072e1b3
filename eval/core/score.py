"""Score samples by metrics, reusing cached evidence.

In: samples and metrics. Out: `Scores`. Each clip is decoded once for all metrics (`v2t_eval.core.executor`). A
rescoring decodes nothing, and an interrupted scoring continues where it stopped. A sample that cannot be measured is an
error with a code and lowers the coverage; a metric that cannot run is skipped with a reason; neither stops the rest.
"""

from __future__ import annotations

import platform
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from cineloop.errors import MissingDependencyError, NothingMatchedError, UsageError
from cineloop.log import Progress, logger, plural, printable
from v2t_eval.core import models
from v2t_eval.core.cache import EvidenceCache
from v2t_eval.core.executor import Executor, ExecutorConfig
from v2t_eval.core.inputs import Inputs
from v2t_eval.core.measurement import NOTHING_ASKED, REFERENCE_CLIPS, Observation
from v2t_eval.core.metric import BaseMetric, MetricResult
from v2t_eval.core.sample import HINTS, Sample
from v2t_eval.core.scores import AbsentMetric, ItemScores, Scores, require_ready
from v2t_eval.core.worker import Error, Job, error_of

_GIVEN_BY = {"caption": "captions", "answer": "answers", "prompt": "prompts", "references": "references",
             "reference_video": "reference_videos"}  # fmt: skip
_PACKAGES = ("cineloop", "numpy", "torch", "open_clip_torch", "transformers", "opencv-python-headless", "av")


@dataclass(frozen=True, kw_only=True)
class ScoreConfig(ExecutorConfig):
    """Settings of a scoring: those of its measurements, and these.

    Attributes:
        is_suite: skip metrics whose inputs no sample has, instead of raising.
        decides: titles of metrics without which the scores are of no use: where one cannot run, nothing is measured.
    """

    is_suite: bool = False
    decides: tuple[str, ...] = ()


def score(
    inputs: Inputs,
    metrics: Sequence[BaseMetric],
    config: ScoreConfig | None = None,
    *,
    stop: Callable[[], bool] = lambda: False,
    show_progress: bool = False,
) -> Scores:
    """Score samples by metrics. Clips may hold their frames already; metrics are reset. `stop` is polled between
    samples: samples in progress are then finished and cached.

    Raises:
        NothingMatchedError: there is no sample.
        UsageError: two samples have one id, or no sample has what a metric needs (see `ScoreConfig.is_suite`).
        MissingDependencyError: the device is not available, or a metric of `decides` cannot run here.
        KeyboardInterrupt: `stop` returned true before all was measured.
    """
    config = config or ScoreConfig()
    with models.on_device(config.device):
        return _score_samples(inputs, metrics, config, stop, show_progress)


def _score_samples(
    inputs: Inputs, metrics: Sequence[BaseMetric], config: ScoreConfig, stop: Callable[[], bool], show_progress: bool
) -> Scores:
    for samples in (inputs.samples, inputs.references):
        _refuse_twice(samples)
    if not inputs.samples:
        raise NothingMatchedError("there is no sample to score")
    fitting, skipped = fitting_metrics(inputs, metrics, is_suite=config.is_suite)
    ready, missing = load_metrics(fitting)
    require_ready(missing, config.decides)
    total = len(inputs.samples) + len(inputs.references)
    with (
        EvidenceCache(config.cache) as cache,
        Executor(ready, config.limits, cache, config.place_for(total)) as executor,
        Progress(total, "scoring", enabled=show_progress) as bar,
    ):
        clips, counts = _observe(inputs, ready, executor, stop, bar)
    results, broken = _summaries(ready, config)
    summed, without = _composites(metrics, results)
    return Scores(
        sources=inputs.sources,
        clips=clips,
        results=[*results, *summed],
        skipped=[*skipped, *missing, *broken, *without],
        counts={**inputs.counts, **counts},
        environment=environment(),
    )


def _observe(
    inputs: Inputs, metrics: Sequence[BaseMetric], executor: Executor, stop: Callable[[], bool], bar: Progress
) -> tuple[list[ItemScores], Counter[str]]:
    """Give the metrics the evidence of every sample; returns the samples in the order of ids, and counts.

    Raises:
        KeyboardInterrupt: stopped before all was measured.
    """
    dimensions = _named_dimensions(inputs)

    def is_asked(metric: BaseMetric, sample: Sample, is_reference: bool) -> bool:
        if is_reference:  # they are for metrics that compare sets
            return REFERENCE_CLIPS in metric.needs
        return metric.name not in dimensions or metric.name in _dimensions(sample)

    def open_jobs() -> Iterator[Job]:
        for is_reference, samples in ((False, inputs.samples), (True, inputs.references)):
            for sample in samples:
                numbers = [n for n, metric in enumerate(metrics) if is_asked(metric, sample, is_reference)]
                yield executor.open(sample, numbers, is_reference=is_reference)

    abouts: dict[str, dict[str, Any]] = {}
    errors: dict[str, Error] = {}
    counts: Counter[str] = Counter()
    num_done = num_known = 0
    for job in executor.run(open_jobs(), stop):
        sample = job.sample
        for n, evidence in job.evidence.items():
            row = Observation(id=sample.id, cluster=sample.cluster, evidence=evidence)
            metrics[n].add(row, reference=job.is_reference)
        for n, error in job.errors.items():
            metrics[n].fail(sample.id, error, reference=job.is_reference)
        if job.error is not None and not job.is_reference:
            errors[sample.id] = job.error
        if job.about is not None and not job.is_reference:
            abouts[sample.id] = job.about
            counts.update(f"warned_{warning['code']}" for warning in job.about["warnings"])
        num_done, num_known = num_done + 1, num_known + len(job.keys) - len(job.todo)
        bar.advance(1, f"{num_known} pieces cached")
    total = len(inputs.samples) + len(inputs.references)
    if num_done < total and not stop():
        raise RuntimeError(f"{total - num_done} of {total} samples were lost; this is a bug")
    if num_done < total:
        kept = "is cached: the same command continues from there" if executor.cache.path else "is lost without a cache"
        logger.warning("stopped after %d of %d samples; what was measured %s", num_done, total, kept)
        raise KeyboardInterrupt
    logger.debug("%d pieces of evidence were cached", num_known)
    ordered = sorted(inputs.samples, key=lambda sample: sample.id)
    return [_clip(sample, abouts.get(sample.id, {}), errors.get(sample.id)) for sample in ordered], counts


def _clip(sample: Sample, about: dict[str, Any], error: Error | None) -> ItemScores:
    clip, path = sample.clip, sample.row.get("path")
    if error is None and clip is None and sample.caption is None and isinstance(sample.row.get("error"), dict):
        error = {key: str(sample.row["error"].get(key, "")) for key in ("code", "message", "hint")}
    return ItemScores(
        id=sample.id,
        cluster=sample.cluster,
        status="ok" if error is None else "failed",
        path=path if isinstance(path, str) else None,
        content=clip.content or None if clip is not None else None,
        prompt=sample.prompt,
        caption=sample.caption,
        references=sample.references,
        duration_s=about.get("duration_s"),
        fps=about.get("fps"),
        size=tuple(about["size"]) if about else None,
        start_s=sample.row.get("start_s") if clip is None else clip.start_s,
        end_s=sample.row.get("end_s") if clip is None else clip.end_s,
        num_frames=about.get("num_frames"),
        decoder=about.get("decoder"),
        frozen=about.get("frozen"),
        error=error,
    )


def _named_dimensions(inputs: Inputs) -> set[str]:
    """Dimensions of a benchmark named by the prompts; such a list assigns clips to dimensions."""
    return {name for sample in inputs.samples for name in _dimensions(sample)}


def _dimensions(sample: Sample) -> tuple[str, ...]:
    named = sample.row.get("dimension")
    return tuple(named) if isinstance(named, list) else (named,) if isinstance(named, str) else ()


def fitting_metrics(
    inputs: Inputs, metrics: Sequence[BaseMetric], *, is_suite: bool
) -> tuple[list[BaseMetric], list[AbsentMetric]]:
    """Metrics whose inputs some sample has, and why the others are skipped.

    Raises:
        UsageError: a metric requested by name fits no sample.
    """
    fitting, skipped = [], []
    dimensions = _named_dimensions(inputs)
    for metric in metrics:
        is_dimension = metric.composite is not None and metric.name in metric.composite.parts
        if dimensions and is_dimension and metric.name not in dimensions:
            reason = f"no prompt names this dimension; those named: {', '.join(sorted(dimensions))}"
            skipped.append(AbsentMetric(metric=metric.title, reason=reason, code="NO_DIMENSION"))
            continue
        lacking = [name for name in metric.needs if not _brings(inputs, name)]
        texts = {"caption", "answer"} & set(metric.uses) if metric.level == "text" else set()
        if texts and not any(_brings(inputs, name) for name in texts):  # missing ones count as wrong: all would
            lacking += sorted(texts)
        if not lacking:
            fitting.append(metric)
            continue
        reason = f"{metric.title} needs {' and '.join(lacking)}, which no sample has"
        hint = HINTS.get(lacking[0], "")
        if lacking[0] == "reference_clips":
            reason, hint = f"{metric.title} needs a second set of clips", "give --reference-clips"
        if not is_suite:
            raise UsageError(reason, hint=hint)
        skipped.append(AbsentMetric(metric=metric.title, reason=reason, hint=hint, code=f"NO_{lacking[0].upper()}"))
    return fitting, skipped


def _brings(inputs: Inputs, name: str) -> bool:
    if name == "reference_clips":
        return bool(inputs.references)
    # A given file without data for any sample leads to failures, not to an error.
    given = _GIVEN_BY.get(name) in inputs.sources
    return given or any(sample.get(name) is not None for sample in inputs.samples)


def _refuse_twice(samples: Sequence[Sample]) -> None:
    twice = [id for id, count in Counter(sample.id for sample in samples).items() if count > 1]
    if twice:
        raise UsageError(f"{len(twice)} ids come twice, for example {printable(twice[0])}", code="SAME_NAME")


def load_metrics(metrics: Sequence[BaseMetric]) -> tuple[list[BaseMetric], list[AbsentMetric]]:
    """The metrics with their models loaded, and why the others cannot run here."""
    ready, skipped = [], []
    for metric in metrics:
        metric.reset()
        try:
            metric.prepare()
            metric.fingerprint()
        except UsageError:
            raise
        except MissingDependencyError as error:
            skipped.append(AbsentMetric(metric=metric.title, reason=error.message, hint=error.hint))
        except Exception as error:  # one failing metric must not affect the others
            skipped.append(_broken(metric, error))
        else:
            ready.append(metric)
            continue
        logger.warning("skipped: %s: %s (%s)", metric.title, skipped[-1].reason, skipped[-1].hint or "no hint")
    return ready, skipped


def _broken(metric: BaseMetric, error: Exception) -> AbsentMetric:
    record = error_of(error)
    return AbsentMetric(metric=metric.title, reason=record["message"], hint=record["hint"], code=record["code"])


def _summaries(metrics: Sequence[BaseMetric], config: ScoreConfig) -> tuple[list[MetricResult], list[AbsentMetric]]:
    results, broken = [], []
    for metric in metrics:
        try:
            result = metric.compute()
        except NothingMatchedError as error:
            broken.append(
                AbsentMetric(metric=metric.title, reason=error.message, hint=error.hint, code=f"NO_{NOTHING_ASKED}")
            )
            continue
        except Exception as error:  # one failing metric must not affect the others
            broken.append(_broken(metric, error))
            logger.warning("%s has no result: %s", metric.title, broken[-1].reason)
            logger.debug("%s", metric.title, exc_info=error)
            continue
        codes = {failure["code"] for failure in result.failures}
        if config.is_suite and not (result.figures or codes or result.name in config.decides):
            reason = f"too few samples for a figure: {plural(result.n, 'sample')}"  # such as the rank of one clip alone
            broken.append(AbsentMetric(metric=metric.title, reason=reason, code="NO_FIGURE"))
        elif config.is_suite and not result.figures and len(codes) == 1 and (code := codes.pop()).startswith("NO_"):
            reason = f"all {result.n} samples failed: {result.failures[0]['message']}"
            broken.append(AbsentMetric(metric=metric.title, reason=reason, code=code))
        else:
            results.append(result)
    return results, broken


def _composites(
    metrics: Sequence[BaseMetric], results: Sequence[MetricResult]
) -> tuple[list[MetricResult], list[AbsentMetric]]:
    """Composite metrics all of whose parts were requested, or why they have no result."""
    named = {result.name.partition("[")[0]: result for result in results}
    made, skipped = [], []
    for composite in dict.fromkeys(metric.composite for metric in metrics if metric.composite is not None):
        parts = {metric.name: metric for metric in metrics if metric.name in composite.parts}
        if len(parts) < len(composite.parts):
            continue
        try:
            made.append(composite.compute(parts, named))
        except UsageError as error:
            reason, hint = error.message, error.hint
            skipped.append(AbsentMetric(metric=composite.name, reason=reason, hint=hint, code="NO_DIMENSIONS"))
    return made, skipped


def environment() -> dict[str, str]:
    """Versions of packages, the device, and the date."""
    versions = {"python": platform.python_version(), "machine": platform.machine()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    torch = sys.modules.get("torch")
    device = "cpu" if torch is None else models.device()
    versions["device"] = device if torch is None or device == "cpu" else torch.cuda.get_device_name(device)
    return versions | {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
