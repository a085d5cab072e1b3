"""The main loop of a captioning run: decode ahead, caption in batches of one shape, save each batch.

In: the clips to do. Out: their records in the output folder, counts and times in a `CaptionSummary`. A clip that fails
becomes a record with a code. The segments of a long clip are journalled one by one; they become a record when all of
them are answered. A captioner that takes concurrent requests gets them from as many threads, and its answers are saved
in the order in which they arrive. Decoders and captioner are those of this process (`v2t.caption.asker`) or of a
cluster (`v2t.caption.cluster`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from cineloop.clip import Clip, source_of
from cineloop.errors import CineloopError, ItemError, Notice
from cineloop.interrupt import Stopping
from cineloop.journal import Entry
from cineloop.log import Progress, logger, plural, printable, stopwatch
from cineloop.threads import usable_cpus
from cineloop.video.worker import DecoderPool
from v2t.backends import Output, VideoLM
from v2t.caption.asker import CaptionAsker, ModelCalls
from v2t.caption.cluster import cluster_of
from v2t.caption.ledger import cuts_entry
from v2t.caption.outputs import CaptionFolder
from v2t.caption.record import PromptSettings, clip_record, result_of, segments_of
from v2t.caption.remote_decoders import RemoteDecoders
from v2t.caption.summary import CaptionSummary, rate
from v2t.data.notes import Note
from v2t.long.division import Division
from v2t.long.items import WorkItem, answer_fields
from v2t.long.queue import DecodeQueue, Decoders
from v2t.long.segments import Segment
from v2t.long.summary import join, sum_up
from v2t.long.video import LongVideo
from v2t.writers import Record

if TYPE_CHECKING:
    from v2t.caption.settings import CaptionConfig

_SEGMENT_EVERY_S = 5.0
_POLL_S = 0.5
_TICK_S = 1.0


class CaptionJob:
    """Everything between the plan and the summary; used once."""

    def __init__(
        self,
        folder: CaptionFolder,
        question: PromptSettings,
        config: CaptionConfig,
        summary: CaptionSummary,
        emit: Callable[[Record], None],
    ) -> None:
        self.folder, self.question, self.config, self.summary, self.emit = folder, question, config, summary, emit
        self._threads: ThreadPoolExecutor | None = None  # for a captioner that takes concurrent requests
        self._in_flight: dict[Future[Any], Callable[[Any], None]] = {}  # call in a thread -> what takes its result
        self._clips: list[WorkItem] = []  # with records that are to be saved
        self._entries: list[Entry] = []
        self._complete: list[WorkItem] = []  # long clips without a record, all of whose segments are answered
        self._is_ending = False  # every request fails now
        self._steps = 0  # items finished since the last progress report
        self._saved_at = self._ticked_at = time.monotonic()

    def work(self, todo: Sequence[Clip], captioner: VideoLM, stop: Stopping, show_progress: bool = False) -> None:
        """Caption the clips, until done or stopped. `captioner` is loaded here; on a cluster each worker has its own.

        Raises:
            MissingDependencyError: the model does not load or fails on every clip, or the disk is full.
        """
        config, question = self.config, self.question
        with ExitStack() as stack:
            pool: Decoders
            if config.cluster.engine == "none":
                self.asker: ModelCalls = CaptionAsker(captioner, question, config, self.folder.path)
                workers = config.workers or max(1, usable_cpus() // 2)
                pool = stack.enter_context(DecoderPool(workers, config.limits, decoders=config.decoders))
                if any(clip.is_remote for clip in todo):
                    pool = stack.enter_context(RemoteDecoders(pool, workers + 2, int(config.remote_max_gb * 1e9)))
            else:
                cluster = cluster_of(self.folder, question, config, todo, self.summary)
                self.asker, pool = stack.enter_context(cluster)
            self._progress = stack.enter_context(Progress(len(todo), "captioning", enabled=show_progress))
            if self.asker.concurrency > 1:
                self._threads = stack.enter_context(ThreadPoolExecutor(self.asker.concurrency, "answer"))
            # The weights load in a thread while the first clips decode in their processes.
            self._loading = stack.enter_context(ThreadPoolExecutor(1)).submit(self.asker.load)
            self._progress.advance(0, "loading the model")
            items: Iterable[WorkItem | None] = map(WorkItem, todo)
            also: Collection[Future[Any]] = ()
            if question.parts.kind != "whole":
                division = Division(map(WorkItem, todo), partial(self._divide, pool), pool.num_workers)
                also, items = division.pending, stack.enter_context(closing(iter(division)))
            size = self.asker.batch_size
            queue = DecodeQueue(pool, question.spec, question.frame_size, size, lambda: stop.asked, also)
            for batch in queue.batches(items):
                is_decoded = any(item.frames is not None for item in batch)
                if is_decoded:
                    self._call(self.asker.ask, batch, then=partial(self._take, batch))
                elif batch and batch[0].segments:
                    self._begin_long(batch[0])
                else:
                    self._take(batch, [result_of(item, item.answer or {}, question) for item in batch])
                if self._in_flight:
                    self._collect()
                self._save(force=is_decoded)
            self._save(force=True)
            while self._in_flight:
                self._collect(wait_for_one=True)
                self._save(force=True)
            self._tick()  # every clip is counted
            self.summary.times["decode"] = self.summary.times.get("decode", 0.0) + queue.wait_s

    # ---- generation

    def _call(self, method: Callable[..., Any], *args: Any, then: Callable[[Any], None]) -> None:
        """Call the model once it is loaded: here, or in a thread once one is free."""
        with stopwatch(self.summary.times, "load"):
            self._loading.result()
        while len(self._in_flight) >= self.asker.concurrency:
            self._collect(wait_for_one=True)
        if self._threads is not None:
            self._in_flight[self._threads.submit(method, *args)] = then
            return
        # A model of this process gets no second batch while one is not saved.
        try:
            with stopwatch(self.summary.times, "model"):
                result = method(*args)
        except CineloopError:
            self._end()
            raise
        then(result)

    def _collect(self, *, wait_for_one: bool = False) -> None:
        """Process the answers of threads that are there."""
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
            self._end()
            raise fatal

    def _end(self) -> None:
        """Save what is there before the run ends by an error of the model."""
        self._is_ending = True
        self._save(force=True)

    def _take(self, items: Sequence[WorkItem], results: Sequence[Entry]) -> None:
        """Keep the results of items; a long clip whose last segment is among them is complete."""
        for item, result in zip(items, results, strict=True):
            item.frames, item.answer = None, result
            self._steps += 1
            if self.question.parts.kind != "whole":
                self.summary.num_parts += result["error"] is None
            if item.parent is None:
                self._clips.append(item)
                continue
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
        clip.source = source_of(clip.clip)
        if clip.cuts_s is not None:
            self._entries.append(cuts_entry(clip.clip, clip.source, clip.cuts_s))
        earlier = {}
        if not self.config.overwrite:
            earlier = self.folder.ledger.parts_of(clip.clip, self.question.settings_key)
        for item in clip.segments:
            item.source, entry = clip.source, item.segment and earlier.get(item.segment)
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
        captioned: list[dict[str, Any]] = []
        if summary is None and question.sums_up and question.segments is None:
            with suppress(ItemError):  # no segment is captioned: the record says so
                captioned = [segment for segment in segments_of(entries, question) if segment["caption"]]
        if len(captioned) > 1:
            if not self._is_ending:  # else a later run sums up the journalled segments
                self._call(self._summarise, captioned, then=partial(self._finish_long, clip))
            return
        clip.answer = clip_record(clip.clip, entries, question, summary)
        self._clips.append(clip)

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
                self.folder.append(entries)
        complete, self._complete = self._complete, []
        for clip in complete:
            self._finish_long(clip)
        has_caption = any(clip.answer and clip.answer["status"] == "ok" for clip in self._clips)
        # Concurrent answers come one by one: on a store, where each write is a request, they wait for a batch.
        is_early = time.monotonic() - self._saved_at < _SEGMENT_EVERY_S
        is_due = (force or has_caption) and not (self.folder.store and self._in_flight and is_early)
        if self._clips and (is_due or len(self._clips) >= self.config.batch_size):
            self._saved_at = time.monotonic()
            clips, self._clips = self._clips, []
            with stopwatch(self.summary.times, "write"):
                self.folder.write(clips, self.question.settings_key)
            for record in (clip.answer or {} for clip in clips):
                self.summary.add(record)
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
