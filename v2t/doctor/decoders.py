"""What each decoder of the product really decodes: tiny clips are written here and read back through `cineloop.video`.

In: nothing. Out: per decoder, its version and one verdict per kind of file: "ok", or what went wrong in a few words.
A clip is eight plain grey frames of known brightness at known times, so a decoder that repeats, drops, reorders or
mistimes frames is told apart from one that refuses; both happen, and a crash ends only the worker process.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cineloop.errors import ItemError
from v2t.doctor.machine import version

SIDE = 64  # pixels; the smallest size that all encoders below accept
LEVELS = tuple(range(20, 244, 28))  # brightness of the eight frames, 28 apart
TOLERANCE = 13  # less than half the step between two frames
EIGHTH = Fraction(1, 8)
STEPS = tuple(range(8))  # frame k is shown at k / 8 s ...
UNEVEN_STEPS = (0, 1, 2, 6, 7, 8, 12, 13)  # ... or at these eighths of a second
# Decoder of the product -> module, and distributions that may bring it.
DECODERS = {
    "decord": ("decord", ("decord", "decord2")),
    "pyav": ("av", ("av",)),
}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of file: the words of the report, how the file ends, and how PyAV writes it."""

    words: str
    suffix: str
    codec: str
    pixel_format: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    steps: tuple[int, ...] = STEPS


KINDS = (
    Kind(words="H.264 mp4", suffix=".mp4", codec="libx264"),
    Kind(words="H.264 mp4, uneven times", suffix=".mp4", codec="libx264", steps=UNEVEN_STEPS),
    Kind(words="H.264 10 bit mkv", suffix=".mkv", codec="libx264", pixel_format="yuv420p10le"),
    Kind(words="HEVC mp4", suffix=".mp4", codec="libx265", options={"x265-params": "log-level=none"}),
    Kind(words="VP8 webm", suffix=".webm", codec="libvpx"),
    Kind(words="VP9 webm", suffix=".webm", codec="libvpx-vp9"),
    Kind(words="AV1 mp4", suffix=".mp4", codec="libsvtav1"),
    Kind(words="MPEG-4 avi", suffix=".avi", codec="mpeg4", options={"q": "2"}),
    Kind(words="H.264 ts", suffix=".ts", codec="libx264"),
    Kind(words="Motion JPEG avi", suffix=".avi", codec="mjpeg", pixel_format="yuvj420p"),
    Kind(words="ProRes mov", suffix=".mov", codec="prores_ks", pixel_format="yuv422p10le"),
    Kind(words="GIF", suffix=".gif", codec="gif", pixel_format="gray"),
)


def try_all() -> list[dict[str, Any]]:
    """Try every decoder on every kind of file this machine can write.

    Returns:
        One dict per decoder: `decoder`, `installed`, `version`, and `decodes`, verdict by kind.
    """
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="cineloop-doctor-") as folder:
        clips = {kind.words: written(kind, Path(folder)) for kind in KINDS} if find_spec("av") else {}
        for name, (module, distributions) in DECODERS.items():
            versions = [have for have in map(version, distributions) if have]
            row: dict[str, Any] = {
                "decoder": name,
                "installed": find_spec(module) is not None,
                "version": versions[0] if versions else None,
                "decodes": {},
            }
            if row["installed"]:
                row["decodes"] = _verdicts(name, clips)
            rows.append(row)
    return rows


def written(kind: Kind, folder: Path) -> Path | None:
    """Write the clip of this kind into `folder`; None where this PyAV has no encoder for it."""
    import av
    import numpy as np

    os.environ.setdefault("SVT_LOG", "0")  # the AV1 encoder else prints its settings on stderr
    path = folder / f"{KINDS.index(kind)}{kind.suffix}"
    try:
        with av.open(str(path), "w") as out:
            stream: Any = out.add_stream(kind.codec, rate=8, options=kind.options)
            stream.width = stream.height = SIDE
            stream.pix_fmt = kind.pixel_format
            stream.codec_context.time_base = EIGHTH
            for level, step in zip(LEVELS, kind.steps, strict=True):
                grey = np.full((SIDE, SIDE, 3), level, np.uint8)
                frame = av.VideoFrame.from_ndarray(grey, format="rgb24").reformat(format=kind.pixel_format)
                frame.pts, frame.time_base = step, EIGHTH
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    except (av.FFmpegError, ValueError):
        return None
    return path


def _verdicts(decoder: str, clips: dict[str, Path | None]) -> dict[str, str]:
    from cineloop.video.worker import DecoderPool, Limits

    verdicts = {}
    with DecoderPool(1, Limits(timeout_s=20), decoders=(decoder,)) as pool:
        for kind in KINDS:
            path = clips.get(kind.words)
            verdicts[kind.words] = "not tried: no encoder here" if path is None else _verdict(pool, path, kind)
    return verdicts


def _verdict(pool: Any, path: Path, kind: Kind) -> str:
    from cineloop.video.sample import SampleSpec

    try:
        frames = pool.decode(path, SampleSpec(num_frames=len(LEVELS)))
    except ItemError as error:
        return f"no: {error.code}"
    levels = frames.pixels.reshape(len(frames.pixels), -1).mean(axis=1).tolist()
    return judged(levels, frames.times_s.tolist(), kind.steps)


def judged(levels: list[float], times_s: list[float], steps: tuple[int, ...]) -> str:
    """Compare what came with what was written.

    Args:
        levels: mean brightness of each frame, 0 to 255.
        times_s: seconds of each frame from the first.
        steps: the true times in eighths of a second.

    Returns:
        "ok", or the difference in a few words.
    """
    if len(levels) != len(LEVELS):
        return f"wrong: {len(levels)} of {len(LEVELS)} frames"
    if max(abs(have - true) for have, true in zip(levels, LEVELS, strict=True)) > TOLERANCE:
        return "wrong: frames differ from what was written"
    off = max(abs(have - step / 8) for have, step in zip(times_s, steps, strict=True))
    return "ok" if off <= 1 / 16 else f"wrong: times off by {off:.2f} s"
