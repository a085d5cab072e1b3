"""Measuring one sample after another: its clip is decoded once, and every metric looks at the same frames.

In: tasks, each a sample and the metrics that want it. Out: outcomes: encoded evidence by metric, failures, and what the
clip is like. Decoding runs in a killable child process and reads ahead while a clip is measured; what is read ahead is
bounded, so at most three clips of the greatest size are in memory (with their reference videos). Samples that follow
each other and hold one and the same `Clip` (a clip with several prompts) are decoded once, and share what was computed
of it. Everything computes in one thread, so that a result does not depend on how many there were.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cineloop.errors import CineloopError, ItemError
from cineloop.log import logger
from cineloop.video.frames import Frames
from cineloop.video.worker import DecoderPool, Limits, SampleSpec
from v2t_eval.cache import NotFiniteError, encode
from v2t_eval.metric import BaseMetric
from v2t_eval.sample import Clip, Sample

AHEAD = 2  # clips decoded or being decoded beside the one that is measured
_AHEAD_BYTES = 256 << 20  # from here on only one is
_LEAST_MB = 512  # a decoder's own needs


@dataclass(frozen=True, kw_only=True)
class ClipLimits:
    """What one clip may cost: MiB of decoded frames, and seconds of decoding.

    Raises:
        ValueError: a limit that is not above zero.
    """

    max_clip_mb: int = 1024
    timeout_s: float = 300.0

    def __post_init__(self) -> None:
        if self.max_clip_mb < 1 or self.timeout_s <= 0:
            raise ValueError(f"limits must be above zero, got {self.max_clip_mb} MiB and {self.timeout_s} s")

    def of_decoder(self) -> Limits:
        """The same for the decoder, which takes 0.6 of its memory for pixels."""
        return Limits(timeout_s=self.timeout_s, memory_mb=max(_LEAST_MB, -(-self.max_clip_mb * 5 // 3)))


@dataclass(frozen=True)
class Failure:
    """Why a sample has no evidence: a stable code and a sentence."""

    code: str
    message: str
    hint: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """The failure an error stands for; METRIC_ERROR for what no metric should raise."""
        if isinstance(error, CineloopError):
            return cls(error.code, error.message, error.hint)
        if isinstance(error, NotFiniteError):
            return cls("NOT_FINITE", str(error))
        if isinstance(error, MemoryError):
            return cls("OUT_OF_MEMORY", "there was not enough memory")
        return cls("METRIC_ERROR", f"{type(error).__name__}: {error}")

    def error(self) -> ItemError:
        """As an error again."""
        return ItemError(self.message, code=self.code, hint=self.hint)


@dataclass(frozen=True, eq=False)
class Task:
    """A sample, and which metrics want it, by their numbers."""

    number: int
    sample: Sample
    metrics: tuple[int, ...]
    wants_frames: bool
    wants_reference: bool = False


@dataclass
class Outcome:
    """What came of a task: evidence and failures by number of metric, and the clip's own shape or failure."""

    number: int
    found: dict[int, bytes] = field(default_factory=dict)
    failures: dict[int, Failure] = field(default_factory=dict)
    about: dict[str, Any] | None = None
    broken: Failure | None = None


class Measurer:
    """Metrics that are loaded, and a decoder; a context manager, used from one thread."""

    def __init__(self, metrics: Sequence[BaseMetric], limits: ClipLimits) -> None:
        self.metrics, self.limits = metrics, limits
        self._pool: DecoderPool | None = None
        self._begun: Begun | None = None  # the last one
        self._shown: Sample | None = None  # the sample whose clip is in memory
        self._is_decoded = False  # its frames were made here
        self._about: dict[str, Any] | None = None

    def __enter__(self) -> Measurer:
        return self

    def __exit__(self, *exc: object) -> None:
        self._forget()
        if self._pool is not None:
            self._pool.close()

    def begin(self, task: Task) -> Begun:
        """Start to decode the task's clip, and its reference video where that is wanted."""
        clip, reference = task.sample.clip, task.sample.reference_video
        future = self._decoding(clip) if task.wants_frames and clip is not None else None
        beside = self._submit(reference) if task.wants_reference and reference is not None else None
        begun = Begun(task, future, beside)
        if future is not None:
            self._begun = begun
        return begun

    def _decoding(self, clip: Clip) -> Future[Frames] | None:
        if clip.path is None or (clip.frames is not None and not (self._is_decoded and self._holds(clip))):
            return None
        if self._begun is not None and self._begun.task.sample.clip is clip:
            return self._begun.future
        return self._submit(clip)

    def _submit(self, clip: Clip) -> Future[Frames] | None:
        if clip.path is None:
            return None
        if self._pool is None:
            self._pool = DecoderPool(1, self.limits.of_decoder())
        return self._pool.submit(clip.path, SampleSpec.every_frame(clip.start_s, clip.end_s))

    def finish(self, begun: Begun) -> Outcome:
        """Wait for the frames and let every metric measure.

        Raises:
            MissingDependencyError: there is no decoder.
        """
        task, sample = begun.task, begun.task.sample
        outcome = Outcome(task.number)
        is_same = self._shown is not None and sample.clip is not None and self._holds(sample.clip)
        if is_same and self._shown is not None:
            sample.memo = self._shown.memo
        else:
            self._forget()
        self._shown, self._is_decoded = sample, begun.future is not None or (is_same and self._is_decoded)
        if begun.future is not None:
            try:
                self._give(sample, begun.future.result(), outcome)
            except ItemError as error:
                outcome.broken = Failure.of(_explained(error, self.limits, sample.clip))
        unpaired = self._give_reference(begun)
        for number in task.metrics:
            metric = self.metrics[number]
            if outcome.broken is not None and uses_frames(metric):
                outcome.failures[number] = outcome.broken
                continue
            if unpaired is not None and "reference_video" in metric.needs:
                outcome.failures[number] = unpaired
                continue
            try:
                with one_thread():
                    outcome.found[number] = encode(metric.measure(sample))
            except Exception as error:  # a metric that breaks costs its own result alone
                outcome.failures[number] = Failure.of(error)
                logger.debug("%s failed on %s", metric.title, sample.id, exc_info=error)
        if begun.reference is not None and sample.reference_video is not None:
            sample.reference_video.frames = None
        return outcome

    def _give_reference(self, begun: Begun) -> Failure | None:
        """Wait for the frames of the reference video; why there are none."""
        sample = begun.task.sample
        if begun.reference is None or sample.reference_video is None:
            return None
        try:
            frames = begun.reference.result()
            self._refuse_too_large(frames)
            sample.reference_video.frames = frames
        except ItemError as error:
            failure = Failure.of(_explained(error, self.limits, sample.reference_video))
            return Failure(failure.code, f"the reference video: {failure.message}", failure.hint)
        return None

    def _refuse_too_large(self, frames: Frames) -> None:
        if frames.pixels.nbytes > self.limits.max_clip_mb << 20:
            raise ItemError(f"the frames take {frames.pixels.nbytes >> 20} MiB", code="TOO_LARGE")

    def _holds(self, clip: Clip) -> bool:
        return self._shown is not None and self._shown.clip is clip

    def _forget(self) -> None:
        """Let go of the clip in memory and of what was computed of it."""
        if self._shown is not None:
            self._shown.memo.clear()
            if self._is_decoded and self._shown.clip is not None:
                self._shown.clip.frames = None
        self._shown, self._is_decoded = None, False

    def _give(self, sample: Sample, frames: Frames, outcome: Outcome) -> None:
        self._refuse_too_large(frames)
        if sample.clip is not None and sample.clip.frames is not frames:
            sample.clip.frames, self._about = frames, about(frames)
        outcome.about = self._about


@dataclass
class Begun:
    """A task whose clip (`future`) and reference video are being decoded; None where none is needed."""

    task: Task
    future: Future[Frames] | None
    reference: Future[Frames] | None = None

    @property
    def bytes(self) -> int:
        """Of frames that wait to be measured."""
        if self.future is None or not self.future.done() or self.future.cancelled() or self.future.exception():
            return 0
        return int(self.future.result().pixels.nbytes)


def measured(measurer: Measurer, tasks: Iterable[Task], stop: Callable[[], bool] = lambda: False) -> Iterator[Outcome]:
    """Outcomes in the order of the tasks, reading ahead; when asked to stop, those that were begun and no more."""
    waiting: deque[Begun] = deque()
    for task in tasks:
        waiting.append(measurer.begin(task))
        while len(waiting) > (AHEAD if sum(one.bytes for one in waiting) < _AHEAD_BYTES else 1):
            yield measurer.finish(waiting.popleft())
        if stop():
            break
    while waiting:
        yield measurer.finish(waiting.popleft())


def about(frames: Frames) -> dict[str, Any]:
    """What a clip is like, as JSON values; of a single frame nobody can tell whether it would have moved."""
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


def uses_frames(metric: BaseMetric) -> bool:
    """Whether the metric looks at frames at all."""
    return "frames" in (*metric.needs, *metric.uses)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch and OpenCV compute in one thread within the block, since how sums are split over threads changes their
    last bits. Afterwards they have as many as before: a training or a notebook around a scoring is not slowed down."""
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


def _explained(error: ItemError, limits: ClipLimits, clip: Clip | None) -> ItemError:
    """The error in words that say what to do, without the place of the clip on this machine: results are passed on."""
    message, hint = error.message, error.hint
    if error.code == "TOO_LARGE":
        message = f"all frames of the clip at once are more than {limits.max_clip_mb} MiB ({message})"
        hint = "score parts of it (start_s and end_s in a manifest), make it smaller, or raise --max-clip-mb"
    if clip is not None and clip.path is not None:
        path = clip.path
        for place in (str(path.absolute()), str(path)):
            message = message.replace(place, path.name)
    return ItemError(message, code=error.code, hint=hint)
