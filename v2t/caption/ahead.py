"""Decoding that runs ahead of the model, and batches of one shape.

In: clips, a pool of decoder processes, a batch size. Out: an iterator of `Batch`es, each either a full batch of equally
shaped frames or a clip that failed. While the model works on one batch, the pool fills the next; how far ahead is
bounded by count and by bytes, so memory does not grow with the folder.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from v2t.base.errors import ItemError
from v2t.caption.inputs import Clip, check, check_unchanged

if TYPE_CHECKING:
    from v2t.video.frames import Frames
    from v2t.video.sample import SampleSpec

MAX_AHEAD_BYTES = 1 << 30
_POLL_S = 0.5  # how soon a Ctrl-C is noticed while a slow file decodes


class Pool(Protocol):
    """What this module needs of `v2t.video.worker.DecoderPool`."""

    def submit(self, path: str, spec: SampleSpec, size: tuple[int, int] | None) -> Future[Frames]:
        """Begin to decode."""


@dataclass
class Batch:
    """Clips with their frames, all of one shape; or one clip and why it has none."""

    items: list[tuple[Clip, Frames]] = field(default_factory=list)
    failed: tuple[Clip, ItemError] | None = None


@dataclass
class Ahead:
    """The iterator. `wait_s` is the time its reader spent waiting for frames.

    Args:
        pool: where to decode.
        spec: which frames to take; a clip's own window goes before the spec's.
        size: (H, W) to scale to in the child, or None.
        batch_size: clips in a full batch, >= 1.
        num_workers: children that decode; each is kept busy.
        stopped: asked between steps; once true, nothing more is begun and the iterator ends.
    """

    pool: Pool
    spec: SampleSpec
    size: tuple[int, int] | None
    batch_size: int
    num_workers: int
    stopped: Callable[[], bool] = lambda: False
    wait_s: float = 0.0
    _pending: dict[Future[Frames], Clip] = field(default_factory=dict)
    _groups: dict[tuple[int, ...], list[tuple[Clip, Frames]]] = field(default_factory=dict)
    _bytes_each: float = 1.0  # the largest decoded clip so far

    def batches(self, clips: Iterable[Clip]) -> Iterator[Batch]:
        """Batches until all clips are through or `stopped` says so. Order within the folder is kept where it can be."""
        source = iter(clips)
        more = True
        while not self.stopped():
            while more and len(self._pending) < self._room():
                clip = next(source, None)
                if clip is None:
                    more = False
                    break
                try:
                    check(clip)
                except ItemError as error:
                    yield Batch(failed=(clip, error))
                    continue
                self._pending[self.pool.submit(clip.file, self._spec_of(clip), self.size)] = clip
            if not self._pending:
                break
            for batch in self._collect():
                yield batch
                if self.stopped():
                    break
        if not self.stopped():
            for group in sorted(self._groups.values(), key=len, reverse=True):
                yield Batch(items=group)
        self._groups.clear()
        self._drop()

    def _collect(self) -> Iterator[Batch]:
        """Wait until something is decoded; give back what failed and every group that is full."""
        if not any(future.done() for future in self._pending):
            start = time.perf_counter()
            wait(self._pending, timeout=_POLL_S, return_when=FIRST_COMPLETED)
            self.wait_s += time.perf_counter() - start
        for future in [future for future in self._pending if future.done()]:
            clip = self._pending.pop(future)
            try:
                frames = future.result()
                check_unchanged(clip)
            except ItemError as error:
                yield Batch(failed=(clip, error))
                continue
            self._bytes_each = max(self._bytes_each, frames.pixels.nbytes)
            group = self._groups.setdefault(frames.pixels.shape, [])
            group.append((clip, frames))
            if len(group) >= self.batch_size:
                yield Batch(items=self._groups.pop(frames.pixels.shape))
        # Many shapes (odd lengths, no common size) would hold many half-full groups: let the fullest go.
        while sum(map(len, self._groups.values())) > max(self._held(), self.batch_size):
            fullest = max(self._groups, key=lambda shape: len(self._groups[shape]))
            yield Batch(items=self._groups.pop(fullest))

    def _held(self) -> int:
        """Decoded clips that may wait in groups."""
        return int(min(4 * self.batch_size, MAX_AHEAD_BYTES / self._bytes_each))

    def _room(self) -> int:
        """Clips that may be on their way: a batch beyond the workers, as memory allows, but never an idle worker."""
        by_bytes = int(MAX_AHEAD_BYTES / self._bytes_each)
        return max(self.num_workers, min(2 * self.batch_size + self.num_workers, by_bytes))

    def _spec_of(self, clip: Clip) -> SampleSpec:
        if clip.start_s is None and clip.end_s is None:
            return self.spec
        return replace(self.spec, start_s=clip.start_s, end_s=clip.end_s)

    def _drop(self) -> None:
        for future in self._pending:
            future.cancel()
        self._pending.clear()
