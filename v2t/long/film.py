"""One open video: its length, its scene cuts, and its frames, part by part.

In: a path, a decoder pool, the captioner's frame sampling. Out: `Frames` of any part, decoded anew each time;
the windows that cover the film without crossing a cut; the window around a moment.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from cineloop.errors import ItemError, MissingDependencyError, NothingMatchedError, Notice
from cineloop.log import printable
from cineloop.video.frames import Frames
from cineloop.video.sample import SampleSpec
from cineloop.video.worker import DecoderPool
from v2t.long.parts import MAX_PART_S, PartSpec, part_at, plan_parts

Window = tuple[float, float]
_MARGIN_S = 2.0  # the detector of cuts compares a frame with those around it


class Film:
    """A video file.

    Args:
        spec: frame sampling within a part.
        size: (H, W) to scale frames to, or None.
        window_s: seconds the captioner sees at once.

    Raises:
        NothingMatchedError: the file does not exist. ItemError: it cannot be read (see `DecoderPool.probe`).
    """

    def __init__(
        self, path: str | Path, pool: DecoderPool, spec: SampleSpec, size: tuple[int, int] | None, window_s: float
    ) -> None:
        self.path = Path(path)
        if not os.path.lexists(self.path):
            raise NothingMatchedError(f"there is no file {printable(str(path))}", hint="check the path")
        self.window_s = window_s
        self._pool, self._spec, self._size = pool, spec, size
        info = pool.probe(self.path)
        self.duration_s, self.warnings = info.duration_s, list(info.warnings)
        self._cuts: tuple[float, ...] | None = None

    def decode(self, window: Window) -> Frames:
        """Frames of a part, sampled for the captioner; of the whole film if the part is all of it."""
        return self._pool.decode(self.path, self._part(window), self._size)

    def decode_ahead(self, windows: Sequence[Window], ahead: int) -> Iterator[tuple[Window, Frames | ItemError]]:
        """Frames of many parts in order, up to `ahead` of them decoded in advance."""
        waiting: deque = deque()
        todo = iter(windows)
        while True:
            while len(waiting) < max(1, ahead) and (window := next(todo, None)) is not None:
                waiting.append((window, self._pool.submit(self.path, self._part(window), self._size)))
            if not waiting:
                return
            window, future = waiting.popleft()
            try:
                yield window, future.result()
            except ItemError as problem:
                yield window, problem

    def cuts(self) -> tuple[float, ...]:
        """Seconds at which a new scene begins, detected once; empty for a film of one scene."""
        if self._cuts is None:
            self.set_cuts(self._find_cuts())
        return self._cuts or ()

    def set_cuts(self, cuts_s: Sequence[float]) -> None:
        """Set known cuts instead of detecting them."""
        self._cuts = tuple(sorted(cut for cut in cuts_s if 0 < cut < self.duration_s))

    def windows(self) -> list[Window]:
        """Parts of at most `window_s` that cover the film without crossing a cut."""
        spec = PartSpec(kind="scene", seconds=min(self.window_s, MAX_PART_S))
        return list(plan_parts(spec, self.duration_s, self.cuts()))

    def window_at(self, second: float) -> Window:
        """The scene around a second if one window covers it, else a window of it around that second.

        Only the minutes around it are searched for cuts, when the film's cuts are not known.
        """
        cuts: Sequence[float] | None = self._cuts
        if cuts is None:
            reach = self.window_s + _MARGIN_S
            cuts = self._find_cuts(max(0.0, second - reach), min(self.duration_s, second + reach))
        return part_at(second, self.duration_s, cuts, self.window_s)

    def _find_cuts(self, start_s: float | None = None, end_s: float | None = None) -> Sequence[float]:
        try:
            return self._pool.cuts(self.path, start_s, end_s)
        except MissingDependencyError as error:
            self.warnings.append(
                Notice("NO_CUTS", f"windows go by the clock alone, scenes are not known: {error.message}")
            )
            return ()

    def _part(self, window: Window) -> SampleSpec:
        if window[0] <= 0 and window[1] >= self.duration_s:
            return self._spec
        return replace(self._spec, start_s=window[0], end_s=window[1])
