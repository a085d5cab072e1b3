"""Prefetch: decoding ahead of the model, and batches of one shape.

In: clips, a pool of decoder processes, a batch size, how to divide a clip. Out: an iterator of `Batch`es, each either a
full batch of equally shaped frames or a piece that failed. While the model works on one batch, the pool fills the
next; how far ahead is bounded by count and by bytes, so memory grows neither with the folder nor with a film.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from cineloop.clip import Clip, check
from cineloop.errors import ItemError
from cineloop.interrupt import Stopping
from v2t.long.parts import LongClip, Part, PartSpec, Piece, plan_parts

if TYPE_CHECKING:
    from cineloop.video.frames import Frames
    from cineloop.video.info import VideoInfo
    from cineloop.video.sample import SampleSpec

MAX_AHEAD_BYTES = 1 << 30
_RECENT = 64  # pieces whose size predicts that of the next ones
_POLL_S = 0.5  # how soon a Ctrl-C is noticed while a slow file decodes


class Pool(Protocol):
    """The part of `cineloop.video.worker.DecoderPool` that is used here; thread-safe.

    Attributes:
        num_workers: files decoded at once.
    """

    num_workers: int

    def submit(self, path: str, spec: SampleSpec, size: tuple[int, int] | None) -> Future[Frames]:
        """Begin to decode."""

    def probe(self, path: str) -> VideoInfo:
        """Metadata of the file."""

    def cuts(self, path: str, start_s: float | None, end_s: float | None) -> list[float]:
        """Seconds of its scene cuts."""


@dataclass
class Batch:
    """Pieces with their frames, all of one shape; or one piece and its error; or a clip with nothing left to do.

    Empty when there is nothing to report yet.
    """

    items: list[tuple[Piece, Frames]] = field(default_factory=list)
    failed: tuple[Piece, ItemError] | None = None
    done: LongClip | None = None


@dataclass
class Ahead:
    """The iterator. `wait_s` is the time its reader spent waiting for frames.

    Args:
        spec: frame sampling; a clip's own window overrides the spec's.
        batch_size: pieces in a full batch, >= 1.
        stop: checked between steps; once asked, no work is started and the iterator ends.
        begin: returns a `LongClip` with its finished parts; called with its parts and, where they were detected now,
            its cuts.
        known_cuts: the cuts of a clip from an earlier run, or None; called from threads.
    """

    pool: Pool
    spec: SampleSpec
    size: tuple[int, int] | None
    batch_size: int
    stop: Stopping
    parts: PartSpec
    begin: Callable[[Clip, list[Part], list[float] | None], LongClip]
    known_cuts: Callable[[Clip], list[float] | None]
    wait_s: float = 0.0
    _ready: deque[Piece] = field(default_factory=deque)
    _plans: dict[Future[tuple[list[Part], list[float] | None]], LongClip] = field(default_factory=dict)
    _pending: dict[Future[Frames], Piece] = field(default_factory=dict)
    _groups: dict[tuple[int, ...], list[tuple[Piece, Frames]]] = field(default_factory=dict)
    _sizes: deque[int] = field(default_factory=lambda: deque([1], maxlen=_RECENT))  # bytes of recently decoded pieces

    def batches(self, clips: Iterable[Clip]) -> Iterator[Batch]:
        """Batches until all clips are done or stopped. Order within the folder is kept where possible."""
        source = iter(clips)
        planner = ThreadPoolExecutor(self.pool.num_workers, thread_name_prefix="planner")
        try:
            while not self.stop.asked:
                yield from self._fill(source, planner)
                if not self._pending and not self._plans:
                    break
                for batch in self._collect():
                    yield batch
                    if self.stop.asked:
                        break
            if not self.stop.asked:
                for group in sorted(self._groups.values(), key=len, reverse=True):
                    yield Batch(items=group)
        finally:
            self._groups.clear()
            waited_for: list[Future[Any]] = [*self._pending, *self._plans]
            for future in waited_for:
                future.cancel()
            # Not joined: planner threads block on the pool and are released when it closes.
            planner.shutdown(wait=False, cancel_futures=True)

    def _fill(self, source: Iterator[Clip], planner: ThreadPoolExecutor) -> Iterator[Batch]:
        """Submit as much decoding as the limits allow; yield what fails before that, and finished clips."""
        # One batch more than there are workers, as memory allows, but never an idle worker.
        by_bytes = int(MAX_AHEAD_BYTES / max(self._sizes))
        room = max(self.pool.num_workers, min(2 * self.batch_size + self.pool.num_workers, by_bytes))
        while len(self._pending) < room:
            # One film is planned while others decode; as many as there are workers when no piece is ready.
            if len(self._plans) < (1 if self._ready else self.pool.num_workers) and not (
                self._ready and self.parts.kind == "whole"
            ):
                clip = next(source, None)
                if clip is not None:
                    # In one part, however long its file is.
                    end_s = math.inf if clip.end_s is None else clip.end_s
                    long = LongClip(clip, [Part(clip.start_s or 0.0, end_s)])
                    try:
                        check(clip)
                    except ItemError as error:
                        yield Batch(failed=((long, 0), error))
                        continue
                    if self.parts.kind == "whole":
                        self._ready.append((long, 0))
                    else:
                        self._plans[planner.submit(self._plan, clip)] = long
                    continue
            if not self._ready:
                return
            long, number = piece = self._ready.popleft()
            if long.give_up is not None:
                yield Batch(failed=(piece, long.give_up))
            else:
                clip = long.clip  # the start or end of its only part may be that of the file, None
                window = (clip.start_s, clip.end_s) if len(long.parts) == 1 else long.parts[number]
                spec = self.spec
                if window != (None, None):
                    spec = replace(spec, start_s=window[0], end_s=window[1])
                self._pending[self.pool.submit(long.clip.file, spec, self.size)] = piece

    def _plan(self, clip: Clip) -> tuple[list[Part], list[float] | None]:
        """The parts of a clip, and its cuts if they are new; in a thread, since detecting them may take minutes."""
        start_s = clip.start_s or 0.0
        duration_s = self.pool.probe(clip.file).duration_s
        end_s = duration_s if clip.end_s is None else min(clip.end_s, duration_s)
        known: list[float] | None = []
        found: list[float] | None = None
        if self.parts.kind == "scene":
            known = self.known_cuts(clip)
            found = self.pool.cuts(clip.file, clip.start_s, clip.end_s) if known is None else None
        return plan_parts(self.parts, max(0.0, end_s - start_s), known or found or [], start_s), found

    def _collect_plans(self) -> Iterator[Batch]:
        for future in [future for future in self._plans if future.done()]:
            long = self._plans.pop(future)
            try:
                parts, cuts_s = future.result()
            except ItemError as error:
                yield Batch(failed=((long, 0), error))
                continue
            long = self.begin(long.clip, parts, cuts_s)
            pieces = [(long, number) for number in range(len(parts)) if number not in long.done]
            self._ready.extend(pieces)
            if not pieces:
                yield Batch(done=long)

    def _collect(self) -> Iterator[Batch]:
        """Wait until something is decoded; yield failures and every full group."""
        waited_for: list[Future[Any]] = [*self._pending, *self._plans]
        if not any(future.done() for future in waited_for):
            start = time.perf_counter()
            wait(waited_for, timeout=_POLL_S, return_when=FIRST_COMPLETED)
            self.wait_s += time.perf_counter() - start
            yield Batch()
        if self._plans:
            yield from self._collect_plans()
        for future in [future for future in self._pending if future.done()]:
            piece = self._pending.pop(future)
            try:
                frames = future.result()
                check(piece[0].clip)
            except ItemError as error:
                yield Batch(failed=(piece, error))
                continue
            self._sizes.append(frames.pixels.nbytes)
            group = self._groups.setdefault(frames.pixels.shape, [])
            group.append((piece, frames))
            if len(group) >= self.batch_size:
                yield Batch(items=self._groups.pop(frames.pixels.shape))
        # Many shapes (odd lengths, no common size) would hold many half-full groups: yield the fullest.
        held = min(4 * self.batch_size, MAX_AHEAD_BYTES // max(self._sizes))
        while sum(map(len, self._groups.values())) > max(held, self.batch_size):
            fullest = max(self._groups, key=lambda shape: len(self._groups[shape]))
            yield Batch(items=self._groups.pop(fullest))
