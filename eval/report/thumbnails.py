"""Strips: some frames of a clip side by side, as one small WebP.

In: video files. Out: `Strip`s of those that can be decoded. Files are read by the killable decoder; the
frames are shrunk in its child, so that a clip costs a few hundred kilobytes here whatever its size. Strips are kept by
the content of the clip in the evidence cache, so that a second page decodes nothing.
Letters: T frames, H W size of one frame in the strip.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cineloop.errors import ItemError
from cineloop.files import text_key
from cineloop.log import logger, printable
from cineloop.threads import usable_cpus

if TYPE_CHECKING:
    import numpy as np

    from cineloop.video.sample import SampleSpec
    from cineloop.video.worker import DecoderPool
    from v2t_eval.core.cache import EvidenceCache

BOX = (96, 128)  # greatest H and W of one frame
_QUALITIES = (72, 55, 38, 22)
GAP = 2  # pixels between frames
_MAX_WORKERS = 4
_VERSION = 1  # of what is kept: another number when strips are made in another way


@dataclass(frozen=True)
class Strip:
    """A WebP picture, its width and height in pixels, and the frames in it, with `GAP` pixels between two."""

    data: bytes
    width: int
    height: int
    num_frames: int = 1


Part = tuple[Path, tuple[float, float | None] | None]  # a file, and from which second to which where it is a part


@dataclass(frozen=True, kw_only=True)
class _StripRequest:
    """A strip to make: of which part and frames, and the cache key ("" for none)."""

    part: Part
    spec: SampleSpec
    max_bytes: int
    key: str = ""


def of_parts(parts: Sequence[Part], max_bytes: int, num_frames: int, cache: Path | None = None) -> dict[Part, Strip]:
    """Strips of files or parts of them; what cannot be shown is left out.

    Raises:
        MissingDependencyError: no video decoder is installed.
    """
    from cineloop.video.sample import SampleSpec
    from v2t_eval.core.cache import EvidenceCache

    with EvidenceCache(cache) as kept:
        wanted = []
        for path, span in dict.fromkeys(parts):
            start_s, end_s = span or (None, None)
            spec = SampleSpec(num_frames=num_frames, start_s=start_s, end_s=end_s)
            try:  # a file that was measured with this cache is not opened
                key = "" if cache is None else _key(kept.file_sha256(path), spec, max_bytes)
            except OSError:
                continue
            wanted.append(_StripRequest(part=(path, span), spec=spec, max_bytes=max_bytes, key=key))
        return _strips(wanted, kept)


def _key(content: str, spec: SampleSpec, max_bytes: int) -> str:
    parts = (_VERSION, content, spec.num_frames, spec.start_s, spec.end_s, BOX, max_bytes)
    return f"strip:{text_key(repr(parts).encode('utf-8', 'backslashreplace'))}"


def _strips(wanted: Sequence[_StripRequest], kept: EvidenceCache) -> dict[Part, Strip]:
    """The strips, kept ones first; only what is missing is decoded."""
    from cineloop.video.worker import DecoderPool

    held = kept.find(one.key for one in wanted if one.key)
    known = {key: strip for key, data in held.items() if (strip := _from_cache(data)) is not None}
    strips = {one.part: known[one.key] for one in wanted if one.key in known}
    missing = [one for one in wanted if one.part not in strips]
    if missing:
        workers = min(_MAX_WORKERS, len(missing), usable_cpus())
        with DecoderPool(workers) as pool, ThreadPoolExecutor(workers) as threads:
            for one, new in zip(missing, threads.map(lambda one: _strip_of(one, pool), missing), strict=True):
                if new is None:
                    continue
                strips[one.part] = new
                if one.key:
                    kept.keep({one.key: _to_cache(new)})
    return strips


def _to_cache(strip: Strip) -> dict[str, Any]:
    import numpy as np

    about = {"width": strip.width, "height": strip.height, "num_frames": strip.num_frames}
    return {**about, "webp": np.frombuffer(strip.data, np.uint8)}


def _from_cache(held: dict[str, Any]) -> Strip | None:
    """The cached strip; None where it has another form."""
    try:
        return Strip(held["webp"].tobytes(), held["width"], held["height"], held["num_frames"])
    except KeyError:
        return None


def encode(pixels: np.ndarray, max_bytes: int) -> Strip:
    """The strip of frames uint8 (T, H, W, 3).

    Raises:
        ItemError: TOO_LARGE, no strip fits into so few bytes.
    """
    import numpy as np
    from PIL import Image

    gap = np.full((pixels.shape[1], GAP, 3), 127, np.uint8)
    parts = [part for frame in pixels for part in (gap, frame)][1:]
    whole = Image.fromarray(np.concatenate(parts, axis=1))  # (H, T * (W + gap) - gap, 3)
    for scale in (1, 2, 4):
        picture = whole.reduce(scale) if scale > 1 else whole
        for quality in _QUALITIES:
            sink = io.BytesIO()
            picture.save(sink, "WEBP", quality=quality, method=2)
            if sink.tell() <= max_bytes:
                return Strip(sink.getvalue(), *whole.size, len(pixels))
    raise ItemError(
        f"no preview fits into {max_bytes} bytes", code="TOO_LARGE", hint="the page shows fewer clips better"
    )


def strip_size(width: int, height: int, sample_aspect: float = 1.0) -> tuple[int, int]:
    """(H, W) within `BOX` with the shape of a frame of `width` x `height` stored pixels; never enlarged."""
    shown = width * sample_aspect
    scale = min(BOX[0] / height, BOX[1] / shown, 1.0)
    return max(1, round(height * scale)), max(1, round(shown * scale))


def _strip_of(wanted: _StripRequest, pool: DecoderPool) -> Strip | None:
    path, _ = wanted.part
    try:
        info = pool.probe(path)
        size = strip_size(info.width, info.height, info.sample_aspect)
        return encode(pool.decode(path, wanted.spec, size=size).pixels, wanted.max_bytes)
    except ItemError as error:
        logger.debug("no frames of %s: %s", printable(str(path)), error)
        return None
