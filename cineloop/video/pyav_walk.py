"""One stream of a file decoded forward with PyAV: seek to an intra frame, decode on, match each frame's time.

In: an open container, its layout and `FrameTable`. Out: frames, each with its position in the table.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

import numpy as np

from cineloop.video.container import Layout
from cineloop.video.frame_index import FrameTable
from cineloop.video.stream import packets_until_damage


class Walk:
    """Decode one stream forward from any frame, saying which frame of the table each one is."""

    def __init__(self, container: Any, layout: Layout, table: FrameTable, threads: int) -> None:
        self.container, self.table, self.threads = container, table, threads
        self.stream = container.streams[table.stream]
        self.stream.thread_type = "AUTO"
        self.stream.codec_context.thread_count = threads
        self.keys = np.flatnonzero(table.is_key).tolist()
        self.fresh = True
        self.errors = 0
        self.is_cut = layout.missing_bytes > 0

    def key_before(self, position: int) -> int:
        """The last intra frame at or before a frame; 0 where there is none or frames have no times to seek by."""
        place = bisect_right(self.keys, position) - 1
        return self.keys[place] if place >= 0 and self.table.pts is not None else 0

    def from_position(self, position: int) -> Iterator[tuple[int, Any]]:
        """(position, frame) in the order of showing, from the intra frame at or before `position`."""
        key = self.key_before(position)
        if self.fresh and key == 0:
            self.fresh = False
            yield from self._frames_with_positions()
            return
        self.fresh = False
        for place in self._places(key):
            self.container.seek(place, stream=self.stream)
            frames = self._frames_with_positions()
            first = next(frames, None)
            if first is not None and first[0] <= position:
                break
        if first is not None:
            yield first
            yield from frames

    def _frames_with_positions(self) -> Iterator[tuple[int, Any]]:
        """(position, frame) from where the container stands; frames the table does not know are left out."""
        pts = self.table.pts
        for count, frame in enumerate(self._decode()):
            if pts is None:
                if count < len(self.table.times_s):
                    yield count, frame
            elif frame.pts is not None:
                at = int(np.searchsorted(pts, frame.pts))
                if at < len(pts) and pts[at] == frame.pts:
                    yield at, frame

    def _decode(self) -> Iterator[Any]:
        """Frames as they come out, those the decoder still holds at the end (or the cut) included."""
        import av.error

        for packet in packets_until_damage(self.container, self.stream):
            if packet.size == 0 or (self.is_cut and packet.is_corrupt):
                continue
            try:
                yield from packet.decode()
            except av.error.FFmpegError:
                self.errors += 1
        try:
            yield from self.stream.codec_context.decode(None)
        except av.error.FFmpegError:  # nothing was held
            return

    def _places(self, key: int) -> list[int]:
        """Where to seek to for an intra frame, best first: landing behind it would lose frames.

        Most containers, mp4 in newer FFmpeg among them, are indexed by presentation time; mp4 in older ones is indexed
        by decoding time, which where it is not lands one intra frame too early.
        """
        table = self.table
        shown = [] if table.pts is None else [int(table.pts[key])]
        return list(dict.fromkeys([*shown, int(table.dts[key]), int(table.dts[0])]))
