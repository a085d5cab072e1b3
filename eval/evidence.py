"""Gathering evidence: every sample through every metric that is asked of it, known evidence first.

In: samples, loaded metrics, the kept evidence. Out: the metrics filled, and what became of each clip. A piece of
evidence has a key of what the metric reads of the sample and of the metric's fingerprint: the name of a clip is not in
it, its bytes are; and so are the decoders that are installed, which do not give quite the same pixels.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cineloop.clip import reading
from cineloop.errors import ItemError
from cineloop.log import Progress, logger
from cineloop.video.decode import DECODERS, installed
from v2t_eval.cache import EvidenceCache, decode, encode, is_whole
from v2t_eval.inputs import Inputs
from v2t_eval.measure import ClipLimits, Failure, Measurer, Outcome, Task, measured, uses_frames
from v2t_eval.metric import ABSTENTIONS, NOTHING_ASKED, BaseMetric, Measured
from v2t_eval.sample import Clip, Sample
from v2t_eval.scores import Scored
from v2t_eval.workers import measured_by

# What a metric finds to be so of a sample and will find again; any other failure is tried anew in the next scoring.
LASTING = ABSTENTIONS | {NOTHING_ASKED, "BAD_FACTS", "BAD_QUESTIONS", "BAD_REFERENCE", "BAD_ROW", "NOT_FINITE",
                       "UNLIKE_REFERENCE"}  # fmt: skip
_ABOUT = "about/3"


@dataclass
class _Job:
    """A sample of one of the two sets, and the keys under which each metric's evidence is kept."""

    sample: Sample
    is_reference: bool
    keys: dict[int, str] = field(default_factory=dict)
    unreadable: ItemError | None = None


class Gathering:
    """The samples on their way through the metrics; used once."""

    def __init__(self, inputs: Inputs, metrics: Sequence[BaseMetric], cache: EvidenceCache, limits: ClipLimits):
        self.inputs, self.metrics, self.cache, self.limits = inputs, metrics, cache, limits
        self.decoders = " ".join(name for name in DECODERS if installed(name))
        self.prints = [self._print(metric) for metric in metrics]
        self.reads = [
            tuple(sorted({*metric.needs, *metric.uses} - {"reference_clips"})) or ("id",) for metric in metrics
        ]
        self.dimensions = named_dimensions(inputs)
        self.jobs: dict[int, _Job] = {}
        self.abouts: dict[str, dict[str, Any]] = {}
        self.broken: dict[str, Failure] = {}
        self.counts: Counter[str] = Counter()
        self.finished = self.num_known = 0

    def _print(self, metric: BaseMetric) -> str:
        read_by = self.decoders if uses_frames(metric) else ""
        return _hash(f"{json.dumps(metric.evidence_fingerprint(), sort_keys=True)} {read_by}")

    def run(self, workers: int, stop: Callable[[], bool], show_progress: bool) -> None:
        """Measure what is not known yet."""
        total = len(self.inputs.samples) + len(self.inputs.references)
        limits = self.limits
        with Progress(total, "scoring", enabled=show_progress) as self.bar, Measurer(self.metrics, limits) as here:
            tasks = self._tasks(stop)
            if workers == 1:
                outcomes = measured(here, tasks, stop)
            else:
                outcomes = measured_by(workers, self.metrics, limits, self._only_frames(tasks, here), stop)
            for outcome in outcomes:
                self._keep(outcome)
        if self.finished < total and not stop():
            raise RuntimeError(f"{total - self.finished} of {total} samples were lost on the way; this is a bug")
        if self.finished < total:
            kept = "is kept: the same command goes on from there" if self.cache.path else "is not kept without a cache"
            logger.warning("stopped after %d of %d samples; what was measured %s", self.finished, total, kept)
            raise KeyboardInterrupt
        logger.debug("%d pieces of evidence were known", self.num_known)

    def _tasks(self, stop: Callable[[], bool]) -> Iterator[Task]:
        """What is left to measure of each sample; what is known already is added here."""
        both = [(sample, False) for sample in self.inputs.samples]
        both += [(sample, True) for sample in self.inputs.references]
        for number, (sample, is_reference) in enumerate(both):
            if stop():
                return
            wanted = [n for n, metric in enumerate(self.metrics) if self._is_asked(metric, sample, is_reference)]
            job = self.jobs[number] = _Job(sample, is_reference)
            outcome = Outcome(number)
            for n in wanted:
                self._key(job, n, outcome)
            self._recall(job, outcome)
            left = tuple(n for n in job.keys if n not in outcome.found and n not in outcome.failures)
            self.num_known += len(job.keys) - len(left)
            self._take(outcome)
            if not left:
                self._finish()
                continue
            wants_reference = any("reference_video" in self.metrics[n].needs for n in left)
            yield Task(number, sample, left, any(uses_frames(self.metrics[n]) for n in left), wants_reference)

    def _only_frames(self, tasks: Iterator[Task], here: Measurer) -> Iterator[Task]:
        """The tasks that are worth another process; the others are done here."""
        for task in tasks:
            if task.wants_frames:
                yield task
            else:
                self._keep(here.finish(here.begin(task)))

    def _is_asked(self, metric: BaseMetric, sample: Sample, is_reference: bool) -> bool:
        """References are for metrics that compare sets; a prompt list that names dimensions says who is for whom."""
        if is_reference:
            return "reference_clips" in metric.needs
        return metric.name not in self.dimensions or metric.name in _dimensions(sample)

    def _key(self, job: _Job, n: int, outcome: Outcome) -> None:
        """Note under which key the evidence is kept, or the failure of a sample that lacks something."""
        metric, sample = self.metrics[n], job.sample
        try:
            metric.check(sample)
            if "frames" in self.reads[n] and sample.clip is not None:
                self._name_content(job, sample.clip)
            if "reference_video" in self.reads[n] and sample.reference_video is not None:
                self._name_content(job, sample.reference_video)
            job.keys[n] = _hash(f"{self.prints[n]} {sample.content(self.reads[n])}")
        except ItemError as error:
            outcome.failures[n] = Failure.of(error)

    def _name_content(self, job: _Job, clip: Clip) -> None:
        """Fill in `clip.content`; a file that cannot be read is the clip's own failure."""
        if clip.content:
            return
        if clip is job.sample.reference_video:
            clip.content = f"file:{self._sha256(clip)}"
        elif job.unreadable is None:
            try:
                clip.content = f"file:{self._sha256(clip)}"
            except ItemError as error:
                job.unreadable = error
                if not job.is_reference:
                    self.broken[job.sample.id] = Failure.of(error)
        if clip is job.sample.clip and job.unreadable is not None:
            raise job.unreadable
        if clip.start_s is not None or clip.end_s is not None:
            clip.content += f" {clip.start_s or 0.0!r}-{clip.end_s!r}"

    def _sha256(self, clip: Clip) -> str:
        if clip.path is None:
            raise ItemError("the clip is neither a file nor frames", code="NO_FRAMES")
        with reading(clip.path):
            digest = self.cache.file_sha256(clip.path)
        return digest

    def _recall(self, job: _Job, outcome: Outcome) -> None:
        """Fill in what is kept of the sample."""
        clip, failures = job.sample.clip, {n: _failure_key(key, job.sample) for n, key in job.keys.items()}
        abouts = [self._about_key(clip)] if clip is not None and clip.content else []
        kept = self.cache.find([*job.keys.values(), *failures.values(), *abouts])
        kept = {key: data for key, data in kept.items() if is_whole(data)}
        for n, key in job.keys.items():
            if key in kept:
                outcome.found[n] = kept[key]
            elif failures[n] in kept:
                outcome.failures[n] = Failure(**decode(kept[failures[n]]))
        for key in abouts:
            outcome.about = decode(kept[key]) if key in kept else None

    def _take(self, outcome: Outcome) -> None:
        """Hand evidence and failures to the metrics."""
        job = self.jobs[outcome.number]
        sample = job.sample
        for n, data in outcome.found.items():
            row = Measured(id=sample.id, cluster=sample.cluster, evidence=decode(data))
            self.metrics[n].add(row, reference=job.is_reference)
        for n, failure in outcome.failures.items():
            self.metrics[n].fail(sample.id, failure.error(), reference=job.is_reference)
        if job.is_reference:
            return
        if outcome.broken is not None:
            self.broken[sample.id] = outcome.broken
        if outcome.about is not None and sample.id not in self.abouts:
            self.abouts[sample.id] = outcome.about
            for warning in outcome.about["warnings"]:
                self.counts[f"warned_{warning['code']}"] += 1

    def _keep(self, outcome: Outcome) -> None:
        """As `_take`, of what was measured now, and keep it for the next time."""
        self._take(outcome)
        job = self.jobs[outcome.number]
        new = {job.keys[n]: data for n, data in outcome.found.items()}
        for n, failure in outcome.failures.items():
            if failure.code in LASTING:
                new[_failure_key(job.keys[n], job.sample)] = encode(asdict(failure))
        if outcome.about is not None and job.sample.clip is not None and job.sample.clip.content:
            new[self._about_key(job.sample.clip)] = encode(outcome.about)
        self.cache.keep(new)
        self._finish()

    def _about_key(self, clip: Clip) -> str:
        return _hash(f"{_ABOUT} {self.decoders} {clip.content}")

    def _finish(self) -> None:
        self.finished += 1
        self.bar.advance(1, f"{self.num_known} pieces known before")

    def clips(self) -> list[Scored]:
        """Every sample that was expected, in the order of ids."""
        return [self._scored(sample) for sample in sorted(self.inputs.samples, key=lambda sample: sample.id)]

    def _scored(self, sample: Sample) -> Scored:
        failure = self.broken.get(sample.id)
        error = None
        if failure is not None:
            error = {"code": failure.code, "message": failure.message, "hint": failure.hint}
        elif sample.clip is None and sample.caption is None and isinstance(sample.row.get("error"), dict):
            error = {key: str(sample.row["error"].get(key, "")) for key in ("code", "message", "hint")}
        found = self.abouts.get(sample.id, {})
        path = sample.row.get("path")
        return Scored(
            id=sample.id,
            cluster=sample.cluster,
            status="ok" if error is None else "failed",
            path=path if sample.clip is not None and isinstance(path, str) else None,
            content=sample.clip.content or None if sample.clip is not None else None,
            prompt=sample.prompt,
            caption=sample.caption,
            references=sample.references,
            duration_s=found.get("duration_s"),
            fps=found.get("fps"),
            size=tuple(found["size"]) if found else None,
            start_s=sample.clip.start_s if sample.clip is not None else None,
            end_s=sample.clip.end_s if sample.clip is not None else None,
            num_frames=found.get("num_frames"),
            decoder=found.get("decoder"),
            frozen=found.get("frozen"),
            error=error,
        )


def named_dimensions(inputs: Inputs) -> set[str]:
    """Dimensions of VBench that the prompts name; a prompt list that names them says which clip is for which."""
    return {name for sample in inputs.samples for name in _dimensions(sample)}


def _failure_key(key: str, sample: Sample) -> str:
    return _hash(f"failure {key} {sample.id}")  # the message names the sample


def _dimensions(sample: Sample) -> tuple[str, ...]:
    named = sample.row.get("dimension")
    return tuple(named) if isinstance(named, list) else (named,) if isinstance(named, str) else ()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
