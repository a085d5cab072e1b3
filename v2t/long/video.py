"""One video, captioned or asked about segment by segment: its length, scene cuts and segments, and their frames.

In: a `Clip`, a decoder pool, the captioner's frame sampling. Out: the segments that cover the clip, the segment around
a moment, frames of any segment. All times are seconds of the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from cineloop.clip import Clip
from cineloop.errors import MissingDependencyError, Notice
from cineloop.video.frames import Frames
from cineloop.video.sample import SampleSpec
from v2t.long.items import WorkItem
from v2t.long.queue import DecodeQueue, Decoders
from v2t.long.segments import MAX_SEGMENT_S, Segment, SegmentSpec, plan_segments, segment_at

_MARGIN_S = 2.0  # the detector of cuts compares a frame with those around it


class LongVideo:
    """A clip of any length.

    Args:
        spec: frame sampling within a segment.
        size: (H, W) to scale frames to, or None.
        window_s: seconds the captioner sees at once.
        needs_cuts: whether a missing detector of cuts is an error; else the video counts as one scene, with a warning.

    Raises:
        ItemError: the file cannot be read (see `DecoderPool.probe`).
    """

    def __init__(
        self,
        clip: Clip,
        pool: Decoders,
        spec: SampleSpec,
        size: tuple[int, int] | None,
        window_s: float = MAX_SEGMENT_S,
        needs_cuts: bool = False,
    ) -> None:
        self.clip, self.path, self.window_s = clip, Path(clip.file), window_s
        self._pool, self._spec, self._size, self._needs_cuts = pool, spec, size, needs_cuts
        info = pool.probe(clip.file)
        self.warnings = list(info.warnings)
        self.start_s = clip.start_s or 0.0
        end_s = info.duration_s if clip.end_s is None else min(clip.end_s, info.duration_s)
        self.duration_s = max(0.0, end_s - self.start_s)
        self.cuts_s: list[float] | None = None  # at which a new scene begins; None until they are detected or given

    @property
    def whole(self) -> Segment:
        """All of the clip."""
        return Segment(self.start_s, self.start_s + self.duration_s)

    def segments(self, spec: SegmentSpec) -> list[Segment]:
        """The segments that cover the clip, see `plan_segments`; scenes detect its cuts where they are not known.

        Raises:
            ItemError: as `DecoderPool.cuts`. MissingDependencyError: the detector is not installed, and `needs_cuts`.
        """
        if spec.kind == "scene" and self.cuts_s is None:
            self.cuts_s = self._detect_cuts(self.clip.start_s, self.clip.end_s)
        return plan_segments(spec, self.duration_s, self.cuts_s or (), self.start_s)

    def windows(self) -> list[Segment]:
        """Segments of at most `window_s` that cover the video without crossing a cut."""
        return self.segments(SegmentSpec(kind="scene", seconds=min(self.window_s, MAX_SEGMENT_S)))

    def window_at(self, second: float) -> Segment:
        """The scene around a second if one window covers it, else a window of it around that second."""
        cuts_s = self.cuts_s
        if cuts_s is None:  # all of an hour would be searched for one moment
            reach = self.window_s + _MARGIN_S
            cuts_s = self._detect_cuts(max(0.0, second - reach), min(self.duration_s, second + reach))
        return segment_at(second, self.duration_s, cuts_s, self.window_s)

    def decode(self, segment: Segment) -> Frames:
        """Frames of a segment, sampled for the captioner; of the whole video if the segment is all of it."""
        return self._pool.submit(self.clip.file, self._item(segment).spec(self._spec), self._size).result()

    def decode_batches(self, segments: Sequence[Segment], batch_size: int) -> Iterator[list[tuple[Segment, WorkItem]]]:
        """Segments with their work items in batches, the next ones decoded ahead; see `DecodeQueue.batches`."""
        items = {self._item(segment): segment for segment in segments}
        for batch in DecodeQueue(self._pool, self._spec, self._size, batch_size).batches(items):
            yield [(items[item], item) for item in batch]

    def _item(self, segment: Segment) -> WorkItem:
        # A window over all of the file may end before its last frame, as durations in containers are rounded.
        is_whole = segment.start_s <= 0 and segment.end_s >= self.duration_s
        return WorkItem(self.clip, None if is_whole else segment)

    def _detect_cuts(self, start_s: float | None, end_s: float | None) -> list[float]:
        try:
            return self._pool.cuts(self.clip.file, start_s, end_s)
        except MissingDependencyError as error:
            if self._needs_cuts:
                raise
            self.warnings.append(
                Notice("NO_CUTS", f"windows go by the clock alone, scenes are not known: {error.message}")
            )
            return []
