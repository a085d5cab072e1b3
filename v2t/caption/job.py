"""The main loop of a captioning run: decode ahead, caption in batches of one shape, save each batch.

In: the clips to do. Out: their records in the output folder, counts and times in a `CaptionSummary`. A clip that fails
becomes a record with a code. The segments of a long clip are journalled one by one; they become a record when all of
them are answered. A captioner that takes concurrent requests gets them from as many threads, and its answers are saved
in the order in which they arrive. A run in one process has one `CaptionAsker`; on a cluster each model worker has its
own, and the run's is a `v2t.caption.cluster.PlacedAsker` with the same methods.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cineloop.clip import Clip
from cineloop.errors import CineloopError, ItemError, Notice
from cineloop.interrupt import Stopping
from cineloop.journal import Entry
from cineloop.log import Progress, logger, plural, printable, stopwatch
from cineloop.threads import usable_cpus
from cineloop.video.worker import DecoderPool
from v2t.backends import OUT_OF_DOMAIN, Decoding, GenerateRequest, Output, VideoLM, user_turn
from v2t.backends.batching import Batcher
from v2t.caption.ledger import cuts_entry, source_of
from v2t.caption.outputs import CaptionFolder
from v2t.caption.record import PromptSettings, caption_record, failed_record, result_of, segments_of
from v2t.caption.remote_decoders import RemoteDecoders
from v2t.caption.summary import CaptionSummary, rate
from v2t.data.notes import Note
from v2t.long.items import WorkItem, answer_fields, ask_items, error_fields
from v2t.long.queue import DecodeQueue, Decoders
from v2t.long.segments import Segment
from v2t.long.summary import join, sum_up
from v2t.long.video import LongVideo
from v2t.writers import EVERY, Record, html

if TYPE_CHECKING:
    from v2t.caption.settings import CaptionConfig

_SEGMENT_EVERY_S = 5.0
_POLL_S = 0.5
_TICK_S = 1.0
_NAME_A_MODEL = "name a --model for such clips; --on-outside warn --retry-failed writes the captions anyway"


class ModelCalls(Protocol):
    """The part of `CaptionAsker` that a job uses; `ask` and `ask_text` may be called from `concurrency` threads.

    Attributes:
        concurrency: calls at once, >= 1.
        batch_size: items of a call.
    """

    concurrency: int
    batch_size: int

    def load(self) -> None:
        """Make ready to be asked."""

    def ask(self, items: Sequence[WorkItem]) -> list[Entry]:
        """The result of each item, see `v2t.caption.record.result_of`."""

    def ask_text(self, prompt: str, max_new_tokens: int) -> Output:
        """The answer to a prompt without video. Raises ItemError if it fails."""


class CaptionAsker:
    """A captioner of this process; `folder` is where strips of frames are kept."""

    def __init__(self, captioner: VideoLM, question: PromptSettings, config: CaptionConfig, folder: Path) -> None:
        self.question, self.config, self.folder = question, config, folder
        self.load = captioner.load
        self.concurrency = captioner.concurrency
        self.batch_size = 1 if captioner.concurrency > 1 else config.batch_size
        self._batcher = Batcher(captioner)
        self._decoding = Decoding(
            max_new_tokens=question.max_new_tokens, temperature=config.temperature, seed=config.seed
        )
        # the model's frames for the run's page, without decoding twice
        self._keeps_strips = "html" in config.format or EVERY in config.format

    def ask(self, items: Sequence[WorkItem]) -> list[Entry]:
        """The result of each decoded item, see `v2t.caption.record.result_of`."""
        answers = ask_items(self._batcher, items, self.question.prompt, self._decoding, retry_loops=True)
        results: list[Entry] = []
        for item, answer in zip(items, answers, strict=True):
            if self._keeps_strips and answer["error"] is None and item.frames is not None:
                start_s = item.segment.start_s if item.segment else None
                html.save_strip(self.folder, item.frames.pixels, item.clip.id, start_s)
            outside = [each for each in answer["warnings"] if each["code"] == OUT_OF_DOMAIN]
            if outside and self.config.on_outside == "fail":
                error = ItemError(outside[0]["message"], code=OUT_OF_DOMAIN, hint=_NAME_A_MODEL)
                answer = error_fields(error)
            results.append(result_of(item, answer, self.question))
        return results

    def ask_text(self, prompt: str, max_new_tokens: int) -> Output:
        """The answer to a prompt without video. Raises ItemError if it fails."""
        decoding = replace(self._decoding, max_new_tokens=max_new_tokens)
        request = GenerateRequest(messages=user_turn(prompt), decoding=decoding)
        return self._batcher.generate(request, retry_loops=True)


class _ThisThread(Executor):
    """Runs each call at once: a model of this process gets no second batch while one is not saved."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class CaptionJob:
    """Everything between the plan and the summary; used once."""

    def __init__(
        self,
        folder: CaptionFolder,
        asker: ModelCalls,
        question: PromptSettings,
        config: CaptionConfig,
        summary: CaptionSummary,
        emit: Callable[[Record], None],
    ) -> None:
        self.folder, self.asker, self.question, self.config = folder, asker, question, config
        self.summary, self.emit = summary, emit
        self._calls: Executor = _ThisThread()
        self._in_flight: dict[Future[Any], Callable[[Any], None]] = {}  # call of the model -> what takes its result
        self._records: list[tuple[Clip, Record]] = []
        self._entries: list[Entry] = []
        self._complete: list[WorkItem] = []  # long clips without a record, all of whose segments are answered
        self._is_ending = False  # every request fails now
        self._steps = 0  # items finished since the last progress report
        self._saved_at = self._ticked_at = time.monotonic()

    def work(
        self, todo: Sequence[Clip], stop: Stopping, decoders: Decoders | None = None, show_progress: bool = False
    ) -> None:
        """Caption the clips, until done or stopped.

        Args:
            decoders: those of a cluster; None starts processes on this machine.

        Raises:
            MissingDependencyError: the model does not load or fails on every clip, or the disk is full.
        """
        config, question = self.config, self.question
        with ExitStack() as stack:
            pool = decoders
            if pool is None:
                workers = config.workers or max(1, usable_cpus() // 2)
                pool = stack.enter_context(DecoderPool(workers, config.limits, decoders=config.decoders))
                if any(clip.is_remote for clip in todo):
                    pool = stack.enter_context(RemoteDecoders(pool, workers + 2, int(config.remote_max_gb * 1e9)))
            self._progress = stack.enter_context(Progress(len(todo), "captioning", enabled=show_progress))
            if self.asker.concurrency > 1:
                self._calls = stack.enter_context(ThreadPoolExecutor(self.asker.concurrency, "answer"))
            # The weights load in a thread while the first clips decode in their processes.
            self._loading = stack.enter_context(ThreadPoolExecutor(1)).submit(self.asker.load)
            self._progress.advance(0, "loading the model")
            divide = None if question.parts.kind == "whole" else partial(self._divide, pool)
            size = self.asker.batch_size
            queue = DecodeQueue(pool, question.spec, question.frame_size, size, lambda: stop.asked, divide)
            for batch in queue.batches(map(WorkItem, todo)):
                is_decoded = any(item.frames is not None for item in batch)
                self._take(batch)
                self._save(force=is_decoded)
            while True:
                self._save(force=True)
                if not self._in_flight:
                    break
                self._collect(wait_for_one=True)
            self._tick()  # every clip is counted
            self.summary.times["decode"] = self.summary.times.get("decode", 0.0) + queue.wait_s

    # ---- generation

    def _take(self, batch: list[WorkItem]) -> None:
        """Ask the model about decoded items; note failed and divided ones."""
        if batch and batch[0].segments:
            self._begin_long(batch[0])
        elif batch and batch[0].answer is not None:
            self._add(batch, [result_of(item, item.answer or {}, self.question) for item in batch])
        elif batch:
            self._call(self.asker.ask, batch, then=partial(self._add, batch))
        self._collect(wait_for_one=False)

    def _call(self, method: Callable[..., Any], *args: Any, then: Callable[[Any], None]) -> None:
        """Call the model once it is loaded and a call of it has ended."""
        with stopwatch(self.summary.times, "load"):
            self._loading.result()
        while len(self._in_flight) >= self.asker.concurrency:
            self._collect(wait_for_one=True)
        with stopwatch(self.summary.times, "model"):
            self._in_flight[self._calls.submit(method, *args)] = then

    def _collect(self, *, wait_for_one: bool) -> None:
        """Process the answers that are there."""
        if wait_for_one and not any(future.done() for future in self._in_flight):
            with stopwatch(self.summary.times, "model"):
                wait(self._in_flight, timeout=_POLL_S, return_when=FIRST_COMPLETED)
        fatal: CineloopError | None = None
        while done := [future for future in self._in_flight if future.done()]:
            for future in done:
                then = self._in_flight.pop(future)
                try:
                    result = future.result()
                except CineloopError as error:
                    fatal = fatal or error
                    continue
                then(result)
            if fatal is not None:  # the run ends: what the other threads are still given is kept too
                wait(self._in_flight)
        if fatal is not None:
            self._is_ending = True
            self._save(force=True)
            raise fatal

    def _add(self, items: Sequence[WorkItem], results: Sequence[Entry]) -> None:
        """Keep the results of items; a long clip whose last segment is among them is complete."""
        for item, result in zip(items, results, strict=True):
            item.frames = None
            self._steps += 1
            if self.question.parts.kind != "whole":
                self.summary.num_parts += result["error"] is None
            if item.parent is None:
                self._records.append((item.clip, result))
                self.summary.add(result)
                continue
            item.answer = result
            self._entries.append(result)
            if all(segment.answer for segment in item.parent.segments):
                self._complete.append(item.parent)

    # ---- long clips

    def _divide(self, pool: Decoders, item: WorkItem) -> list[Segment]:
        """The segments of a clip; called in threads."""
        video = LongVideo(item.clip, pool, self.question.spec, self.question.frame_size, needs_cuts=True)
        video.cuts_s = known = self.folder.ledger.cuts_of(item.clip)
        segments = video.segments(self.question.parts)
        item.cuts_s = video.cuts_s if known is None else None
        return segments

    def _begin_long(self, clip: WorkItem) -> None:
        """Journal the cuts of a divided clip, and take over the answers of an earlier run."""
        source = source_of(clip.clip)
        if clip.cuts_s is not None:
            self._entries.append(cuts_entry(clip.clip, source, clip.cuts_s))
        earlier = {}
        if not self.config.overwrite:
            earlier = self.folder.ledger.parts_of(clip.clip, self.question.settings_key)
        for item in clip.segments:
            item.source, entry = source, item.segment and earlier.get(item.segment)
            if entry is not None and (entry["error"] is None or not self.config.retry_failed):
                item.answer = entry
        num_answered = sum(item.answer is not None for item in clip.segments)
        self._progress.grow(len(clip.segments) - 1)
        self._steps += num_answered
        if num_answered:
            name = printable(clip.clip.id)
            logger.info("%s: %d of %d parts done before", name, num_answered, len(clip.segments))
        if num_answered == len(clip.segments):
            self._complete.append(clip)

    def _finish_long(self, clip: WorkItem, summary: Entry | None = None) -> None:
        """Make the record of a clip whose segments are all answered; `summary` holds the fields of the model's summary,
        None where it is still to be generated, or not wanted."""
        question, entries = self.question, [item.answer or {} for item in clip.segments]
        try:
            segments = segments_of(entries, question)
            captioned = [segment for segment in segments if segment["caption"]]
            if summary is None and question.sums_up and question.segments is None and len(captioned) > 1:
                if not self._is_ending:  # else a later run sums up the journalled segments
                    self._call(self._summarise, captioned, then=partial(self._finish_long, clip))
                return
            record = caption_record(clip.clip, entries, segments, question, summary)
        except ItemError as problem:
            record = failed_record(clip.clip, problem, question)
        self._records.append((clip.clip, record))
        self.summary.add(record)

    def _summarise(self, captioned: list[dict[str, Any]]) -> Entry:
        """Fields of the model's summary of segments, or of their joined captions if it fails; may run in a thread."""
        notes = [Note(start_s=s["start_s"], end_s=s["end_s"], text=s["caption"]) for s in captioned]
        start = time.perf_counter()
        try:
            output = sum_up(notes, self.question.prompt, self.question.max_new_tokens, self.asker.ask_text)
            if not output.text.strip():
                raise ItemError("the answer is empty", code="BAD_CAPTION")
        except ItemError as problem:
            why = Notice("SUMMARY_FAILED", f"the parts' captions were joined: {problem.code}: {problem.message}")
            output = Output(text=join([segment["caption"] for segment in captioned]), tokens=0, warnings=(why,))
        return answer_fields(None, output, time.perf_counter() - start)

    # ---- saving

    def _save(self, *, force: bool = False) -> None:
        """Journal the segments' entries, then make and save the records; failed clips are batched."""
        if self._entries:
            entries, self._entries = self._entries, []
            with stopwatch(self.summary.times, "write"):
                self.folder.ledger.append(entries)
        complete, self._complete = self._complete, []
        for clip in complete:
            self._finish_long(clip)
        has_caption = any(record["status"] == "ok" for _, record in self._records)
        # Concurrent answers come one by one: on a store, where each write is a request, they wait for a batch.
        is_early = time.monotonic() - self._saved_at < _SEGMENT_EVERY_S
        is_due = (force or has_caption) and not (self.folder.store and self._in_flight and is_early)
        if self._records and (is_due or len(self._records) >= self.config.batch_size):
            self._saved_at = time.monotonic()
            records, self._records = self._records, []
            with stopwatch(self.summary.times, "write"):
                self.folder.write(records, self.question.settings_key)
            for _, record in records:
                self.emit(record)
        if time.monotonic() - self._ticked_at > _TICK_S:
            self._tick()

    def _tick(self) -> None:
        """What need not be done for every clip: the heartbeat of the lock, the run-wide files, the progress."""
        self._ticked_at = time.monotonic()
        with stopwatch(self.summary.times, "write"):
            self.folder.update()
        if not self._steps:
            return
        seconds = time.perf_counter() - self.summary.started - self.summary.times.get("load", 0.0)
        note = rate(self.summary.num_captioned, seconds, "video")
        if self.question.parts.kind != "whole":
            note = f"{plural(self.summary.num_parts, 'part')}, {rate(self.summary.num_parts, seconds, 'part')}"
        self._progress.advance(self._steps, note if self._loading.done() else "loading the model")
        self._steps = 0
