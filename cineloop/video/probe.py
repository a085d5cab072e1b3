"""Metadata of a video file, counted from its packets.

In: a path. Out: a `VideoInfo`: true duration, mean rate, number of frames, upright size. Container frame counts,
durations and rates are only compared with the packets that are there (see `cineloop.video.frame_index`).
"""

from __future__ import annotations

import os

from cineloop.video.container import open_source, read_layout
from cineloop.video.frame_index import read_table
from cineloop.video.images import read_times
from cineloop.video.info import VideoInfo


def probe(
    path: str | bytes | os.PathLike[str], *, max_pixels: int | None = None, max_duration_s: float | None = None
) -> VideoInfo:
    """What the file at `path` holds. Reads all of its packets in this process; `DecoderPool.probe` does it in a child.

    Raises:
        ItemError: NOT_FOUND, NOT_A_FILE, UNREADABLE, EMPTY_FILE, NOT_MEDIA, NO_INDEX, NO_VIDEO_STREAM, NO_FRAMES,
            TRUNCATED (nothing usable before the cut), TOO_LARGE (a frame beyond max_pixels), TOO_LONG.
    """
    with open_source(path) as source:
        layout = read_layout(source)
        if layout.is_image:
            return read_times(source, max_pixels=max_pixels, max_duration_s=max_duration_s)[2]
        return read_table(source, layout, max_pixels=max_pixels, max_duration_s=max_duration_s).info
