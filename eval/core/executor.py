"""The executor: measurements over samples, wherever these are measured.

In: measurements, the evidence cache, a place, samples. Out: `Job`s with evidence or errors. What is cached is not
measured again; the rest goes to the place: a worker of this process (`v2t_eval.core.worker`), several processes
(`v2t_eval.core.processes`) or a cluster (`v2t_eval.core.cluster`), with the same bits. The cache key of evidence covers
what the measurement reads of the sample and its fingerprint: not the name of a clip but its bytes, and the installed
decoders, whose pixels differ slightly.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

from cineloop.clip import reading
from cineloop.errors import ItemError
from cineloop.threads import usable_cpus
from cineloop.training.runtime import check_device
from cineloop.video.decode import is_installed
from cineloop.video.limits import DECODERS
from v2t_eval.core import models, processes
from v2t_eval.core.cache import EvidenceCache, text_hash
from v2t_eval.core.measurement import REFERENCE_CLIPS, Measurement
from v2t_eval.core.sample import BESIDE, OF_CLIP, Sample, SampleClip
from v2t_eval.core.worker import ClipLimits, Job, MeasurementWorker, Reply

_ABOUT = "about/3"
_EVIDENCE = "evidence/2"  # raised when evidence gets other keys; other values raise the version of their measurement
_MOST_WORKERS = 8
_CLIPS_EACH = 8  # fewer are not worth the start of a process
Stop = Callable[[], bool]
# Measures jobs as a given worker does, and gives each with its reply, in any order; no new ones begin after a stop.
Place = Callable[[MeasurementWorker, Iterator[Job], Stop], Iterator[tuple[Job, Reply]]]


@dataclass(frozen=True, kw_only=True)
class ExecutorConfig:
    """Where and within which limits is measured.

    Attributes:
        workers: processes; None chooses by cores, GPUs and clips. The result is the same.
        cache: folder for evidence; None for no cache.
        limits: memory and time per clip.
        place: where to measure, such as a cluster; None for processes of this machine.
        device: where models compute: auto, cpu, cuda or cuda:N; auto shares the GPUs out among workers.
    """

    workers: int | None = 1
    cache: Path | None = None
    limits: ClipLimits = field(default_factory=ClipLimits)
    device: str = "auto"
    place: Place | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}")
        check_device(self.device)

    def place_for(self, num_samples: int) -> Place | None:
        """The place for so many samples; None for this process."""
        num = self.workers or usual_workers(num_samples)
        return self.place or (None if num == 1 else partial(processes.run, num))


class Executor:
    """Measurements, an evidence cache and a place; a context manager, used from one thread. Measurements may be added
    to `measurements`; each must be loaded before it measures. `place`: None for this process."""

    def __init__(
        self,
        measurements: Sequence[Measurement],
        limits: ClipLimits,
        cache: EvidenceCache | None = None,
        place: Place | None = None,
    ) -> None:
        self.measurements, self.cache, self.place = list(measurements), cache or EvidenceCache(None), place
        self.worker = MeasurementWorker(self.measurements, limits)
        self._decoders = " ".join(name for name in DECODERS if is_installed(name))
        self._prints: dict[int, str] = {}

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *exc: object) -> None:
        self.worker.close()

    # cached evidence

    def open(self, sample: Sample, numbers: Iterable[int], *, is_reference: bool = False) -> Job:
        """The sample's job for the measurements of these numbers, with cached evidence, and what is left to run."""
        job = Job(sample=sample, is_reference=is_reference)
        for n in numbers:
            self._name(job, n)
        clip, errors = sample.clip, job.error_keys()
        if clip is not None and clip.content:
            job.about_key = text_hash(f"{_ABOUT} {self._decoders} {clip.content}")
        cached = self.cache.find([*job.keys.values(), *errors.values(), *([job.about_key] if job.about_key else [])])
        job.evidence = {n: cached[key] for n, key in job.keys.items() if key in cached}
        job.errors |= {n: cached[key] for n, key in errors.items() if key in cached and n not in job.evidence}
        job.about = cached.get(job.about_key)
        job.todo = tuple(n for n in job.keys if n not in job.evidence and n not in job.errors)
        return job

    def _name(self, job: Job, n: int) -> None:
        """Set the cache key, or the error of a sample with missing inputs."""
        measurement, sample = self.measurements[n], job.sample
        reads = tuple(sorted({*measurement.needs, *measurement.uses} - {REFERENCE_CLIPS})) or ("id",)
        try:
            measurement.check(sample)
            if OF_CLIP & set(reads) and sample.clip is not None:
                try:
                    self._name_content(sample.clip)
                except ItemError as error:
                    job.error = error.record()
                    raise
            for other in (getattr(sample, name) for name in BESIDE if name in reads):
                if other is not None:
                    self._name_content(other)
            if n not in self._prints:
                read_by = self._decoders if measurement.reads("frames") else ""
                self._prints[n] = text_hash(
                    f"{_EVIDENCE} {json.dumps(measurement.evidence_fingerprint(), sort_keys=True)} {read_by}"
                )
            job.keys[n] = text_hash(f"{self._prints[n]} {sample.content(reads)}")
        except ItemError as error:
            job.errors[n] = error.record()

    def _name_content(self, clip: SampleClip) -> None:
        if clip.content:
            return
        if clip.path is None:
            raise ItemError("the clip is neither a file nor frames", code="NO_FRAMES")
        with reading(clip.path):
            clip.content = f"file:{self.cache.file_sha256(clip.path)}"
        if clip.start_s is not None or clip.end_s is not None:
            clip.content += f" {clip.start_s or 0.0!r}-{clip.end_s!r}"
        if clip.sampling is not None:
            clip.content += f" {clip.sampling}"

    def keep(self, job: Job) -> None:
        """Put into the cache what was measured of a job."""
        self.cache.keep(job.new_entries())

    # measurement

    def run(self, jobs: Iterable[Job], stop: Stop = lambda: False) -> Iterator[Job]:
        """The jobs as they finish, what was measured of them cached. Those of which nothing is left to measure come at
        once, and where all are such, neither processes nor a cluster are started. No new ones begin after a stop.

        Raises:
            MissingDependencyError: there is no decoder, or the place cannot be used.
        """
        opened, done = _until(stop, jobs), deque[Job]()

        def left() -> Iterator[Job]:
            for job in opened:
                if self._is_done(job):
                    done.append(job)
                else:
                    yield job

        for first in opened:
            if not self._is_done(first):
                break
            yield first
        else:
            return
        for job, reply in (self.place or MeasurementWorker.run)(self.worker, chain([first], left()), stop):
            while done:
                yield done.popleft()
            self.keep(job.take(reply))
            yield job
        yield from done

    def measure(self, job: Job) -> Job:
        """Measure in this process what is left of a job."""
        self.keep(job.take(self.worker.finish(self.worker.begin(job))))
        return job

    def _is_done(self, job: Job) -> bool:
        """Whether nothing is left to measure. What reads no video is measured here: a place elsewhere would cost more
        than it saves."""
        if job.todo and self.place is not None and not {"frames", "survey"} & self.worker.needs_of(job):
            self.measure(job)
            return True
        return not job.todo


def usual_workers(num_clips: int) -> int:
    """As many as there are GPUs; without one, half the cores, and no more than have enough clips to do."""
    if gpus := models.shared_gpus():
        return max(1, min(len(gpus), num_clips))
    return max(1, min(usable_cpus() // 2, _MOST_WORKERS, num_clips // _CLIPS_EACH))


def _until(stop: Stop, jobs: Iterable[Job]) -> Iterator[Job]:
    iterator = iter(jobs)
    while not stop() and (job := next(iterator, None)) is not None:
        yield job
