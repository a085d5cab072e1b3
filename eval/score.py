"""Scoring: samples and metrics in, `Scores` out; what was measured before is not measured again.

Each clip is decoded once for all metrics. Evidence is kept under the content of what a metric reads and the metric's
fingerprint, so a rescoring decodes nothing, and a scoring that was cut short goes on where it stopped. A sample that
cannot be measured is a failure with a code and lowers the coverage; a metric that cannot run is skipped with a reason;
neither stops the rest.
"""

from __future__ import annotations

import platform
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from cineloop.errors import MissingDependencyError, NothingMatchedError, UsageError
from cineloop.log import logger, printable
from cineloop.threads import usable_cpus
from cineloop.training.runtime import check_device
from v2t_eval import models
from v2t_eval.cache import EvidenceCache
from v2t_eval.evidence import Gathering, named_dimensions
from v2t_eval.inputs import Inputs
from v2t_eval.measure import ClipLimits, Failure
from v2t_eval.metric import NOTHING_ASKED, BaseMetric, MetricResult
from v2t_eval.sample import HINTS, Sample
from v2t_eval.scores import Scores, Skipped
from v2t_eval.vbench.total import QUALITY, SEMANTIC, vbench_total

_GIVEN_BY = {"caption": "captions", "answer": "answers", "prompt": "prompts", "references": "references",
             "reference_video": "reference_videos"}  # fmt: skip
_MOST_WORKERS = 8
_CLIPS_EACH = 8  # fewer are not worth the start of a process
_PACKAGES = ("cineloop", "numpy", "torch", "open_clip_torch", "transformers", "opencv-python-headless", "av")


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """How to score.

    Attributes:
        workers: processes; None chooses by cores, GPUs and clips. The result is the same.
        cache: folder for evidence; None keeps none.
        limits: what one clip may cost.
        is_suite: leave out metrics that no sample brings the inputs for, instead of refusing.
        device: where models compute: auto, cpu, cuda or cuda:N; auto shares the GPUs out among workers.

    Raises:
        ValueError: fewer than one worker. UsageError: no such device.
    """

    workers: int | None = 1
    cache: Path | None = None
    limits: ClipLimits = field(default_factory=ClipLimits)
    is_suite: bool = False
    device: str = "auto"

    def __post_init__(self) -> None:
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
    """Score samples by metrics.

    Args:
        inputs: what to score, see `v2t_eval.inputs.read_inputs`; clips may hold their frames already.
        metrics: not loaded yet; they are reset.
        config: see `ScoreConfig`.
        stop: asked between samples; when it says yes, what is in hand is finished and kept.

    Raises:
        NothingMatchedError: there is no sample.
        UsageError: two samples have one id, or no sample brings what a metric needs (see `ScoreConfig.is_suite`).
        MissingDependencyError: the device is not there.
        KeyboardInterrupt: `stop` said yes before all was measured.
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
    ready, missing = _prepared(fitting)
    with EvidenceCache(config.cache) as cache:
        gathering = Gathering(inputs, ready, cache, config.limits)
        workers = config.workers or _usual_workers(len(inputs.samples) + len(inputs.references))
        gathering.run(workers, stop, show_progress)
    results, broken = _computed(ready, is_suite=config.is_suite)
    total, untold = _vbench_total(metrics, results)
    return Scores(
        sources=inputs.sources,
        clips=gathering.clips(),
        results=[*results, *total],
        skipped=[*skipped, *missing, *broken, *untold],
        counts={**inputs.counts, **gathering.counts},
        environment=environment(),
    )


def fitting_metrics(
    inputs: Inputs, metrics: Sequence[BaseMetric], *, is_suite: bool
) -> tuple[list[BaseMetric], list[Skipped]]:
    """Metrics whose needs some sample brings, and why the others are left out.

    Raises:
        UsageError: a metric fits no sample, and it was asked for by name.
    """
    fitting, skipped = [], []
    dimensions = named_dimensions(inputs)
    for metric in metrics:
        if dimensions and metric.name in {*QUALITY, *SEMANTIC} - dimensions:
            reason = f"no prompt names this dimension; those named: {', '.join(sorted(dimensions))}"
            skipped.append(Skipped(metric=metric.title, reason=reason, code="NO_DIMENSION"))
            continue
        lacking = [name for name in metric.needs if not _brings(inputs, name)]
        said = {"caption", "answer"} & set(metric.uses) if metric.level == "text" else set()
        if said and not any(_brings(inputs, name) for name in said):  # it takes a missing one for wrong: all would be
            lacking += sorted(said)
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
    # A file that was given and holds nothing for any sample leaves failures, not a refusal.
    given = _GIVEN_BY.get(name) in inputs.sources
    return given or any(sample.get(name) is not None for sample in inputs.samples)


def _refuse_twice(samples: Sequence[Sample]) -> None:
    twice = [id for id, count in Counter(sample.id for sample in samples).items() if count > 1]
    if twice:
        raise UsageError(f"{len(twice)} ids come twice, for example {printable(twice[0])}", code="SAME_NAME")


def _prepared(metrics: Sequence[BaseMetric]) -> tuple[list[BaseMetric], list[Skipped]]:
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
        except Exception as error:  # one metric that breaks must not cost the others
            failure = Failure.of(error)
            skipped.append(Skipped(metric=metric.title, reason=failure.message, hint=failure.hint, code=failure.code))
        else:
            ready.append(metric)
            continue
        logger.warning("skipped: %s: %s (%s)", metric.title, skipped[-1].reason, skipped[-1].hint or "no hint")
    return ready, skipped


def _computed(metrics: Sequence[BaseMetric], *, is_suite: bool) -> tuple[list[MetricResult], list[Skipped]]:
    results, broken = [], []
    for metric in metrics:
        try:
            result = metric.compute()
        except NothingMatchedError as error:
            broken.append(
                Skipped(metric=metric.title, reason=error.message, hint=error.hint, code=f"NO_{NOTHING_ASKED}")
            )
            continue
        except Exception as error:  # one metric that breaks must not cost the others
            failure = Failure.of(error)
            logger.warning("%s has no result: %s", metric.title, failure.message)
            logger.debug("%s", metric.title, exc_info=error)
            broken.append(Skipped(metric=metric.title, reason=failure.message, hint=failure.hint, code=failure.code))
            continue
        codes = {failure["code"] for failure in result.failures}
        if is_suite and not result.figures and len(codes) == 1 and (code := codes.pop()).startswith("NO_"):
            reason = f"all {result.n} samples failed: {result.failures[0]['message']}"
            broken.append(Skipped(metric=metric.title, reason=reason, code=code))
        else:
            results.append(result)
    return results, broken


def _vbench_total(
    metrics: Sequence[BaseMetric], results: Sequence[MetricResult]
) -> tuple[list[MetricResult], list[Skipped]]:
    """VBench's totals where all its dimensions were asked for, or why there are none."""
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


def _usual_workers(num_clips: int) -> int:
    """As many as there are GPUs; without one, half the cores, and no more than have enough clips to do."""
    if gpus := models.shared_gpus():
        return max(1, min(len(gpus), num_clips))
    return max(1, min(usable_cpus() // 2, _MOST_WORKERS, num_clips // _CLIPS_EACH))


def environment() -> dict[str, str]:
    """Versions of what was used, the device, and the date."""
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
