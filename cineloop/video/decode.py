"""Pixels of chosen frames: decord first, PyAV as the fallback, and what came is checked.

In: a path and a `Request`. Out: `Frames`. decord (Apache-2.0) counts frames from intra frames and repeats the last good
one where a file is damaged, so it is used only where counting is exact (`FrameTable.is_plain`) and where its own times
agree with the packets'; PyAV addresses frames by presentation time. Both give upright RGB. Run inside a child by
`cineloop.video.worker`; nothing here protects against a decoder that hangs or crashes.
Letters: N frames of the file, T frames read.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cineloop.errors import ItemError, MissingDependencyError, Notice, UsageError
from cineloop.video.canvas import Allocate, Canvas
from cineloop.video.container import VideoSource
from cineloop.video.frame_index import FrameTable
from cineloop.video.frames import Frames
from cineloop.video.limits import DECODERS, Limits
from cineloop.video.open_file import LastFile, OpenFile
from cineloop.video.pyav_reader import motion_grid, read_pyav
from cineloop.video.sample import SampleSpec, choose

_MODULES = {"decord": "decord", "pyav": "av"}
_NARROWEST_DECORD = 64  # decord 0.6 mistakes padded rows for more channels in narrower frames
_INDEXED = ("mov", "matroska", "avi", "flv")  # FFmpeg's names of containers with an index of intra frames
_LONG = 3000  # frames; a longer film is worth seeking in
_BATCH_BYTES = 96 << 20  # what decord holds at a time beside the result


class _Unfit(Exception):
    """This decoder cannot be trusted with this file; the next one is tried."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to read and how.

    Args:
        spec: which frames; 16 uniform ones by default.
        size: (H, W) to resize to (area when shrinking, linear when growing); None keeps the stored size.
        limits: refusals before anything is allocated; time and memory are watched by the worker's parent alone.
        decoders: order of preference among `DECODERS`.
        threads: decoder threads, 0 for as many as the decoder likes.

    Raises:
        UsageError: on a value outside these ranges.
    """

    spec: SampleSpec = field(default_factory=SampleSpec)
    size: tuple[int, int] | None = None
    limits: Limits = field(default_factory=Limits)
    decoders: tuple[str, ...] = DECODERS
    threads: int = 0

    def __post_init__(self) -> None:
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise UsageError(f"size must be (height, width), each >= 1, got {self.size!r}")
        if not self.decoders or set(self.decoders) - set(DECODERS):
            raise UsageError(f"decoders must be some of {', '.join(DECODERS)}, got {self.decoders!r}")
        if self.threads < 0:
            raise UsageError(f"threads must be >= 0, got {self.threads!r}")


def decode(
    path: str | bytes | os.PathLike[str],
    request: Request | None = None,
    *,
    allocate: Allocate | None = None,
    started: Callable[[str], None] = lambda name: None,
    last: LastFile | None = None,
) -> Frames:
    """Read frames of a video or image file, in this process.

    Args:
        path: the file.
        request: what to read and how.
        allocate: gives the uint8 array the pixels are written to, for a shape (T, H, W, 3).
        started: called with a decoder's name before it is started, and with "" while a long file is looked through.
        last: the file that was read last; given back to the next call, the parts of one film cost no second look.

    Raises:
        ItemError: the codes of `DecoderPool.decode`.
        MissingDependencyError: none of the decoders is installed.
    """
    request = request or Request()
    allocate = allocate or (lambda shape: np.empty(shape, dtype=np.uint8))
    with ExitStack() as stack:
        opened = stack.enter_context((last or stack.enter_context(LastFile())).open(path))
        if opened.layout.is_image:
            frames = _decode_image(opened.source, request, allocate)
        else:
            frames = _decode_video(opened, request, allocate, started)
        opened.source.check_unchanged()
    return frames


def is_installed(name: str) -> bool:
    """Whether the package of a decoder of `DECODERS` can be found (it may still fail to load)."""
    return importlib.util.find_spec(_MODULES[name]) is not None


def warm_up(threads: int) -> None:
    """Load what most files need before the clock of the first one runs."""
    import av  # noqa: F401
    import cv2

    cv2.setNumThreads(max(1, threads))
    try:
        import decord  # noqa: F401
    except (ImportError, OSError):  # not for this platform: the fallbacks read everything
        return


def _decode_image(source: VideoSource, request: Request, allocate: Allocate) -> Frames:
    from cineloop.video.images import read_frames, read_times

    spec, limits = request.spec, request.limits
    times_s, duration_s, info = read_times(source, limits)
    # An animation is short and each of its frames is whole: every one counts as intra frame, motion as even.
    none = np.zeros(0)
    positions = choose(spec, times_s, duration_s, keyframe_times_s=times_s, motion_times_s=none, motion_energy=none)
    canvas = Canvas(len(positions), (info.height, info.width), request.size, limits, allocate)
    read_frames(source, positions.tolist(), canvas.put)
    start_s, length_s = _span(spec, duration_s)
    return Frames(canvas.pixels, times_s[positions], length_s, info.fps, "pillow", info.warnings, start_s)


def _span(spec: SampleSpec, duration_s: float) -> tuple[float, float]:
    """(start, length) in seconds of the window within the file."""
    start = spec.start_s or 0.0
    end = duration_s if spec.end_s is None else min(spec.end_s, duration_s)
    return start, max(0.0, end - start)


def _decode_video(opened: OpenFile, request: Request, allocate: Allocate, started: Callable[[str], None]) -> Frames:
    source, table = opened.source, opened.table(request.limits, lambda: started(""))
    positions = _positions(opened, table, request, started)
    stored = (table.info.height, table.info.width)
    canvas = Canvas(len(positions), stored, request.size, request.limits, allocate)
    unfit: dict[str, str] = {}
    failed: dict[str, str] = {}
    order = list(request.decoders)
    span = int(positions[-1] - positions[0]) + 1
    if len(table.times_s) > _LONG and span < len(table.times_s) / 4 and table.pts is not None:
        # A small part of a long film: decord looks through all of it each time before it gives a frame, PyAV continues
        # from its position.
        order.sort(key=lambda name: name != "pyav")
    for name in order:
        reason = "not installed" if not is_installed(name) else _unfit_for(name, table)
        if reason:
            unfit[name] = reason
            continue
        started(name)
        canvas.there[:] = False
        try:
            notes = _READERS[name](opened, table, positions.tolist(), canvas, request.threads)
        except ItemError:
            raise
        except Exception as error:  # decoders raise classes of their own; each becomes a reason in the record
            what = "" if isinstance(error, _Unfit) else f"{type(error).__name__}: "
            failed[name] = f"{what}{_first_line(error)}"
            continue
        if not canvas.there.any():
            failed[name] = "gave no frame"
            continue
        warnings = [*table.info.warnings, *notes]
        warnings += [Notice("FALLBACK", f"{other} failed ({why}); read by {name}") for other, why in failed.items()]
        pixels, times_s = canvas.pixels, table.times_s[positions]
        if not canvas.there.all():
            lost = f"{int((~canvas.there).sum())} of {len(positions)} chosen frames"
            warnings.append(Notice("DAMAGED", f"{lost} could not be read and are left out"))
            pixels, times_s = pixels[canvas.there], times_s[canvas.there]
        if len(canvas.sizes) > 1:
            text = "the frame size changes within the video; all frames are resized to the first"
            warnings.append(Notice("SIZE_CHANGES", text))
        start_s, length_s = _span(request.spec, table.info.duration_s)
        return Frames(pixels, times_s, length_s, table.info.fps, name, tuple(warnings), start_s)
    if not failed and all(reason == "not installed" for reason in unfit.values()):
        names = ", ".join(request.decoders)
        raise MissingDependencyError(f"none of the decoders {names} is installed", hint="pip install av")
    reasons = "; ".join(f"{name}: {reason}" for name, reason in {**unfit, **failed}.items())
    code = "TRUNCATED" if opened.layout.missing_bytes else "DECODE_ERROR"
    raise ItemError(f"no decoder could read {source.name!r}: {reasons}", code=code)


def _first_line(error: BaseException) -> str:
    """The message without the clock and source lines that decord puts before it."""
    text = re.sub(r"\[\d\d:\d\d:\d\d\] \S+:\d+: ", "", (str(error).splitlines() or [""])[0])
    return text.strip()[:160]


def _unfit_for(name: str, table: FrameTable) -> str:
    """Why `name` is not even tried on this file; empty when it is."""
    info = table.info
    if name == "decord":
        if not table.is_plain:
            return "counting frames is not exact in this file"
        if info.container not in _INDEXED:
            return f"it does not seek exactly in {info.container}"
        if info.mirrored:
            return "it ignores mirroring"
        if info.codec in ("av1", "vvc"):
            return f"it has no {info.codec} decoder"
        if info.width < _NARROWEST_DECORD:
            return f"it misreads frames narrower than {_NARROWEST_DECORD}"
    return ""


def _positions(opened: OpenFile, table: FrameTable, request: Request, started: Callable[[str], None]) -> np.ndarray:
    spec, grid, energy = request.spec, np.zeros(0), np.zeros(0)
    if spec.sampler == "motion":
        started("pyav")
        grid, energy = motion_grid(opened, table, spec, request.threads)
    return choose(
        spec,
        table.times_s,
        table.info.duration_s,
        keyframe_times_s=table.times_s[table.is_key],
        motion_times_s=grid,
        motion_energy=energy,
    )


class _Borrowed:
    """A decord array seen by numpy without a copy."""

    def __init__(self, array: Any) -> None:
        self._capsule = array.to_dlpack()

    def __dlpack__(self, **_: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)  # CPU


def _read_decord(
    opened: OpenFile, table: FrameTable, positions: list[int], canvas: Canvas, threads: int
) -> list[Notice]:
    import decord

    if table.info.rotation and not decord.__version__.startswith("0.6"):
        raise _Unfit(f"decord {decord.__version__} is not known to apply rotation")
    decord.logging.set_level(decord.logging.QUIET)
    # fault_tol: raise when even one frame was replaced by the one before.
    reader = decord.VideoReader(opened.source.address, num_threads=threads, fault_tol=1e-9)
    if len(reader) != len(table.times_s):
        raise _Unfit(f"decord counts {len(reader)} frames, {len(table.times_s)} are there")
    starts = np.asarray(reader.get_frame_timestamp(list(range(len(reader)))), dtype=np.float64)[:, 0]  # (N,)
    steps = np.diff(table.times_s)
    tolerance = 0.5 * float(steps.min()) if len(steps) else 1.0
    if np.abs(starts - starts[0] - table.times_s).max() > tolerance:
        raise _Unfit("decord's times differ from the packets' by more than half a frame")
    height, width = table.info.height, table.info.width
    chunk = max(1, _BATCH_BYTES // (height * width * 3))
    for begin in range(0, len(positions), chunk):
        batch = np.from_dlpack(_Borrowed(reader.get_batch(positions[begin : begin + chunk])))
        if batch.shape[1:] != (height, width, 3):
            raise _Unfit(f"decord gives frames of shape {batch.shape[1:]}, expected {(height, width, 3)}")
        for offset, rgb in enumerate(batch):
            canvas.put(begin + offset, rgb)
    return []


_READERS: dict[str, Callable[..., list[Notice]]] = {"decord": _read_decord, "pyav": read_pyav}
