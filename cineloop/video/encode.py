"""Write frames as an H.264 mp4 that every player and every decoder reads.

In: uint8 RGB (T, H, W, 3), or any iterable of (H, W, 3). Out: an mp4 file: H.264, yuv420p, BT.709 (converted and
tagged), constant frame rate exactly as stated, exactly T frames, index in front, no metadata. Written beside its place
and renamed, so no torn file is ever seen. Odd sizes: yuv420p halves both sides of the chroma planes, so an odd height
or width is PADDED by repeating the last row or column (H, W become the next even numbers); nothing is scaled or cut.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np

from cineloop.errors import ItemError, UsageError

# Without x264's macroblock tree: with it the same small clip gives other bytes from time to time.
X264 = {"preset": "veryfast", "x264-params": "mbtree=0"}
# x264 writes its name and settings into the first frame (SEI, NAL type 6): not the reader's business.
PLAIN = "filter_units=remove_types=6"


def encode(
    pixels: np.ndarray | Iterable[np.ndarray],
    path: str | os.PathLike[str],
    fps: Fraction | float,
    crf: int = 18,
    *,
    preset: str = X264["preset"],
    threads: int = 1,
) -> None:
    """Write `pixels` to `path` (mp4), replacing what is there only when all is well.

    Args:
        pixels: uint8 RGB (T, H, W, 3), or an iterable of equally sized (H, W, 3); T >= 1.
        path: where to; the folder must exist.
        fps: frames per second, > 0; a float is read as the nearest fraction with denominator <= 1001, so 23.976 is
            2997/125 and 24000/1001 stays what it is.
        crf: x264 quality, 0 (lossless in yuv420p) to 51; 18 looks like the source.
        preset: x264 speed preset.
        threads: 1 gives the same bytes on every machine.

    Raises:
        UsageError: no frame, a wrong type or shape, fps or crf out of range.
        ItemError: DISK_FULL, or ENCODE_ERROR with the library's message.
    """
    from av.error import FFmpegError

    rate = _rate(fps)
    if not 0 <= crf <= 51:
        raise UsageError(f"crf must be within 0 and 51, got {crf!r}")
    target = Path(path)
    temporary = target.with_name(f".{uuid.uuid4().hex}.tmp.mp4")
    try:
        options = {**X264, "crf": str(crf), "preset": preset}
        _write(pixels, temporary, rate, options, threads)
        os.replace(temporary, target)
    except (OSError, FFmpegError) as error:
        code = "DISK_FULL" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "ENCODE_ERROR"
        raise ItemError(f"cannot write {os.fsdecode(target)!r}: {error}", code=code) from error
    finally:
        temporary.unlink(missing_ok=True)


def even(size: int) -> int:
    """The next even number, at least 2: the side a frame of side `size` is padded to."""
    return size + size % 2


def _rate(fps: Fraction | float) -> Fraction:
    try:
        rate = fps if isinstance(fps, Fraction) else Fraction(fps).limit_denominator(1001)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"fps must be a number or Fraction > 0, got {fps!r}") from error
    if not 0 < rate <= 1000:
        raise UsageError(f"fps must be within 0 (exclusive) and 1000, got {fps!r}")
    return rate


def _write(
    pixels: np.ndarray | Iterable[np.ndarray], path: Path, rate: Fraction, options: dict[str, str], threads: int
) -> None:
    import av
    from av.bitstream import BitStreamFilterContext
    from av.video.reformatter import ColorRange, Colorspace

    frames = iter(pixels)
    first = _check_frame(next(frames, None), None)
    height, width = even(first.shape[0]), even(first.shape[1])
    count = 0
    # bitexact: no encoder name or creation time in the file.
    with av.open(os.fspath(path), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}) as out:
        stream = out.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = threads
        stream.codec_context.time_base = 1 / rate
        stream.codec_context.colorspace = stream.codec_context.color_primaries = 1  # BT.709
        stream.codec_context.color_trc, stream.codec_context.color_range = 1, ColorRange.MPEG
        plain = BitStreamFilterContext(PLAIN, "h264")
        for array in _chain(first, frames):
            rgb = _pad(_check_frame(array, first.shape), height, width)
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            frame.pts, frame.time_base = count, 1 / rate
            for packet in stream.encode(frame):
                out.mux(plain.filter(packet))
            count += 1
        for packet in stream.encode(None):
            out.mux(plain.filter(packet))
        out.mux(plain.filter(None))


def _chain(first: np.ndarray, rest: Iterable[np.ndarray]) -> Iterable[np.ndarray]:
    yield first
    yield from rest


def _check_frame(frame: np.ndarray | None, shape: tuple[int, ...] | None) -> np.ndarray:
    if frame is None:
        raise UsageError("encode needs at least one frame, got none")
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[-1] != 3:
        got = f"{getattr(frame, 'dtype', type(frame).__name__)} {getattr(frame, 'shape', '')}"
        raise UsageError(f"encode needs uint8 RGB frames (H, W, 3), got {got}")
    if min(frame.shape) < 1 or (shape is not None and frame.shape != shape):
        raise UsageError(f"all frames of a clip must have one size of at least 1x1, got {frame.shape} after {shape}")
    return frame


def _pad(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    missing = ((0, height - frame.shape[0]), (0, width - frame.shape[1]), (0, 0))
    if any(after for _, after in missing):
        frame = np.pad(frame, missing, mode="edge")  # (H even, W even, 3)
    return np.ascontiguousarray(frame)
