"""Metadata of a video file as it is shown: the record that decoders, pools and `probe` pass on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cineloop.errors import Notice


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
        warnings: what is wrong with the file.
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
    warnings: tuple[Notice, ...] = ()

    def record(self) -> dict[str, Any]:
        """As JSON values, without the path: the same bytes may have many."""
        fields = asdict(self)
        del fields["path"]
        return fields

    @classmethod
    def read(cls, record: dict[str, Any], path: Path) -> VideoInfo:
        """The info of which `record` was made, of the file at `path`. Raises TypeError, KeyError."""
        keys, warnings = tuple(record["keyframe_times_s"]), tuple(map(Notice.read, record["warnings"]))
        return cls(**{**record, "path": path, "keyframe_times_s": keys, "warnings": warnings})
