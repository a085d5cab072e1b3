"""The working part of a captioning run: decode ahead, caption in batches of one shape, save each batch.

In: the clips to do. Out: their records in the output folder, counts and times in a `Summary`. A clip that fails becomes
a record with a code; a batch that fails is halved until the clip at fault stands alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from v2t.base.address import is_url
from v2t.base.errors import CineloopError, ItemError, MissingDependencyError
from v2t.base.log import Progress, logger, printable, stopwatch
from v2t.caption import record
from v2t.caption.ahead import Ahead, Batch, Pool
from v2t.caption.fetching import Cache, Fetching
from v2t.caption.inputs import Clip
from v2t.caption.ledger import Record
from v2t.caption.outputs import CaptionFolder
from v2t.caption.record import Question
from v2t.caption.stopping import Stopping
from v2t.caption.summary import Summary
from v2t.captioners import CaptionerLike, CaptionOutput, Decoding, asked
from v2t.video.worker import DecoderPool

if TYPE_CHECKING:
    from v2t.caption.settings import CaptionConfig

_MODEL_ERRORS_IN_A_ROW = 16  # with nothing captioned in between, the model is broken and not the clips
_SETS_EVERY_S = 15.0


@dataclass
class Job:
    """Everything between the plan and the summary; used once."""

    folder: CaptionFolder
    captioner: CaptionerLike
    question: Question
    config: CaptionConfig
    summary: Summary
    emit: Callable[[Record], None]
    stop: Stopping
    load: Callable[[], None] | None = None  # instead of the captioner's own, when several jobs share it
    _rows: list[tuple[Clip, Record]] = field(default_factory=list)
    _model_errors: int = 0
    _sets_at: float = field(default_factory=time.monotonic)
    _sets_every_s: float = _SETS_EVERY_S

    def work(self, todo: list[Clip], show_progress: bool) -> None:
        """Caption the clips, until done or asked to stop.

        Raises:
            MissingDependencyError: the model does not load or fails on every clip, or the disk is full.
        """
        num_workers = self.config.workers or max(1, (os.cpu_count() or 2) // 2)
        with ExitStack() as stack:
            pool: Pool = stack.enter_context(
                DecoderPool(num_workers, self.config.limits, decoders=self.config.decoders)
            )
            if away := {clip.file: clip.size for clip in todo if is_url(clip.file)}:
                cache = stack.enter_context(Cache(int(self.config.remote_cache_gb * 1e9)))
                pool = stack.enter_context(Fetching(pool, cache, 2 * num_workers + 2, away))
            progress = stack.enter_context(Progress(len(todo), "captioning", enabled=show_progress))
            ahead = Ahead(
                pool, self.question.spec, self.captioner.frame_size, self.config.batch_size, num_workers, self.stop
            )
            # The weights load in a thread while the first clips decode in their processes.
            loading = stack.enter_context(ThreadPoolExecutor(1)).submit(self.load or self.captioner.load)
            for batch in ahead.batches(todo):
                self._caption(batch, loading)
                if batch.items or len(self._rows) >= self.config.batch_size:
                    progress.advance(len(self._rows), self._speed())
                    self._save()
            progress.advance(len(self._rows), self._speed())
            self._save()
            self.summary.times["decode"] = self.summary.times.get("decode", 0.0) + ahead.wait_s

    def _caption(self, batch: Batch, loading: Future[None]) -> None:
        if batch.failed is not None:
            clip, problem = batch.failed
            self._fail(clip, problem)
            return
        with stopwatch(self.summary.times, "load"):
            loading.result()
        start = time.perf_counter()
        outputs = self._answers(batch)
        seconds = time.perf_counter() - start
        self.summary.times["model"] = self.summary.times.get("model", 0.0) + seconds
        for (clip, frames), output in zip(batch.items, outputs, strict=True):
            try:
                if isinstance(output, ItemError):
                    raise output
                row = record.captioned(clip, frames, output, self.question, seconds / len(outputs))
            except ItemError as problem:
                self._fail(clip, problem)
                continue
            self._rows.append((clip, row))
            self.summary.add(row)

    def _answers(self, batch: Batch) -> list[CaptionOutput | ItemError]:
        """One answer or error for each clip. When a batch fails its halves are tried, down to the clip at fault."""
        try:
            answers: list[CaptionOutput | ItemError] = list(
                self.captioner.answer(
                    [asked(self.question.prompt, frames) for _, frames in batch.items],
                    Decoding(max_new_tokens=self.question.max_new_tokens, seed=self.config.seed),
                )
            )
            if len(answers) != len(batch.items):
                raise ValueError(f"{len(answers)} captions for {len(batch.items)} clips")
            self._model_errors = 0
            return answers
        except CineloopError as error:
            if not isinstance(error, ItemError):
                raise
            problem = error
        except Exception as error:  # a model may fail in any way on one clip, and that must not end the run
            problem = self._model_error(error, alone=len(batch.items) == 1)
        if len(batch.items) == 1:
            return [problem]
        middle = len(batch.items) // 2
        halves = (Batch(items=batch.items[:middle]), Batch(items=batch.items[middle:]))
        return [answer for half in halves for answer in self._answers(half)]

    def _model_error(self, error: Exception, alone: bool) -> ItemError:
        self._model_errors += alone
        logger.debug("the model failed", exc_info=error)
        reason = f"{type(error).__name__}: {printable(str(error), 300)}"
        if self._model_errors >= _MODEL_ERRORS_IN_A_ROW:
            raise MissingDependencyError(
                f"the model fails on every clip: {reason}",
                code="MODEL_BROKEN",
                hint="try --device cpu or another model",
            ) from error
        is_memory = isinstance(error, MemoryError) or "out of memory" in str(error).lower()
        code, hint = ("OUT_OF_MEMORY", "fewer --frames") if is_memory else ("MODEL_ERROR", "run again with -v")
        return ItemError(f"the model failed: {reason}", code=code, hint=hint)

    def _fail(self, clip: Clip, problem: ItemError) -> None:
        row = record.failed(clip, problem, self.question)
        self._rows.append((clip, row))
        self.summary.add(row)

    def _save(self) -> None:
        rows, self._rows = self._rows, []
        if not rows:
            return
        with stopwatch(self.summary.times, "write"):
            for clip_id in self.folder.save(rows, self.question.settings_key):
                logger.warning("%s: a file of that name was written meanwhile; left as it is", printable(clip_id))
            # Now and then the file a person looks at; seldom enough to cost nothing in a folder of a million.
            if time.monotonic() - self._sets_at > self._sets_every_s:
                start = time.monotonic()
                self.folder.write_sets()
                self._sets_at = time.monotonic()
                self._sets_every_s = max(_SETS_EVERY_S, 20 * (self._sets_at - start))
        for _, row in rows:
            self.emit(row)

    def _speed(self) -> str:
        return f"{self.summary.num_captioned / max(self.summary.since_start_s, 1e-6):.1f} videos/s"
