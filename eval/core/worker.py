"""A worker: loaded measurements and a decoder, which answer jobs in one process, whichever that is.

In: `Job`s, each a sample with what is left to measure of it. Out: a `Reply` to each, evidence or errors. Decoding runs
in a killable child process and reads ahead while a clip is measured; what is read ahead is bounded, so at most three
clips of the greatest size are in memory (with their reference videos). Samples that follow each other and hold the same
`SampleClip` object (a clip with several prompts) are decoded once, and share what was computed from it. All computation
uses one thread, so that results do not depend on the number of threads. A worker elsewhere is made of a `WorkerSpec`.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cineloop.audio import read as audio
from cineloop.audio.track import Sound
from cineloop.config import to_dict
from cineloop.errors import CineloopError, ItemError
from cineloop.log import logger
from cineloop.plugin import load, source
from cineloop.video.frames import Frames
from cineloop.video.worker import DecoderPool, Limits, SampleSpec
from v2t_eval.core import models
from v2t_eval.core.cache import NotFiniteError, plain, text_hash
from v2t_eval.core.measurement import ABSTENTIONS, NOTHING_ASKED, Evidence, FilmPass, Measurement
from v2t_eval.core.sample import BESIDE, Sample, SampleClip

AHEAD = 2  # clips decoded or being decoded in addition to the one being measured
_AHEAD_BYTES = 256 << 20  # above this, only one
_LEAST_MB = 512  # a decoder's own needs
# Permanent errors of a sample under a measurement, which are cached; any other is retried in the next scoring.
_LASTING = ABSTENTIONS | {NOTHING_ASKED, "BAD_FACTS", "BAD_QUESTIONS", "BAD_REFERENCE", "BAD_ROW", "NOT_FINITE",
                        "UNLIKE_REFERENCE"}  # fmt: skip
Error = dict[str, str]  # code, message, hint


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


@dataclass(kw_only=True)
class Reply:
    """What a worker answers to a job; see the fields of `Job`."""

    evidence: dict[int, Evidence] = field(default_factory=dict)
    errors: dict[int, Error] = field(default_factory=dict)
    about: dict[str, Any] | None = None
    error: Error | None = None


@dataclass(eq=False, kw_only=True)
class Job:
    """A sample to measure; measurements are referred to by number.

    Attributes:
        sample: the sample.
        is_reference: it is of the second set of clips.
        keys: cache keys by measurement; measurements whose inputs the sample lacks have none.
        todo: measurements still to run.
        evidence, errors: evidence or error, by measurement.
        about: properties of the clip; error: why it cannot be read.
        about_key: cache key of these properties, "" where there is no clip.
    """

    sample: Sample
    is_reference: bool = False
    keys: dict[int, str] = field(default_factory=dict)
    about_key: str = ""
    todo: tuple[int, ...] = ()
    evidence: dict[int, Evidence] = field(default_factory=dict)
    errors: dict[int, Error] = field(default_factory=dict)
    about: dict[str, Any] | None = None
    error: Error | None = None

    def request(self) -> Job:
        """The job as it is sent to another process: without what is known already."""
        return replace(self, evidence={}, errors={})

    def take(self, reply: Reply) -> Job:
        """Add a worker's reply; returns the job."""
        self.evidence |= reply.evidence
        self.errors |= reply.errors
        self.about, self.error = reply.about or self.about, reply.error or self.error
        return self

    def error_keys(self) -> dict[int, str]:
        """Cache keys of errors by measurement; an error's message names the sample."""
        return {n: text_hash(f"failure {key} {self.sample.id}") for n, key in self.keys.items()}

    def new_entries(self) -> dict[str, Evidence]:
        """What the job adds to the cache: new evidence, lasting errors, properties of the clip."""
        new: dict[str, Evidence] = {self.keys[n]: self.evidence[n] for n in self.todo if n in self.evidence}
        error_keys = self.error_keys()
        new |= {error_keys[n]: self.errors[n] for n in self.todo if self.errors.get(n, {}).get("code") in _LASTING}
        if self.todo and self.about is not None and self.about_key:
            new[self.about_key] = self.about
        return new


@dataclass(eq=False)
class PendingJob:
    """A job whose videos are being decoded: frames of the clip, its survey and sound, and frames of the clips beside it
    by name (`v2t_eval.core.sample.BESIDE`), each where it is needed."""

    job: Job
    clip: Future[Frames] | None = None
    beside: dict[str, Future[Frames]] = field(default_factory=dict)
    survey: Future[Any] | None = None
    sound: Future[Sound] | None = None

    @property
    def waiting_bytes(self) -> int:
        """Size of decoded frames that wait to be measured."""
        if self.clip is None or not self.clip.done() or self.clip.cancelled() or self.clip.exception():
            return 0
        return int(self.clip.result().pixels.nbytes)


@dataclass(frozen=True)
class WorkerSpec:
    """What a worker in another process is made of.

    Attributes:
        measurements: the class of each, or of a user's own metric its file, and its settings.
        limits: of each clip.
        device: where models compute, see `v2t_eval.core.models.on_device`.
    """

    measurements: tuple[tuple[type[Measurement] | str, dict[str, Any]], ...]
    limits: ClipLimits
    device: str

    def open(self) -> MeasurementWorker:
        """The worker, its measurements loaded.

        Raises:
            MissingDependencyError: a model is not available here.
        """
        with models.on_device(self.device):
            measurements = [
                (load("v2t_eval.metrics", kind, "Metric", files=True).Metric if isinstance(kind, str) else kind)(**own)
                for kind, own in self.measurements
            ]
            for measurement in measurements:
                measurement.prepare()
        return MeasurementWorker(measurements, self.limits, self.device)


class MeasurementWorker:
    """Measurements, each loaded before it measures, and a decoder; a context manager, used from one thread."""

    def __init__(self, measurements: Sequence[Measurement], limits: ClipLimits, device: str = "auto") -> None:
        self.measurements, self.limits, self.device = measurements, limits, device
        self._pool: DecoderPool | None = None
        self._begun: PendingJob | None = None  # the last one whose clip is decoded
        self._shown: Sample | None = None  # the sample whose clip is in memory
        self._is_decoded = False  # its frames were made here
        self._about: dict[str, Any] | None = None

    def __enter__(self) -> MeasurementWorker:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the decoder and free the clip in memory."""
        self._forget()
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def spec(self, device: str) -> WorkerSpec:
        """What makes the same worker elsewhere."""
        kinds = [(source(type(each)) or type(each), to_dict(each.settings)) for each in self.measurements]
        return WorkerSpec(tuple(kinds), self.limits, device)

    def needs_of(self, job: Job) -> set[str]:
        """All that what is left to measure reads."""
        return {name for n in job.todo for name in (*self.measurements[n].needs, *self.measurements[n].uses)}

    def film_pass_of(self, job: Job) -> FilmPass | None:
        """The pass over the film that what is left to measure needs."""
        return next((one for n in job.todo if (one := self.measurements[n].film_pass) is not None), None)

    def run(self, jobs: Iterable[Job], stop: Callable[[], bool]) -> Iterator[tuple[Job, Reply]]:
        """The jobs in order with their replies, reading ahead; after a stop, only those already begun."""
        waiting: deque[PendingJob] = deque()
        for job in jobs:
            waiting.append(self.begin(job))
            while len(waiting) > (AHEAD if sum(one.waiting_bytes for one in waiting) < _AHEAD_BYTES else 1):
                yield waiting[0].job, self.finish(waiting.popleft())
            if stop():
                break
        while waiting:
            yield waiting[0].job, self.finish(waiting.popleft())

    def begin(self, job: Job) -> PendingJob:
        """Start to decode the job's clip, and the clips beside it where needed."""
        clip, needs = job.sample.clip, self.needs_of(job)
        pending = PendingJob(job)
        if clip is not None and "frames" in needs:
            pending.clip = self._decoding(clip)
        for name in BESIDE:
            other: SampleClip | None = getattr(job.sample, name)
            if other is not None and name in needs and (decoding := self._submit(other)) is not None:
                pending.beside[name] = decoding
        film = self.film_pass_of(job)
        if clip is not None and clip.path is not None and film is not None:
            pending.survey = self._children().submit_job(clip.path, film.job, clip.window, film.read)
        if clip is not None and clip.path is not None and "sound" in needs:
            given = audio.of_clip(clip.start_s, clip.end_s)
            pending.sound = self._children().submit_job(clip.path, audio.SAMPLES_JOB, given, audio.sound_of)
        if pending.clip is not None:
            self._begun = pending
        return pending

    def _decoding(self, clip: SampleClip) -> Future[Frames] | None:
        if clip.path is None or (clip.frames is not None and not (self._is_decoded and self._holds(clip))):
            return None
        if self._begun is not None and self._begun.job.sample.clip is clip:
            return self._begun.clip
        return self._submit(clip)

    def _submit(self, clip: SampleClip) -> Future[Frames] | None:
        if clip.path is None:
            return None
        return self._children().submit(clip.path, spec_of(clip))

    def _children(self) -> DecoderPool:
        if self._pool is None:
            self._pool = DecoderPool(1, self.limits.of_decoder())
        return self._pool

    def frames(self, clip: SampleClip, decoding: Future[Frames] | None = None) -> Frames:
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
            raise _explain(error, self.limits) from None

    def finish(self, pending: PendingJob) -> Reply:
        """Wait for the frames and run every measurement that is left.

        Raises:
            MissingDependencyError: there is no decoder.
        """
        sample, clip = pending.job.sample, pending.job.sample.clip
        self._show(pending)
        reply = Reply()
        unread: dict[str, Error] = {}  # by what a measurement needs
        if clip is not None and pending.clip is not None:
            try:
                frames = self.frames(clip, pending.clip)
                if clip.frames is not frames:
                    clip.frames, self._about = frames, about(frames)
                reply.about = self._about
            except ItemError as error:
                reply.error = unread["frames"] = error.record()
        if clip is not None and pending.survey is not None:
            try:
                clip.survey = pending.survey.result()
            except ItemError as error:
                reply.error = unread["survey"] = _explain(error, self.limits).record()
        if clip is not None and pending.sound is not None:
            try:
                clip.sound = pending.sound.result()
            except ItemError as error:  # a clip without sound is a good clip for the others
                unread["sound"] = error.record()
        for name, decoding in pending.beside.items():
            try:
                getattr(sample, name).frames = self.frames(getattr(sample, name), decoding)
            except ItemError as error:
                unread[name] = error.record() | {"message": f"the {name.replace('_', ' ')}: {error.message}"}
        for n in pending.job.todo:
            measurement = self.measurements[n]
            lacking = [unread[name] for name in unread if measurement.reads(name)]
            if lacking:
                reply.errors[n] = lacking[0]
                continue
            try:
                with models.on_device(self.device), models.one_thread():
                    reply.evidence[n] = plain(measurement.measure(sample))
            except Exception as error:  # a failing measurement loses only its own result
                reply.errors[n] = error_of(error)
                logger.debug("%s failed on %s", measurement.title, sample.id, exc_info=error)
        for name in pending.beside:
            getattr(sample, name).frames = None
        if clip is not None:
            clip.survey = clip.sound = None
        return reply

    def _show(self, pending: PendingJob) -> None:
        """Switch to the job's clip; if it is in memory already, keep what was computed from it."""
        sample = pending.job.sample
        is_same = self._shown is not None and sample.clip is not None and self._holds(sample.clip)
        if is_same and self._shown is not None:
            sample.memo = self._shown.memo
        else:
            self._forget()
        self._shown, self._is_decoded = sample, pending.clip is not None or (is_same and self._is_decoded)

    def _holds(self, clip: SampleClip) -> bool:
        return self._shown is not None and self._shown.clip is clip

    def _forget(self) -> None:
        """Free the clip in memory and what was computed from it."""
        if self._shown is not None:
            self._shown.memo.clear()
            if self._is_decoded and self._shown.clip is not None:
                self._shown.clip.frames = None
        self._shown, self._is_decoded = None, False


def spec_of(clip: SampleClip) -> SampleSpec:
    """The frames of a clip that were asked for: all of them by default."""
    if clip.sampling is None:
        return SampleSpec.every_frame(clip.start_s, clip.end_s)
    return replace(clip.sampling, start_s=clip.start_s, end_s=clip.end_s)


def about(frames: Frames) -> dict[str, Any]:
    """Properties of a clip, as JSON values; `frozen` is None for a single frame."""
    from v2t_eval.frames.still import frozen

    return {
        "duration_s": round(float(frames.duration_s), 6),
        "fps": round(float(frames.fps), 6),
        "size": list(frames.size),
        "num_frames": len(frames),
        "decoder": frames.decoder,
        "frozen": frozen(frames.pixels) if len(frames) > 1 else None,
        "warnings": [warning.record() for warning in frames.warnings],
    }


def _explain(error: ItemError, limits: ClipLimits) -> ItemError:
    """The error with a hint for scorings."""
    if error.code != "TOO_LARGE":
        return error
    message = f"all frames of the clip take more than {limits.max_clip_mb} MiB ({error.message})"
    hint = "score parts of it (start_s and end_s in a manifest), or make it smaller; --max-clip-mb raises the limit"
    return ItemError(message, code=error.code, hint=hint)
