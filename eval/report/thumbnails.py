"""Strips: up to four frames of a clip side by side, as one small WebP, so that a page shows a clip without playing it.

In: video files. Out: `Strip`s, or the error that says why there is none. Files are read by the killable decoder; the
frames are shrunk in its child, so that a clip costs a few hundred kilobytes here whatever its size.
Letters: T frames, H W size of one frame in the strip.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eval.scores import Scored
from v2t.base.errors import ItemError
from v2t.base.files import unescape_name

if TYPE_CHECKING:
    import numpy as np

    from v2t.video.worker import DecoderPool

NUM_FRAMES = 4
BOX = (96, 128)  # greatest H and W of one frame
_QUALITIES = (72, 55, 38, 22)
_GAP = 2  # pixels between frames
_MAX_WORKERS = 4


@dataclass(frozen=True)
class Strip:
    """A WebP picture, its width and height in pixels."""

    data: bytes
    width: int
    height: int


Strips = dict[str, "Strip | ItemError"]


def make(clips: Sequence[Scored], root: Path, max_bytes: int) -> Strips:
    """Strips by the clips' ids; clips that have no file, or failed, are left out.

    Args:
        clips: what was scored; `path` is relative to `root`, spelled as in a manifest.
        root: folder of the clips.
        max_bytes: greatest size of one strip.

    Raises:
        MissingDependencyError: no video decoder is installed.
    """
    from v2t.video.worker import DecoderPool

    wanted = [clip for clip in clips if clip.path is not None and clip.status == "ok"]
    if not wanted:
        return {}
    workers = min(_MAX_WORKERS, len(wanted), _cores())
    with DecoderPool(workers) as pool, ThreadPoolExecutor(workers) as threads:
        made = threads.map(lambda clip: _strip_of(clip, root, max_bytes, pool), wanted)
        return {clip.id: strip for clip, strip in zip(wanted, made, strict=True)}


def encode(pixels: np.ndarray, max_bytes: int) -> Strip:
    """The strip of frames uint8 (T, H, W, 3).

    Raises:
        ItemError: TOO_LARGE, no strip of so few bytes can show anything.
    """
    import numpy as np
    from PIL import Image

    gap = np.full((pixels.shape[1], _GAP, 3), 127, np.uint8)
    parts = [part for frame in pixels for part in (gap, frame)][1:]
    whole = Image.fromarray(np.concatenate(parts, axis=1))  # (H, T * (W + gap) - gap, 3)
    for scale in (1, 2, 4):
        picture = whole.reduce(scale) if scale > 1 else whole
        for quality in _QUALITIES:
            sink = io.BytesIO()
            picture.save(sink, "WEBP", quality=quality, method=2)
            if sink.tell() <= max_bytes:
                return Strip(sink.getvalue(), *whole.size)
    raise ItemError(
        f"no preview fits into {max_bytes} bytes", code="TOO_LARGE", hint="the page shows fewer clips better"
    )


def fitted(width: int, height: int, sample_aspect: float = 1.0) -> tuple[int, int]:
    """(H, W) within `BOX` with the shape of a frame of `width` x `height` stored pixels; never enlarged."""
    shown = width * sample_aspect
    scale = min(BOX[0] / height, BOX[1] / shown, 1.0)
    return max(1, round(height * scale)), max(1, round(shown * scale))


def _strip_of(clip: Scored, root: Path, max_bytes: int, pool: DecoderPool) -> Strip | ItemError:
    from v2t.video.worker import SampleSpec

    path = root / unescape_name(clip.path or "")
    try:
        info = pool.probe(path)
        spec = SampleSpec(num_frames=NUM_FRAMES, start_s=clip.start_s, end_s=clip.end_s)
        frames = pool.decode(path, spec, size=fitted(info.width, info.height, info.sample_aspect))
        return encode(frames.pixels, max_bytes)
    except ItemError as error:  # named as in the scores: a page that is passed on tells nothing of this machine
        message = error.message.replace(f"{os.path.abspath(root)}{os.sep}", "")
        return ItemError(message, code=error.code, hint=error.hint)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
