"""Score samples by metrics, reusing cached evidence.

In: samples and metrics. Out: `Scores`. Each clip is decoded once for all metrics (`v2t_eval.core.measure`). A rescoring
decodes nothing, and an interrupted scoring continues where it stopped. A sample that cannot be measured is an error
with a code and lowers the coverage; a metric that cannot run is skipped with a reason; neither stops the rest.
"""

from __future__ import annotations

import platform
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any

from cineloop.cluster.settings import ClusterConfig
from cineloop.cluster.workers import Session
from cineloop.errors import MissingDependencyError, NothingMatchedError, UsageError
from cineloop.log import Progress, logger, plural, printable
from cineloop.threads import usable_cpus
from cineloop.training.runtime import check_device
from v2t_eval.core import models
from v2t_eval.core.cache import EvidenceCache
from v2t_eval.core.cluster import fold, measured_on
from v2t_eval.core.inputs import Inputs
from v2t_eval.core.measure import ClipLimits, Engine, Error, Job, error_of
from v2t_eval.core.measurement import NOTHING_ASKED, REFERENCE_CLIPS, Observation
from v2t_eval.core.metric import BaseMetric, MetricResult
from v2t_eval.core.processes import measured_by
from v2t_eval.core.sample import HINTS, Sample
from v2t_eval.core.scores import Scored, Scores, Skipped, require_ready
from v2t_eval.vbench.total import QUALITY, SEMANTIC, vbench_total

_GIVEN_BY = {"caption": "captions", "answer": "answers", "prompt": "prompts", "references": "references",
             "reference_video": "reference_videos"}  # fmt: skip
_MOST_WORKERS = 8
_CLIPS_EACH = 8  # fewer are not worth the start of a process
_PACKAGES = ("cineloop", "numpy", "torch", "open_clip_torch", "transformers", "opencv-python-headless", "av")


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """Settings of a scoring.

    Attributes:
        workers: processes; None chooses by cores, GPUs and clips. The result is the same.
        cache: folder for evidence; None for no cache.
        limits: memory and time per clip.
        is_suite: skip metrics whose inputs no sample has, instead of raising.
        decides: titles of metrics without which the scores are of no use: where one cannot run, nothing is measured.
        cluster: where to measure; by default on this machine.
        journals: folder for the journals of a cluster's workers, of this scoring alone; a cluster needs one.
        session: of several scorings on one cluster; None starts and ends the cluster's engine for each.
        device: where models compute: auto, cpu, cuda or cuda:N; auto shares the GPUs out among workers.
    """

    workers: int | None = 1
    cache: Path | None = None
    limits: ClipLimits = field(default_factory=ClipLimits)
    is_suite: bool = False
    decides: tuple[str, ...] = ()
    device: str = "auto"
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    journals: Path | None = None
    session: Session | None = None

    def __post_init__(self) -> None:
        if self.cluster.engine != "none" and self.journals is None:
            raise UsageError("a scoring on a cluster needs an output folder", hint="give it by -o")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}")
        check_device(self.device)


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
        return _scored(inputs, metrics, config, stop, show_progress)


def _scored(
    inputs: Inputs, metrics: Sequence[BaseMetric], config: ScoreConfig, stop: Callable[[], bool], show_progress: bool
) -> Scores:
    for samples in (inputs.samples, inputs.references):
        _refuse_twice(samples)
    if not inputs.samples:
        raise NothingMatchedError("there is no sample to score")
    fitting, skipped = fitting_metrics(inputs, metrics, is_suite=config.is_suite)
    ready, missing = prepared(fitting)
    require_ready(missing, config.decides)
    total = len(inputs.samples) + len(inputs.references)
    with (
        EvidenceCache(config.cache) as cache,
        Engine(ready, config.limits, cache) as engine,
        Progress(total, "scoring", enabled=show_progress) as bar,
    ):
        gathering = _Gathering(inputs, ready, engine, bar)
        if config.journals is not None:
            fold(config.journals, cache)
        gathering.run(config, stop)
    results, broken = _computed(ready, config)
    summed, without = _vbench_total(metrics, results)
    return Scores(
        sources=inputs.sources,
        clips=gathering.clips(),
        results=[*results, *summed],
        skipped=[*skipped, *missing, *broken, *without],
        counts={**inputs.counts, **gathering.counts},
        environment=environment(),
    )


class _Gathering:
    """Passes the samples through the engine into the metrics; used once."""

    def __init__(self, inputs: Inputs, metrics: Sequence[BaseMetric], engine: Engine, bar: Progress) -> None:
        self.inputs, self.metrics, self.engine, self.bar = inputs, metrics, engine, bar
        self.dimensions = _named_dimensions(inputs)
        self.abouts: dict[str, dict[str, Any]] = {}
        self.broken: dict[str, Error] = {}
        self.counts: Counter[str] = Counter()
        self.finished = self.num_known = 0

    def run(self, config: ScoreConfig, stop: Callable[[], bool]) -> None:
        """Measure what is not cached."""
        engine, total = self.engine, len(self.inputs.samples) + len(self.inputs.references)
        workers = config.workers or usual_workers(total)
        is_here = workers == 1 and config.cluster.engine == "none"
        for job in measured(engine, config, workers, self._jobs(is_here, stop), stop):
            self._take(job)
        if self.finished < total and not stop():
            raise RuntimeError(f"{total - self.finished} of {total} samples were lost; this is a bug")
        if self.finished < total:
            kept = (
                "is cached: the same command continues from there" if engine.cache.path else "is lost without a cache"
            )
            logger.warning("stopped after %d of %d samples; what was measured %s", self.finished, total, kept)
            raise KeyboardInterrupt
        logger.debug("%d pieces of evidence were cached", self.num_known)

    def _jobs(self, is_here: bool, stop: Callable[[], bool]) -> Iterator[Job]:
        """Jobs to measure; cached ones are finished here, and cheap ones if others are measured elsewhere."""
        both = [(sample, False) for sample in self.inputs.samples]
        both += [(sample, True) for sample in self.inputs.references]
        for sample, is_reference in both:
            if stop():
                return
            asked = [n for n, metric in enumerate(self.metrics) if self._is_asked(metric, sample, is_reference)]
            job = self.engine.open(sample, asked, is_reference=is_reference)
            self.num_known += len(job.keys) - len(job.todo)
            if not job.todo:
                self._take(job)
            elif not is_here and not self.engine.wants_frames(job):
                self._take(self.engine.finish(self.engine.begin(job)))
            else:
                yield job

    def _is_asked(self, metric: BaseMetric, sample: Sample, is_reference: bool) -> bool:
        """References are for metrics that compare sets; a prompt list with dimensions assigns metrics to samples."""
        if is_reference:
            return REFERENCE_CLIPS in metric.needs
        return metric.name not in self.dimensions or metric.name in _dimensions(sample)

    def _take(self, job: Job) -> None:
        """Cache the evidence, and pass evidence and errors to the metrics."""
        sample = job.sample
        self.engine.keep(job)
        for n, evidence in job.evidence.items():
            row = Observation(id=sample.id, cluster=sample.cluster, evidence=evidence)
            self.metrics[n].add(row, reference=job.is_reference)
        for n, error in job.errors.items():
            self.metrics[n].fail(sample.id, error, reference=job.is_reference)
        if not job.is_reference:
            if job.error is not None:
                self.broken[sample.id] = job.error
            if job.about is not None:
                self.abouts[sample.id] = job.about
                self.counts.update(f"warned_{warning['code']}" for warning in job.about["warnings"])
        self.finished += 1
        self.bar.advance(1, f"{self.num_known} pieces cached")

    def clips(self) -> list[Scored]:
        """Every expected sample, in the order of ids."""
        return [self._scored(sample) for sample in sorted(self.inputs.samples, key=lambda sample: sample.id)]

    def _scored(self, sample: Sample) -> Scored:
        error, clip = self.broken.get(sample.id), sample.clip
        if error is None and clip is None and sample.caption is None and isinstance(sample.row.get("error"), dict):
            error = {key: str(sample.row["error"].get(key, "")) for key in ("code", "message", "hint")}
        found = self.abouts.get(sample.id, {})
        path = sample.row.get("path")
        return Scored(
            id=sample.id,
            cluster=sample.cluster,
            status="ok" if error is None else "failed",
            path=path if isinstance(path, str) else None,
            content=clip.content or None if clip is not None else None,
            prompt=sample.prompt,
            caption=sample.caption,
            references=sample.references,
            duration_s=found.get("duration_s"),
            fps=found.get("fps"),
            size=tuple(found["size"]) if found else None,
            start_s=sample.row.get("start_s") if clip is None else clip.start_s,
            end_s=sample.row.get("end_s") if clip is None else clip.end_s,
            num_frames=found.get("num_frames"),
            decoder=found.get("decoder"),
            frozen=found.get("frozen"),
            error=error,
        )


def measured(
    engine: Engine, config: ScoreConfig, workers: int, jobs: Iterator[Job], stop: Callable[[], bool]
) -> Iterator[Job]:
    """The jobs, measured where the config says: on a cluster, by so many processes, or in this one."""
    first = next(jobs, None)
    if first is None:  # all is cached: neither cluster nor processes
        return
    every = chain([first], jobs)
    if config.cluster.engine != "none" and config.journals is not None:
        yield from measured_on(
            config.cluster, config.journals, engine.metrics, engine.limits, every, stop, config.session
        )
    elif workers == 1:
        yield from engine.run(every, stop)
    else:
        yield from measured_by(workers, engine.metrics, engine.limits, every, stop)


def _named_dimensions(inputs: Inputs) -> set[str]:
    """VBench dimensions named by the prompts; such a list assigns clips to dimensions."""
    return {name for sample in inputs.samples for name in _dimensions(sample)}


def _dimensions(sample: Sample) -> tuple[str, ...]:
    named = sample.row.get("dimension")
    return tuple(named) if isinstance(named, list) else (named,) if isinstance(named, str) else ()


def fitting_metrics(
    inputs: Inputs, metrics: Sequence[BaseMetric], *, is_suite: bool
) -> tuple[list[BaseMetric], list[Skipped]]:
    """Metrics whose inputs some sample has, and why the others are skipped.

    Raises:
        UsageError: a metric requested by name fits no sample.
    """
    fitting, skipped = [], []
    dimensions = _named_dimensions(inputs)
    for metric in metrics:
        if dimensions and metric.name in {*QUALITY, *SEMANTIC} - dimensions:
            reason = f"no prompt names this dimension; those named: {', '.join(sorted(dimensions))}"
            skipped.append(Skipped(metric=metric.title, reason=reason, code="NO_DIMENSION"))
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
        skipped.append(Skipped(metric=metric.title, reason=reason, hint=hint, code=f"NO_{lacking[0].upper()}"))
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


def prepared(metrics: Sequence[BaseMetric]) -> tuple[list[BaseMetric], list[Skipped]]:
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
            skipped.append(Skipped(metric=metric.title, reason=error.message, hint=error.hint))
        except Exception as error:  # one failing metric must not affect the others
            skipped.append(_broken(metric, error))
        else:
            ready.append(metric)
            continue
        logger.warning("skipped: %s: %s (%s)", metric.title, skipped[-1].reason, skipped[-1].hint or "no hint")
    return ready, skipped


def _broken(metric: BaseMetric, error: Exception) -> Skipped:
    found = error_of(error)
    return Skipped(metric=metric.title, reason=found["message"], hint=found["hint"], code=found["code"])


def _computed(metrics: Sequence[BaseMetric], config: ScoreConfig) -> tuple[list[MetricResult], list[Skipped]]:
    results, broken = [], []
    for metric in metrics:
        try:
            result = metric.compute()
        except NothingMatchedError as error:
            broken.append(
                Skipped(metric=metric.title, reason=error.message, hint=error.hint, code=f"NO_{NOTHING_ASKED}")
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
            broken.append(Skipped(metric=metric.title, reason=reason, code="NO_FIGURE"))
        elif config.is_suite and not result.figures and len(codes) == 1 and (code := codes.pop()).startswith("NO_"):
            reason = f"all {result.n} samples failed: {result.failures[0]['message']}"
            broken.append(Skipped(metric=metric.title, reason=reason, code=code))
        else:
            results.append(result)
    return results, broken


def _vbench_total(
    metrics: Sequence[BaseMetric], results: Sequence[MetricResult]
) -> tuple[list[MetricResult], list[Skipped]]:
    """VBench's totals where all its dimensions were requested, or why there are none."""
    dimensions = {metric.name: metric for metric in metrics if metric.name in {*QUALITY, *SEMANTIC}}
    if len(dimensions) < len(QUALITY) + len(SEMANTIC):
        return [], []
    found = {result.name.partition("[")[0]: result for result in results}
    modes = {getattr(metric.settings, "mode", "fixed") for metric in dimensions.values()}
    try:
        if len(modes) > 1:
            raise UsageError("a total needs all dimensions in one mode", hint="mode=fixed or mode=compat for all")
        return [vbench_total(found, modes.pop())], []
    except UsageError as error:
        return [], [Skipped(metric="vbench_total", reason=error.message, hint=error.hint, code="NO_DIMENSIONS")]


def usual_workers(num_clips: int) -> int:
    """As many as there are GPUs; without one, half the cores, and no more than have enough clips to do."""
    if gpus := models.shared_gpus():
        return max(1, min(len(gpus), num_clips))
    return max(1, min(usable_cpus() // 2, _MOST_WORKERS, num_clips // _CLIPS_EACH))


def environment() -> dict[str, str]:
    """Versions of packages, the device, and the date."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    torch = sys.modules.get("torch")
    device = "cpu" if torch is None else models.device()
    found["device"] = device if torch is None or device == "cpu" else torch.cuda.get_device_name(device)
    return found | {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
