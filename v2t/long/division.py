"""Clips of a run that are captioned part by part: each divided into segments, while others decode.

In: `WorkItem`s of whole clips, how to divide one. Out: the items to decode, in order, for `v2t.long.queue`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from cineloop.clip import check
from cineloop.errors import ItemError
from v2t.long.items import WorkItem
from v2t.long.segments import Segment


class Division:
    """An iterable over work items, used once: each clip, when it is divided, with its `segments`, then those of them
    without an answer by then; a clip of one segment as it is; one that cannot be divided, with its error; and None
    while nothing is ready.

    Args:
        divide: the segments of a clip; called in threads, since detecting cuts may take minutes.
        num_threads: clips divided at once while nothing else can be decoded; otherwise one.

    Attributes:
        pending: what is being divided; to wait for beside other futures.
    """

    def __init__(
        self, clips: Iterable[WorkItem], divide: Callable[[WorkItem], Sequence[Segment]], num_threads: int
    ) -> None:
        self._clips, self._divide, self._num_threads = iter(clips), divide, num_threads
        self.pending: dict[Future[Sequence[Segment]], WorkItem] = {}

    def __iter__(self) -> Generator[WorkItem | None, None, None]:
        ready: deque[WorkItem] = deque()
        threads = ThreadPoolExecutor(self._num_threads, thread_name_prefix="divide")
        try:
            while True:
                most = 1 if ready else self._num_threads
                while len(self.pending) < most and (clip := next(self._clips, None)) is not None:
                    if clip.is_hopeless:
                        yield clip
                        continue
                    self.pending[threads.submit(self._divide, clip)] = clip
                for future in [future for future in self.pending if future.done()]:
                    clip = self.pending.pop(future)
                    try:
                        segments = future.result()
                        check(clip.clip)
                    except ItemError as error:
                        clip.fail(error)
                        yield clip
                        continue
                    if len(segments) == 1:  # decoded by the clip's own window: its end may be that of the file
                        ready.append(clip)
                        continue
                    clip.segments = [WorkItem(clip.clip, segment, parent=clip) for segment in segments]
                    yield clip
                    ready += [segment for segment in clip.segments if segment.answer is None]
                if not ready and not self.pending:
                    return
                yield ready.popleft() if ready else None
        finally:
            for future in self.pending:
                future.cancel()
            # Not joined: its threads block on the decoders and are released when these close.
            threads.shutdown(wait=False, cancel_futures=True)
