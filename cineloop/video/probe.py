"""What a video file holds, counted and not believed.

In: a path. Out: a `VideoInfo`: true duration, mean rate, number of frames, upright size. Container frame counts,
durations and rates are only compared with the packets that are there (see `cineloop.video.frame_index`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cineloop.video.container import open_source, read_layout


@dataclass(frozen=True)
class VideoInfo:
    """A video file as it is shown.

    Attributes:
        path: as given.
        duration_s: seconds from the first frame to the end of the last.
        fps: mean rate, frames over seconds as counted, > 0.
        num_frames: frames that are really there.
        width, height: after rotation, in stored pixels (sample_aspect is not applied).
        rotation: degrees clockwise the stored frames are turned by to be shown: 0, 90, 180, 270.
        mirrored: whether the shown frame is also mirrored left to right, after the rotation.
        codec, container: FFmpeg's short names, or Pillow's format and "image".
        first_pts_s: presentation time of the first frame in the container; 0 in `Frames.times_s`.
        sample_aspect: width over height of one stored pixel.
        keyframe_times_s: seconds of the intra frames, counted like `Frames.times_s`.
        warnings: each starting with a stable code.
    """

    path: Path
    duration_s: float
    fps: float
    num_frames: int
    width: int
    height: int
    rotation: int
    codec: str
    container: str
    first_pts_s: float = 0.0
    sample_aspect: float = 1.0
    mirrored: bool = False
    keyframe_times_s: tuple[float, ...] = ()
    warnings: tuple[str, ...] = ()


def probe(
    path: str | bytes | os.PathLike[str], *, max_pixels: int | None = None, max_duration_s: float | None = None
) -> VideoInfo:
    """What the file at `path` holds. Reads all of its packets in this process; `DecoderPool.probe` does it in a child.

    Raises:
        ItemError: NOT_FOUND, NOT_A_FILE, UNREADABLE, EMPTY_FILE, NOT_MEDIA, NO_INDEX, NO_VIDEO_STREAM, NO_FRAMES,
            TRUNCATED (nothing usable before the cut), TOO_LARGE (a frame beyond max_pixels), TOO_LONG.
    """
    from cineloop.video.frame_index import read_table
    from cineloop.video.images import read_times

    with open_source(path) as source:
        layout = read_layout(source)
        if layout.is_image:
            return read_times(source, max_pixels=max_pixels, max_duration_s=max_duration_s)[2]
        return read_table(source, layout, max_pixels=max_pixels, max_duration_s=max_duration_s).info
