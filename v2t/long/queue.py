"""Queue of decoded items: decoding ahead of the model, in batches of one shape.

In: `WorkItem`s, a pool of decoder processes, a batch size. Out: batches of items with frames of one shape. While the
model works on one batch, the pool fills the next; how far ahead is bounded by count and by bytes, so memory grows
neither with the folder nor with the length of a video.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from cineloop.clip import check, no_bytes, source_of
from cineloop.errors import ItemError
from v2t.long.items import WorkItem

if TYPE_CHECKING:
    from cineloop.video.frames import Frames
    from cineloop.video.info import VideoInfo
    from cineloop.video.sample import SampleSpec

MAX_AHEAD_BYTES = 1 << 30
_RECENT = 64  # items whose size predicts that of the next ones
_POLL_S = 0.5  # how soon a Ctrl-C is noticed while a slow file decodes
_MAX_CRASHES = 5  # in a row; each may cost a time limit, and an hour has hundreds of segments


class Decoders(Protocol):
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
class DecodeQueue:
    """The queue; used once.

    Args:
        spec: frame sampling; the window of an item overrides the spec's.
        batch_size: items in a full batch, >= 1.
        is_stopped: checked between steps; once true, no work is started and the batches end.
        also: futures that items are waited for by, beside their decoding (see `v2t.long.division`).

    Attributes:
        wait_s: seconds that the reader spent waiting for frames.
    """

    pool: Decoders
    spec: SampleSpec
    size: tuple[int, int] | None
    batch_size: int
    is_stopped: Callable[[], bool] = lambda: False
    also: Collection[Future[Any]] = ()
    wait_s: float = 0.0
    _decoding: dict[Future[Frames], WorkItem] = field(default_factory=dict)
    _groups: dict[tuple[int, ...], list[WorkItem]] = field(default_factory=dict)
    _sizes: deque[int] = field(default_factory=lambda: deque([1], maxlen=_RECENT))  # bytes of recent items' frames

    def batches(self, items: Iterable[WorkItem | None]) -> Iterator[list[WorkItem]]:
        """Batches until all items are done or stopped; the order of items is kept where possible.

        Args:
            items: None among them says that none is ready yet.

        A batch is

        - decoded items, their frames of one shape;
        - one item whose `answer` is the error of its decoding, or was there before;
        - one item that has `segments`, as it came;
        - empty, when there is nothing to report yet.
        """
        source = iter(items)
        try:
            while not self.is_stopped():
                yield from self._fill(source)
                if not self._decoding and not self.also:
                    break
                for batch in self._collect():
                    yield batch
                    if self.is_stopped():
                        break
            if not self.is_stopped():
                yield from sorted(self._groups.values(), key=len, reverse=True)
        finally:
            self._groups.clear()
            for future in self._decoding:
                future.cancel()

    def _fill(self, source: Iterator[WorkItem | None]) -> Iterator[list[WorkItem]]:
        """Submit as much decoding as the limits allow; yield what is not decoded."""
        # One batch more than there are workers, as memory allows, but never an idle worker.
        by_bytes = int(MAX_AHEAD_BYTES / max(self._sizes))
        room = max(self.pool.num_workers, min(2 * self.batch_size + self.pool.num_workers, by_bytes))
        while len(self._decoding) < room and (item := next(source, None)) is not None:
            if item.is_hopeless:
                item.fail(item.clip.problem or no_bytes())
            elif item.parent is not None and item.parent.num_crashes >= _MAX_CRASHES:
                reason = f"not tried: the decoder crashed on the {item.parent.num_crashes} parts before it"
                item.fail(ItemError(reason, code="DECODER_CRASH", hint="the file may be damaged or hostile"))
            elif not item.segments and item.answer is None:
                self._decoding[self.pool.submit(item.clip.file, item.spec(self.spec), self.size)] = item
                continue
            yield [item]

    def _collect(self) -> Iterator[list[WorkItem]]:
        """Wait until something is decoded; yield failures and every full group."""
        waited_for: list[Future[Any]] = [*self._decoding, *self.also]
        if not any(future.done() for future in waited_for):
            start = time.perf_counter()
            wait(waited_for, timeout=_POLL_S, return_when=FIRST_COMPLETED)
            self.wait_s += time.perf_counter() - start
            yield []
        for future in [future for future in self._decoding if future.done()]:
            item = self._decoding.pop(future)
            try:
                item.frames = future.result()
                content = check(item.clip, keyed=item.segment is None)
            except ItemError as error:
                item.fail(error)
                yield [item]
                continue
            if item.segment is None:
                item.source = source_of(item.clip, content)
            if item.parent is not None:
                item.parent.num_crashes = 0
            shape = item.frames.pixels.shape
            self._sizes.append(item.frames.pixels.nbytes)
            self._groups.setdefault(shape, []).append(item)
            if len(self._groups[shape]) >= self.batch_size:
                yield self._groups.pop(shape)
        # Many shapes (odd lengths, no common size) would hold many half-full groups: yield the fullest.
        held = min(4 * self.batch_size, MAX_AHEAD_BYTES // max(self._sizes))
        while sum(map(len, self._groups.values())) > max(held, self.batch_size):
            yield self._groups.pop(max(self._groups, key=lambda shape: len(self._groups[shape])))
