"""The file that was read last, kept open: the parts of a long film do not each read all of its packets again.

In: a path. Out: an `OpenFile`: descriptor, layout, the table of frames once it was asked for, and a decoder that goes
on from where it stands. One file at a time, and only while it stays the same (path, device, inode, size, date).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from cineloop.video.container import Layout, VideoSource, open_source, read_layout
from cineloop.video.frame_index import FrameTable, read_table
from cineloop.video.images import read_times
from cineloop.video.info import VideoInfo
from cineloop.video.limits import Limits
from cineloop.video.pyav_walk import Walk
from cineloop.video.stream import open_container


class OpenFile:
    """A file that is being read. Raises as `cineloop.video.container.open_source` and
    `cineloop.video.frame_index.read_table` do."""

    def __init__(self, source: VideoSource) -> None:
        self.source = source
        self._decoder = ExitStack()
        self._table: FrameTable | None = None
        self._walk: Walk | None = None
        try:
            self.layout: Layout = read_layout(source)
        except BaseException:
            self.close()
            raise

    def table(self, limits: Limits, beat: Callable[[], None] = lambda: None) -> FrameTable:
        """All frames of the file; read once. `beat` is called now and then while that goes on."""
        if self._table is None:
            self._table = read_table(self.source, self.layout, limits, beat)
        return self._table

    def info(self, limits: Limits, beat: Callable[[], None] = lambda: None) -> VideoInfo:
        """The file as it is shown."""
        if self.layout.is_image:
            return read_times(self.source, limits)[2]
        return self.table(limits, beat).info

    def walk(self, table: FrameTable, threads: int) -> Walk:
        """A PyAV decoder for the file; the same one for every part that is asked for."""
        # Without presentation times frames are counted from the start, so a decoder serves once.
        if self._walk is None or self._walk.threads != threads or table.pts is None:
            self._decoder.close()
            container = self._decoder.enter_context(open_container(self.source, self.layout))
            self._walk = Walk(container, self.layout, table, threads)
        return self._walk

    def close(self) -> None:
        """Close the file."""
        self._decoder.close()
        os.close(self.source.descriptor)


class LastFile(AbstractContextManager["LastFile"]):
    """Keeps one file open between calls; a context manager. `codecs` as in `cineloop.video.container.VideoSource`."""

    def __init__(self, codecs: str = "") -> None:
        self._codecs = codecs
        self._kept: OpenFile | None = None

    @contextmanager
    def open(self, path: str | bytes | os.PathLike[str]) -> Iterator[OpenFile]:
        """The file at `path`, kept open afterwards unless the block raises."""
        source = open_source(path, self._codecs)
        kept, self._kept = self._kept, None
        if kept is not None and kept.source.identity == source.identity:
            os.close(source.descriptor)
        else:
            if kept is not None:
                kept.close()
            kept = OpenFile(source)
        try:
            yield kept
        except BaseException:
            kept.close()  # whatever went wrong, the next call starts afresh
            raise
        self._kept = kept

    def __exit__(self, *exc_info: object) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None
