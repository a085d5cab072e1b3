"""The main loop of a captioning run: decode ahead, caption in batches of one shape, save each batch.

In: the clips to do. Out: their records in the output folder, counts and times in a `Summary`. A clip that fails becomes
a record with a code. A clip in parts is journalled part by part; one becomes a record when all of them are done. A
captioner that takes concurrent requests gets them from as many threads, and its answers are saved in the order in which
they arrive. A run in one process has one `Asker`; on a cluster each model worker has its own, and the run's is a
`v2t.caption.cluster.PlacedAsker` with the same methods.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
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
from v2t.caption import record
from v2t.caption.ahead import Ahead, Batch, Pool
from v2t.caption.fetching import Fetching
from v2t.caption.ledger import cuts_entry, source_of
from v2t.caption.outputs import CaptionFolder
from v2t.caption.record import Question
from v2t.caption.summary import Summary, rate
from v2t.data.notes import Note
from v2t.long.parts import LongClip, Part, Piece, answer_fields, error_fields
from v2t.long.summary import join, sum_up
from v2t.writers import EVERY, Record, html

if TYPE_CHECKING:
    from cineloop.video.frames import Frames
    from v2t.caption.settings import CaptionConfig

_SETS_EVERY_S = 15.0
_SEGMENT_EVERY_S = 5.0
_POLL_S = 0.5
_TICK_S, _BEAT_S = 1.0, 10.0
Items = list[tuple[Piece, "Frames"]]
_NAME_A_MODEL = "name a --model for such clips; --on-outside warn --retry-failed writes the captions anyway"


class Asking(Protocol):
    """The part of `Asker` that a job uses; `ask` and `ask_text` may be called from `concurrency` threads.

    Attributes:
        concurrency: calls at once, >= 1.
        batch_size: pieces of a call.
    """

    concurrency: int
    batch_size: int

    def load(self) -> None:
        """Make ready to be asked."""

    def ask(self, items: Items) -> list[Entry]:
        """Fields of each piece's entry."""

    def ask_text(self, prompt: str, max_new_tokens: int) -> Output:
        """The answer to a prompt without video. Raises ItemError if it fails."""


class Asker:
    """A captioner of this process; `folder` is where strips of frames are kept."""

    def __init__(self, captioner: VideoLM, question: Question, config: CaptionConfig, folder: Path) -> None:
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

    def ask(self, items: Items) -> list[Entry]:
        """Fields of each piece's entry."""
        start = time.perf_counter()
        prompt, decoding = self.question.prompt, self._decoding
        requests = [GenerateRequest(messages=user_turn(prompt, frames), decoding=decoding) for _, frames in items]
        answers = self._batcher.generate_many(requests, retry_loops=True)
        seconds, fields = (time.perf_counter() - start) / len(items), []
        for ((clip, number), frames), answer in zip(items, answers, strict=True):
            if isinstance(answer, ItemError):
                fields.append(error_fields(answer))
                continue
            if self._keeps_strips:
                part = None if len(clip.parts) == 1 else clip.parts[number].start_s
                html.save_strip(self.folder, frames.pixels, clip.clip.id, part)
            outside = [warning for warning in answer.warnings if warning.code == OUT_OF_DOMAIN]
            if outside and self.config.on_outside == "fail":
                error = ItemError(outside[0].message, code=OUT_OF_DOMAIN, hint=_NAME_A_MODEL)
                fields.append(error_fields(error))
            else:
                fields.append(answer_fields(frames, answer, seconds))
        return fields

    def ask_text(self, prompt: str, max_new_tokens: int) -> Output:
        """The answer to a prompt without video. Raises ItemError if it fails."""
        decoding = replace(self._decoding, max_new_tokens=max_new_tokens)
        request = GenerateRequest(messages=user_turn(prompt), decoding=decoding)
        return self._batcher.generate(request, retry_loops=True)


@dataclass
class Job:
    """Everything between the plan and the summary; used once."""

    folder: CaptionFolder
    asker: Asking
    question: Question
    config: CaptionConfig
    summary: Summary
    emit: Callable[[Record], None]
    stop: Stopping
    decoders: Pool | None = None  # those of a cluster; None for processes of this machine
    _threads: ThreadPoolExecutor | None = None
    _in_flight: dict[Future, Items | LongClip] = field(default_factory=dict)
    _rows: list[tuple[Clip, Record]] = field(default_factory=list)
    _entries: list[Entry] = field(default_factory=list)
    _whole: list[LongClip] = field(default_factory=list)  # all parts done, record not yet made
    _is_ending: bool = False  # every request fails now
    _steps: int = 0  # clips and parts finished since the last progress report
    _sets_at: float = field(default_factory=time.monotonic)
    _sets_every_s: float = _SETS_EVERY_S
    _saved_at: float = field(default_factory=time.monotonic)
    _ticked_at: float = field(default_factory=time.monotonic)
    _beat_at: float = field(default_factory=time.monotonic)

    def work(self, todo: list[Clip], show_progress: bool) -> None:
        """Caption the clips, until done or stopped.

        Raises:
            MissingDependencyError: the model does not load or fails on every clip, or the disk is full.
        """
        with ExitStack() as stack:
            config = self.config
            pool: Pool | None = self.decoders
            if pool is None:
                workers = config.workers or max(1, usable_cpus() // 2)
                pool = stack.enter_context(DecoderPool(workers, config.limits, decoders=config.decoders))
                if any(clip.is_remote for clip in todo):
                    pool = stack.enter_context(Fetching(pool, workers + 2, int(config.remote_max_gb * 1e9)))
            self._progress = stack.enter_context(Progress(len(todo), "captioning", enabled=show_progress))
            if self.asker.concurrency > 1:
                self._threads = stack.enter_context(ThreadPoolExecutor(self.asker.concurrency, "answer"))
            # The weights load in a thread while the first clips decode in their processes.
            self._loading = stack.enter_context(ThreadPoolExecutor(1)).submit(self.asker.load)
            self._progress.advance(0, "loading the model")
            ahead = Ahead(
                pool,
                self.question.spec,
                self.question.frame_size,
                self.asker.batch_size,
                self.stop,
                self.question.parts,
                self._begin,
                self.folder.ledger.cuts_of,
            )
            for batch in ahead.batches(todo):
                self._take_batch(batch)
                self._save(force=bool(batch.items))
            while True:
                self._save(force=True)
                if not self._in_flight:
                    break
                self._collect_answers(wait_for_one=True)
            self._tick()  # every clip is counted
            self.summary.times["decode"] = self.summary.times.get("decode", 0.0) + ahead.wait_s

    # ---- generation

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

    def _take_batch(self, batch: Batch) -> None:
        if batch.failed is not None:
            self._add_parts([(batch.failed[0], None)], [error_fields(batch.failed[1])])
        if batch.done is not None:
            self._whole.append(batch.done)
        if batch.items:
            with stopwatch(self.summary.times, "load"):
                self._loading.result()
            if self._threads is None:
                with stopwatch(self.summary.times, "model"):
                    fields = self.asker.ask(batch.items)
                self._add_parts(batch.items, fields)
            else:
                while len(self._in_flight) >= self.asker.concurrency:
                    self._collect_answers(wait_for_one=True)
                self._in_flight[self._threads.submit(self.asker.ask, batch.items)] = batch.items
        if self._in_flight:
            self._collect_answers(wait_for_one=False)

    def _collect_answers(self, *, wait_for_one: bool) -> None:
        """Process the answers that the threads have finished."""
        if wait_for_one and not any(future.done() for future in self._in_flight):
            with stopwatch(self.summary.times, "model"):
                wait(self._in_flight, timeout=_POLL_S, return_when=FIRST_COMPLETED)
        fatal: CineloopError | None = None
        while done := [future for future in self._in_flight if future.done()]:
            for future in done:
                work = self._in_flight.pop(future)
                try:
                    result = future.result()
                except CineloopError as error:
                    fatal = fatal or error
                    continue
                if isinstance(work, LongClip):
                    self._finish(work, result)
                else:
                    self._add_parts(work, result)
            if fatal is not None:  # the run ends: what the other threads are still given is kept too
                wait(self._in_flight)
        if fatal is not None:
            self._is_ending = True
            self._save(force=True)
            raise fatal

    # ---- records

    def _add_parts(self, items: Sequence[tuple[Piece, Frames | None]], fields: list[Entry]) -> None:
        for ((clip, number), frames), each in zip(items, fields, strict=True):
            entry = clip.add(number, each, frames)
            self._steps += 1
            if self.question.parts.kind != "whole":
                self.summary.num_parts += entry["error"] is None
            if len(clip.parts) > 1:
                self._entries.append(entry)
            if len(clip.done) == len(clip.parts):
                self._whole.append(clip)

    def _finish(self, clip: LongClip, summed: Entry | None = None) -> None:
        """Make the record of a clip whose parts are all done; `summed` holds the fields of the model's summary, None
        where it is still to be generated, or not wanted."""
        question = self.question
        try:
            segments = record.segments_of(clip, question)
            if summed is None and len(clip.parts) > 1 and question.sums_up and question.segments is None:
                captioned = [segment for segment in segments if segment["caption"]]
                if len(captioned) > 1:
                    if self._is_ending:  # a later run sums up the journalled parts
                        return
                    with stopwatch(self.summary.times, "load"):
                        self._loading.result()
                    if self._threads is not None:
                        self._in_flight[self._threads.submit(self._summarise, captioned)] = clip
                        return
                    with stopwatch(self.summary.times, "model"):
                        summed = self._summarise(captioned)
            row = record.caption_record(clip, segments, question, summed)
        except ItemError as problem:
            row = record.failed_record(clip.clip, problem, question)
        self._rows.append((clip.clip, row))
        self.summary.add(row)

    def _summarise(self, captioned: list[dict[str, Any]]) -> Entry:
        """Fields of the model's summary of the parts, or of their joined captions if it fails; may run in a thread."""
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
        """Journal the parts, then make and save the records; failed clips are batched."""
        if self._entries:
            entries, self._entries = self._entries, []
            with stopwatch(self.summary.times, "write"):
                self.folder.ledger.append(entries)
        whole, self._whole = self._whole, []
        for clip in whole:
            self._finish(clip)
        has_caption = any(row["status"] == "ok" for _, row in self._rows)
        # Concurrent answers come one by one: on a store, where each write is a request, they wait for a batch.
        is_early = time.monotonic() - self._saved_at < _SEGMENT_EVERY_S
        is_due = (force or has_caption) and not (self.folder.store and self._in_flight and is_early)
        if self._rows and (is_due or len(self._rows) >= self.config.batch_size):
            self._saved_at = time.monotonic()
            rows, self._rows = self._rows, []
            with stopwatch(self.summary.times, "write"):
                for clip_id in self.folder.save(rows, self.question.settings_key):
                    logger.warning("%s: a file of that name was written meanwhile; it is kept", printable(clip_id))
            for _, row in rows:
                self.emit(row)
        if time.monotonic() - self._ticked_at > _TICK_S:
            self._tick()

    def _tick(self) -> None:
        """What need not be done for every clip: the heartbeat of the lock, the run-wide files, the progress."""
        self._ticked_at = time.monotonic()
        if self._ticked_at - self._beat_at > _BEAT_S:
            self._beat_at = self._ticked_at
            self.folder.lock.beat()
        # Seldom enough to cost nothing in a folder of a million.
        if self._ticked_at - self._sets_at > self._sets_every_s:
            with stopwatch(self.summary.times, "write"):
                self.folder.sets.write_sets(during=True)
            self._sets_at = time.monotonic()
            self._sets_every_s = max(_SETS_EVERY_S, 20 * (self._sets_at - self._ticked_at))
        if not self._steps:
            return
        seconds = time.perf_counter() - self.summary.started - self.summary.times.get("load", 0.0)
        note = rate(self.summary.num_captioned, seconds, "video")
        if self.question.parts.kind != "whole":
            note = f"{plural(self.summary.num_parts, 'part')}, {rate(self.summary.num_parts, seconds, 'part')}"
        self._progress.advance(self._steps, note if self._loading.done() else "loading the model")
        self._steps = 0
