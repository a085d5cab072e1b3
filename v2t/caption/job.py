"""The working part of a captioning run: decode ahead, caption in batches of one shape, save each batch.

In: the clips to do. Out: their records in the output folder, counts and times in a `Summary`. A clip that fails becomes
a record with a code. A clip in parts is journalled part by part; one becomes a record when all of them are done. A
captioner that takes several questions at once gets one from each of so many threads, and what it answers is saved in
the order in which answers come.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cineloop.address import is_url
from cineloop.clip import Clip
from cineloop.errors import ItemError, Notice
from cineloop.interrupt import Stopping
from cineloop.journal import Entry
from cineloop.log import Progress, logger, plural, printable, stopwatch
from cineloop.video.worker import DecoderPool
from v2t.backends import OUT_OF_DOMAIN, Decoding, GenerateRequest, Output, VideoLM, user_turn
from v2t.backends.batching import Answer, Batcher
from v2t.caption import record
from v2t.caption.ahead import Ahead, Batch, Pool
from v2t.caption.fetching import Fetching
from v2t.caption.ledger import cuts_entry, source_of
from v2t.caption.outputs import CaptionFolder
from v2t.caption.record import Question
from v2t.caption.summary import Summary, rate
from v2t.data.notes import Note
from v2t.long.parts import LongClip, Part, Piece, answered, failed
from v2t.long.summary import join, sum_up
from v2t.writers import EVERY, Record, strips

if TYPE_CHECKING:
    from cineloop.video.frames import Frames
    from v2t.caption.settings import CaptionConfig

_SETS_EVERY_S = 15.0
_POLL_S = 0.5
_NAME_A_MODEL = "name a --model for such clips; --on-outside warn --retry-failed writes the captions all the same"
Items = list[tuple[Piece, "Frames"]]
Segments = list[dict[str, Any]]


@dataclass
class Job:
    """Everything between the plan and the summary; used once."""

    folder: CaptionFolder
    captioner: VideoLM
    question: Question
    config: CaptionConfig
    summary: Summary
    emit: Callable[[Record], None]
    stop: Stopping
    _threads: ThreadPoolExecutor | None = None
    _flying: dict[Future, Items | LongClip] = field(default_factory=dict)
    _rows: list[tuple[Clip, Record]] = field(default_factory=list)
    _entries: list[Entry] = field(default_factory=list)
    _whole: list[LongClip] = field(default_factory=list)  # all parts done, the record is not
    _steps: int = 0  # clips and parts finished since progress was last told
    _sets_at: float = field(default_factory=time.monotonic)
    _sets_every_s: float = _SETS_EVERY_S

    def work(self, todo: list[Clip], show_progress: bool) -> None:
        """Caption the clips, until done or asked to stop.

        Raises:
            MissingDependencyError: the model does not load or fails on every clip, or the disk is full.
        """
        num_workers = self.config.workers or max(1, (os.cpu_count() or 2) // 2)
        self._batcher, self._concurrency = Batcher(self.captioner), self.captioner.concurrency
        with ExitStack() as stack:
            pool: Pool = stack.enter_context(
                DecoderPool(num_workers, self.config.limits, decoders=self.config.decoders)
            )
            if any(is_url(clip.file) for clip in todo):
                pool = stack.enter_context(Fetching(pool, num_workers + 2, int(self.config.remote_max_gb * 1e9)))
            self._progress = stack.enter_context(Progress(len(todo), "captioning", enabled=show_progress))
            if self._concurrency > 1:
                self._threads = stack.enter_context(ThreadPoolExecutor(self._concurrency, "answer"))
            # The weights load in a thread while the first clips decode in their processes.
            self._loading = stack.enter_context(ThreadPoolExecutor(1)).submit(self.captioner.load)
            self._progress.advance(0, self._speed())
            ahead = Ahead(
                pool,
                self.question.spec,
                self.captioner.frame_size,
                1 if self._threads else self.config.batch_size,
                num_workers,
                self.stop,
                self.question.parts,
                self._begin,
                self.folder.ledger.cuts_of,
            )
            for batch in ahead.batches(todo):
                self._take(batch)
                self._save(force=bool(batch.items))
            while True:
                self._save(force=True)
                if not self._flying:
                    break
                self._land(wait_for_one=True)
            self.summary.times["decode"] = self.summary.times.get("decode", 0.0) + ahead.wait_s

    # ---- asking

    def _begin(self, clip: Clip, parts: list[Part], cuts_s: list[float] | None) -> LongClip:
        """A clip in parts, with those that an earlier run finished."""
        long = LongClip(clip, parts, self.question.settings_key, source_of(clip))
        if cuts_s is not None and len(parts) > 1:
            self._entries.append(cuts_entry(clip, long.source, cuts_s))
        if len(parts) > 1 and not self.config.overwrite:
            found = self.folder.ledger.parts_of(clip, long.settings)
            for number, part in enumerate(parts):
                entry = found.get(part)
                if entry is not None and (entry["error"] is None or not self.config.retry_failed):
                    long.done[number] = entry
        self._progress.grow(len(parts) - 1)
        self._steps += len(long.done)
        if long.done:
            logger.info("%s: %d of %d parts done before", printable(clip.id), len(long.done), len(parts))
        return long

    def _take(self, batch: Batch) -> None:
        if batch.failed is not None:
            self._add_part(batch.failed[0], failed(batch.failed[1]))
        if batch.done is not None:
            self._whole.append(batch.done)
        if batch.items:
            with stopwatch(self.summary.times, "load"):
                self._loading.result()
            if self._threads is None:
                with stopwatch(self.summary.times, "model"):
                    answers, seconds = self._ask(batch.items)
                self._answered(batch.items, answers, seconds)
            else:
                while len(self._flying) >= self._concurrency:
                    self._land(wait_for_one=True)
                self._flying[self._threads.submit(self._ask, batch.items)] = batch.items
        if self._flying:
            self._land(wait_for_one=False)

    def _ask(self, items: Items) -> tuple[list[Answer], float]:
        """Answers to a batch, and the seconds each took."""
        start = time.perf_counter()
        decoding = Decoding(max_new_tokens=self.question.max_new_tokens, seed=self.config.seed)
        prompt = self.question.prompt
        requests = [GenerateRequest(messages=user_turn(prompt, frames), decoding=decoding) for _, frames in items]
        answers = self._batcher.generate_many(requests, retry_loops=True)
        return answers, (time.perf_counter() - start) / len(items)

    def _ask_text(self, prompt: str, max_new_tokens: int) -> Output:
        """The answer to a question without any video. Raises ItemError where there is none."""
        decoding = Decoding(max_new_tokens=max_new_tokens, seed=self.config.seed)
        request = GenerateRequest(messages=user_turn(prompt), decoding=decoding)
        return self._batcher.generate(request, retry_loops=True)

    def _land(self, *, wait_for_one: bool) -> None:
        """Take what the threads have finished."""
        if wait_for_one and not any(future.done() for future in self._flying):
            with stopwatch(self.summary.times, "model"):
                wait(self._flying, timeout=_POLL_S, return_when=FIRST_COMPLETED)
        for future in [future for future in self._flying if future.done()]:
            work = self._flying.pop(future)
            if isinstance(work, LongClip):
                self._finish(work, future.result())
            else:
                self._answered(work, *future.result())

    def _answered(self, items: Items, answers: list[Answer], seconds: float) -> None:
        keeps_strips = "html" in self.config.format or EVERY in self.config.format
        for (piece, frames), answer in zip(items, answers, strict=True):
            clip, number = piece
            try:
                if isinstance(answer, ItemError):
                    raise answer
                if keeps_strips:  # what the model saw, for the page of the run: nothing is decoded twice
                    part = None if len(clip.parts) == 1 else clip.parts[number].start_s
                    with stopwatch(self.summary.times, "write"):
                        strips.save(self.folder.folder, frames.pixels, clip.clip.id, part)
                for warning in answer.warnings:
                    if warning.code == OUT_OF_DOMAIN and self.config.on_outside == "fail":
                        raise ItemError(warning.message, code=OUT_OF_DOMAIN, hint=_NAME_A_MODEL)
                self._add_part(piece, answered(frames, answer, seconds), frames)
            except ItemError as problem:
                self._add_part(piece, failed(problem))

    # ---- records

    def _add_part(self, piece: Piece, fields: Entry, frames: Frames | None = None) -> None:
        clip, number = piece
        entry = clip.add(number, fields, frames)
        self._steps += 1
        if self.question.parts.kind != "whole":
            self.summary.num_parts += entry["error"] is None
        if len(clip.parts) > 1:
            self._entries.append(entry)
        if len(clip.done) == len(clip.parts):
            self._whole.append(clip)

    def _finish(self, clip: LongClip, summed: tuple[Output, float] | None = None) -> None:
        """Make the record of a clip whose parts are all done.

        Args:
            clip: the clip.
            summed: the model's summary and its seconds; None where that is still to be asked for, or not wanted.
        """
        question = self.question
        try:
            segments = record.segments_of(clip, question)
            told = [segment for segment in segments if segment["caption"]]
            if len(clip.parts) == 1:
                text = clip.done[0]["caption"]
            elif question.segments is not None:
                text = "\n".join(f"{s['start_s']:.1f}-{s['end_s']:.1f}s: {s['caption']}" for s in told)
            else:
                text = join([segment["caption"] for segment in told])
                if summed is None and question.sums_up and len(told) > 1:
                    with stopwatch(self.summary.times, "load"):
                        self._loading.result()
                    if self._threads is not None:
                        self._flying[self._threads.submit(self._summed_up, told, text)] = clip
                        return
                    with stopwatch(self.summary.times, "model"):
                        summed = self._summed_up(told, text)
            row = record.captioned(clip, segments, *(summed or (Output(text=text, tokens=0), 0.0)), question)
        except ItemError as problem:
            row = record.failed(clip.clip, problem, question)
        self._rows.append((clip.clip, row))
        self.summary.add(row)

    def _summed_up(self, told: Segments, joined: str) -> tuple[Output, float]:
        """(the model's caption of all, else the parts' `joined`; its seconds); may run in a thread."""
        notes = [Note(start_s=s["start_s"], end_s=s["end_s"], text=s["caption"]) for s in told]
        start = time.perf_counter()
        try:
            output = sum_up(notes, self.question.prompt, self.question.max_new_tokens, self._ask_text)
            if not output.text.strip():
                raise ItemError("the answer is empty", code="BAD_CAPTION")
        except ItemError as problem:
            why = Notice("SUMMARY_FAILED", f"the parts' captions were joined: {problem.code}: {problem.message}")
            output = Output(text=joined, tokens=0, warnings=(why,))
        return output, time.perf_counter() - start

    # ---- saving

    def _save(self, *, force: bool = False) -> None:
        """Journal the parts, then make and save the records; failed clips wait until there are some of them."""
        if self._entries:
            entries, self._entries = self._entries, []
            with stopwatch(self.summary.times, "write"):
                self.folder.ledger.append(entries)
                self.folder.lock.beat()
        whole, self._whole = self._whole, []
        for clip in whole:
            self._finish(clip)
        has_caption = any(row["status"] == "ok" for _, row in self._rows)
        if self._rows and (force or has_caption or len(self._rows) >= self.config.batch_size):
            rows, self._rows = self._rows, []
            with stopwatch(self.summary.times, "write"):
                for clip_id in self.folder.save(rows, self.question.settings_key):
                    logger.warning("%s: a file of that name was written meanwhile; left as it is", printable(clip_id))
                # Now and then the file a person looks at; seldom enough to cost nothing in a folder of a million.
                if time.monotonic() - self._sets_at > self._sets_every_s:
                    start = time.monotonic()
                    self.folder.sets.write_sets(during=True)
                    self._sets_at = time.monotonic()
                    self._sets_every_s = max(_SETS_EVERY_S, 20 * (self._sets_at - start))
            for _, row in rows:
                self.emit(row)
        if self._steps:  # after the results, which it counts
            self._progress.advance(self._steps, self._speed())
            self._steps = 0

    def _speed(self) -> str:
        if not self._loading.done():
            return "loading the model"
        seconds = time.perf_counter() - self.summary.started - self.summary.times.get("load", 0.0)
        if self.question.parts.kind != "whole":
            return f"{plural(self.summary.num_parts, 'part')}, {rate(self.summary.num_parts, seconds, 'part')}"
        return rate(self.summary.num_captioned, seconds, "video")
