"""The engine: run metrics on samples, reusing cached evidence and decoding each clip once.

In: loaded metrics, the evidence cache, samples. Out: `Job`s, each a sample with its evidence, or errors. The cache key
of evidence covers what the metric reads of the sample and the metric's fingerprint: not the name of a clip but its
bytes, and the installed decoders, whose pixels differ slightly. Decoding runs in a killable child process and reads
ahead while a clip is measured; what is read ahead is bounded, so at most three clips of the greatest size are in memory
(with their reference videos). Samples that follow each other and hold the same `Clip` object (a clip with several
prompts) are decoded once, and share what was computed from it. All computation uses one thread, so that results do not
depend on the number of threads.
"""

from __future__ import annotations

import hashlib
import json
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cineloop.clip import reading
from cineloop.errors import CineloopError, ItemError
from cineloop.log import logger
from cineloop.video.decode import is_installed
from cineloop.video.frames import Frames
from cineloop.video.limits import DECODERS
from cineloop.video.survey import Survey
from cineloop.video.worker import DecoderPool, Limits, SampleSpec
from v2t_eval.core.cache import EvidenceCache, NotFiniteError, plain
from v2t_eval.core.measurement import ABSTENTIONS, NOTHING_ASKED, REFERENCE_CLIPS, Evidence, Measurement
from v2t_eval.core.sample import Clip, Sample

AHEAD = 2  # clips decoded or being decoded in addition to the one being measured
_AHEAD_BYTES = 256 << 20  # above this, only one
_LEAST_MB = 512  # a decoder's own needs
# Permanent errors of a sample under a metric, which are cached; any other is retried in the next scoring.
LASTING = ABSTENTIONS | {NOTHING_ASKED, "BAD_FACTS", "BAD_QUESTIONS", "BAD_REFERENCE", "BAD_ROW", "NOT_FINITE",
                       "UNLIKE_REFERENCE"}  # fmt: skip
_ABOUT = "about/3"
_EVIDENCE = "evidence/2"  # raised when evidence gets other keys; other values raise the version of their metric
Error = dict[str, str]  # code, message, hint
NOT_PENDING: dict[str, Any] = {"decoding": None, "decoding_reference": None, "surveying": None}  # to send a job


@dataclass(frozen=True, kw_only=True)
class ClipLimits:
    """Limits per clip: MiB of decoded frames, and seconds of decoding."""

    max_clip_mb: int = 1024
    timeout_s: float = 300.0

    def __post_init__(self) -> None:
        if self.max_clip_mb < 1 or self.timeout_s <= 0:
            raise ValueError(f"limits must be above zero, got {self.max_clip_mb} MiB and {self.timeout_s} s")

    def of_decoder(self) -> Limits:
        """The same for the decoder, which takes 0.6 of its memory for pixels."""
        return Limits(timeout_s=self.timeout_s, memory_mb=max(_LEAST_MB, -(-self.max_clip_mb * 5 // 3)))


def error_of(error: BaseException) -> Error:
    """The record of an error; METRIC_ERROR for unexpected exceptions."""
    if isinstance(error, CineloopError):
        return error.record()
    if isinstance(error, NotFiniteError):
        return {"code": "NOT_FINITE", "message": str(error), "hint": ""}
    if isinstance(error, MemoryError):
        return {"code": "OUT_OF_MEMORY", "message": "out of memory", "hint": ""}
    return {"code": "METRIC_ERROR", "message": f"{type(error).__name__}: {error}", "hint": _place(error)}


def _place(error: BaseException) -> str:
    """Where it was raised: "brightness.py, line 12"; "" where that is not known."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""


@dataclass(eq=False, kw_only=True)
class Job:
    """A sample in progress; metrics are referred to by number.

    Attributes:
        is_reference: the sample is of the second set of clips.
        keys: cache keys by metric; metrics whose inputs the sample lacks have none.
        todo: metrics still to run.
        evidence, errors: evidence or error, by metric.
        about: properties of the clip; error: why it cannot be read.
        decoding, decoding_reference: pending frames of the clip and of the reference video, where needed.
        surveying: the pending survey of the clip, where needed.
    """

    sample: Sample
    is_reference: bool = False
    keys: dict[int, str] = field(default_factory=dict)
    todo: tuple[int, ...] = ()
    evidence: dict[int, Evidence] = field(default_factory=dict)
    errors: dict[int, Error] = field(default_factory=dict)
    about: dict[str, Any] | None = None
    error: Error | None = None
    decoding: Future[Frames] | None = None
    decoding_reference: Future[Frames] | None = None
    surveying: Future[Survey] | None = None

    @property
    def waiting_bytes(self) -> int:
        """Size of decoded frames that wait to be measured."""
        future = self.decoding
        if future is None or not future.done() or future.cancelled() or future.exception():
            return 0
        return int(future.result().pixels.nbytes)


class Engine:
    """Metrics, a decoder and an evidence cache; a context manager of one thread. `metrics` may grow, by loaded ones."""

    def __init__(self, metrics: Sequence[Measurement], limits: ClipLimits, cache: EvidenceCache | None = None) -> None:
        self.metrics, self.limits, self.cache = list(metrics), limits, cache or EvidenceCache(None)
        self._decoders = " ".join(name for name in DECODERS if is_installed(name))
        self._prints: dict[int, str] = {}
        self._pool: DecoderPool | None = None
        self._begun: Job | None = None  # the last one whose clip is decoded
        self._shown: Sample | None = None  # the sample whose clip is in memory
        self._is_decoded = False  # its frames were made here
        self._about: dict[str, Any] | None = None

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exc: object) -> None:
        self._forget()
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    # cached evidence

    def open(self, sample: Sample, numbers: Iterable[int], *, is_reference: bool = False) -> Job:
        """The sample's job for the metrics of these numbers, with cached evidence, and metrics left to run."""
        job = Job(sample=sample, is_reference=is_reference)
        for n in numbers:
            self._name(job, n)
        clip, errors = sample.clip, {n: _error_key(key, sample) for n, key in job.keys.items()}
        about = self._about_key(clip) if clip is not None and clip.content else ""
        kept = self.cache.find([*job.keys.values(), *errors.values(), *([about] if about else [])])
        job.evidence = {n: kept[key] for n, key in job.keys.items() if key in kept}
        job.errors |= {n: kept[key] for n, key in errors.items() if key in kept and n not in job.evidence}
        job.about = kept.get(about)
        job.todo = tuple(n for n in job.keys if n not in job.evidence and n not in job.errors)
        return job

    def _name(self, job: Job, n: int) -> None:
        """Set the cache key, or the error of a sample with missing inputs."""
        metric, sample = self.metrics[n], job.sample
        reads = tuple(sorted({*metric.needs, *metric.uses} - {REFERENCE_CLIPS})) or ("id",)
        try:
            metric.check(sample)
            if {"frames", "survey"} & set(reads) and sample.clip is not None:
                try:
                    self._name_content(sample.clip)
                except ItemError as error:
                    job.error = error.record()
                    raise
            if "reference_video" in reads and sample.reference_video is not None:
                self._name_content(sample.reference_video)
            if n not in self._prints:
                read_by = self._decoders if uses_frames(metric) else ""
                self._prints[n] = _hash(
                    f"{_EVIDENCE} {json.dumps(metric.evidence_fingerprint(), sort_keys=True)} {read_by}"
                )
            job.keys[n] = _hash(f"{self._prints[n]} {sample.content(reads)}")
        except ItemError as error:
            job.errors[n] = error.record()

    def _name_content(self, clip: Clip) -> None:
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

    def _about_key(self, clip: Clip) -> str:
        return _hash(f"{_ABOUT} {self._decoders} {clip.content}")

    def keep(self, job: Job) -> None:
        self.cache.keep(self.new_entries(job))

    def new_entries(self, job: Job) -> dict[str, Evidence]:
        """What the job adds to the cache: new evidence, lasting errors, properties of the clip."""
        new: dict[str, Evidence] = {job.keys[n]: job.evidence[n] for n in job.todo if n in job.evidence}
        for n in job.todo:
            if n in job.errors and job.errors[n]["code"] in LASTING:
                new[_error_key(job.keys[n], job.sample)] = job.errors[n]
        if job.todo and job.about is not None and job.sample.clip is not None and job.sample.clip.content:
            new[self._about_key(job.sample.clip)] = job.about
        return new

    # measurement

    def wants_frames(self, job: Job) -> bool:
        """Whether a metric left to run reads frames."""
        return any(uses_frames(self.metrics[n]) for n in job.todo)

    def run(self, jobs: Iterable[Job], stop: Callable[[], bool] = lambda: False) -> Iterator[Job]:
        """Yield the finished jobs in order, reading ahead; after a stop, only those already begun."""
        waiting: deque[Job] = deque()
        for job in jobs:
            waiting.append(self.begin(job))
            while len(waiting) > (AHEAD if sum(one.waiting_bytes for one in waiting) < _AHEAD_BYTES else 1):
                yield self.finish(waiting.popleft())
            if stop():
                break
        while waiting:
            yield self.finish(waiting.popleft())

    def begin(self, job: Job) -> Job:
        """Start to decode the job's clip, and its reference video where needed."""
        clip, reference = job.sample.clip, job.sample.reference_video
        if clip is not None and self.wants_frames(job):
            job.decoding = self._decoding(clip)
        if reference is not None and any("reference_video" in self.metrics[n].needs for n in job.todo):
            job.decoding_reference = self._submit(reference)
        if clip is not None and clip.path is not None and any("survey" in self.metrics[n].needs for n in job.todo):
            job.surveying = self._children().submit_survey(clip.path, clip.start_s, clip.end_s)
        if job.decoding is not None:
            self._begun = job
        return job

    def _decoding(self, clip: Clip) -> Future[Frames] | None:
        if clip.path is None or (clip.frames is not None and not (self._is_decoded and self._holds(clip))):
            return None
        if self._begun is not None and self._begun.sample.clip is clip:
            return self._begun.decoding
        return self._submit(clip)

    def _submit(self, clip: Clip) -> Future[Frames] | None:
        if clip.path is None:
            return None
        return self._children().submit(clip.path, spec_of(clip))

    def _children(self) -> DecoderPool:
        if self._pool is None:
            self._pool = DecoderPool(1, self.limits.of_decoder())
        return self._pool

    def frames(self, clip: Clip, decoding: Future[Frames] | None = None) -> Frames:
        """Every frame of a clip, from its file.

        Raises:
            ItemError: it cannot be decoded, or exceeds the memory limit. MissingDependencyError: no decoder.
        """
        future = decoding or self._submit(clip)
        if future is None:
            raise ItemError("the clip is neither a file nor frames", code="NO_FRAMES")
        try:
            frames = future.result()
            if frames.pixels.nbytes > self.limits.max_clip_mb << 20:
                raise ItemError(f"the frames take {frames.pixels.nbytes >> 20} MiB", code="TOO_LARGE")
            return frames
        except ItemError as error:
            raise _explained(error, self.limits) from None

    def finish(self, job: Job) -> Job:
        """Wait for the frames and run every metric.

        Raises:
            MissingDependencyError: there is no decoder.
        """
        sample, clip, reference = job.sample, job.sample.clip, job.sample.reference_video
        self._show(job)
        unread: dict[str, Error] = {}  # by what a metric needs
        if clip is not None and job.decoding is not None:
            try:
                frames = self.frames(clip, job.decoding)
                if clip.frames is not frames:
                    clip.frames, self._about = frames, about(frames)
                job.about = self._about
            except ItemError as error:
                job.error = unread["frames"] = error.record()
        if clip is not None and job.surveying is not None:
            try:
                clip.survey = job.surveying.result()
            except ItemError as error:
                job.error = unread["survey"] = _explained(error, self.limits).record()
        if reference is not None and job.decoding_reference is not None:
            try:
                reference.frames = self.frames(reference, job.decoding_reference)
            except ItemError as error:
                unread["reference_video"] = error.record() | {"message": f"the reference video: {error.message}"}
        for n in job.todo:
            metric = self.metrics[n]
            lacking = [unread[name] for name in unread if name in (*metric.needs, *metric.uses)]
            if lacking:
                job.errors[n] = lacking[0]
                continue
            try:
                with one_thread():
                    job.evidence[n] = plain(metric.measure(sample))
            except Exception as error:  # a failing metric loses only its own result
                job.errors[n] = error_of(error)
                logger.debug("%s failed on %s", metric.title, sample.id, exc_info=error)
        if reference is not None and job.decoding_reference is not None:
            reference.frames = None
        if clip is not None:
            clip.survey = None
        return job

    def _show(self, job: Job) -> None:
        """Switch to the job's clip; if it is in memory already, keep what was computed from it."""
        sample = job.sample
        is_same = self._shown is not None and sample.clip is not None and self._holds(sample.clip)
        if is_same and self._shown is not None:
            sample.memo = self._shown.memo
        else:
            self._forget()
        self._shown, self._is_decoded = sample, job.decoding is not None or (is_same and self._is_decoded)

    def _holds(self, clip: Clip) -> bool:
        return self._shown is not None and self._shown.clip is clip

    def _forget(self) -> None:
        """Free the clip in memory and what was computed from it."""
        if self._shown is not None:
            self._shown.memo.clear()
            if self._is_decoded and self._shown.clip is not None:
                self._shown.clip.frames = None
        self._shown, self._is_decoded = None, False


def spec_of(clip: Clip) -> SampleSpec:
    """The frames of a clip that were asked for: all of them by default."""
    if clip.sampling is None:
        return SampleSpec.every_frame(clip.start_s, clip.end_s)
    return replace(clip.sampling, start_s=clip.start_s, end_s=clip.end_s)


def about(frames: Frames) -> dict[str, Any]:
    """Properties of a clip, as JSON values; `frozen` is None for a single frame."""
    from cineloop.video.still import frozen

    return {
        "duration_s": round(float(frames.duration_s), 6),
        "fps": round(float(frames.fps), 6),
        "size": list(frames.size),
        "num_frames": len(frames),
        "decoder": frames.decoder,
        "frozen": frozen(frames.pixels) if len(frames) > 1 else None,
        "warnings": [warning.record() for warning in frames.warnings],
    }


def uses_frames(metric: Measurement) -> bool:
    """Whether the metric reads frames."""
    return "frames" in (*metric.needs, *metric.uses)


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch and OpenCV to one thread within the block, since splitting sums over threads changes their last bits.
    The previous numbers are restored, so that a training or a notebook around a scoring is not slowed down."""
    torch, cv2 = sys.modules.get("torch"), sys.modules.get("cv2")
    threads = torch.get_num_threads() if torch is not None else 1
    of_cv2 = cv2.getNumThreads() if cv2 is not None else 1
    try:
        if torch is not None and threads != 1:
            torch.set_num_threads(1)
        if cv2 is not None and of_cv2 != 1:
            cv2.setNumThreads(1)
        yield
    finally:
        if torch is not None and threads != 1:
            torch.set_num_threads(threads)
        if cv2 is not None and of_cv2 != 1:
            cv2.setNumThreads(of_cv2)


def _explained(error: ItemError, limits: ClipLimits) -> ItemError:
    """The error with a hint for scorings."""
    if error.code != "TOO_LARGE":
        return error
    message = f"all frames of the clip take more than {limits.max_clip_mb} MiB ({error.message})"
    hint = "score parts of it (start_s and end_s in a manifest), or make it smaller; --max-clip-mb raises the limit"
    return ItemError(message, code=error.code, hint=hint)


def _error_key(key: str, sample: Sample) -> str:
    return _hash(f"failure {key} {sample.id}")  # the message names the sample


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
