"""Images as videos: png, jpeg, webp, gif, bmp; a still is one frame shown for one second, an animation keeps its times.

In: an open `VideoSource`. Out: `VideoInfo` and frames in the same terms as for video. Pillow reads them. Camera
orientation (EXIF) is applied; transparency is laid on white. Frames of an animation without a usable duration stay 0.1
s, as in browsers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cineloop.errors import ItemError
from cineloop.video.container import VideoSource, as_path
from cineloop.video.info import VideoInfo
from cineloop.video.limits import Limits
from cineloop.video.stream import check_pixels

_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP")
_STILL_S = 1.0
_NO_DURATION_S = 0.1
_SHORTEST_S = 0.011  # browsers take 10 ms and less as "not set"


def read_times(source: VideoSource, limits: Limits) -> tuple[np.ndarray, float, VideoInfo]:
    """(times (N,), duration in seconds, info) of the image or animation.

    `info.codec` is Pillow's format, `info.container` is "image".

    Raises:
        ItemError: NOT_MEDIA, TRUNCATED, TOO_LARGE, TOO_LONG.
    """
    with _open_image(source) as image:
        width, height = image.size
        check_pixels(height, width, limits.max_pixels, source.name)
        if image.getexif().get(0x0112, 1) in (5, 6, 7, 8):
            width, height = height, width
        lengths: list[float] = []
        total = 0.0
        num_frames = int(getattr(image, "n_frames", 1))
        for index in range(num_frames if num_frames > 1 else 0):
            _go_to(image, index, source)
            length = float(image.info.get("duration", 0) or 0) / 1000.0
            lengths.append(length if length >= _SHORTEST_S else _NO_DURATION_S)
            total += lengths[-1]
            if total > limits.max_duration_s:
                text = f"the animation lasts more than {limits.max_duration_s:.0f} s: {source.name!r}"
                raise ItemError(text, code="TOO_LONG")
        lengths = lengths or [_STILL_S]
        times_s = np.concatenate([[0.0], np.cumsum(lengths)[:-1]])  # (N,)
        duration_s = float(sum(lengths))
        info = VideoInfo(
            path=as_path(source.path),
            duration_s=duration_s,
            fps=len(lengths) / duration_s,
            num_frames=len(lengths),
            width=width,
            height=height,
            rotation=0,
            codec=str(image.format).lower(),
            container="image",
            keyframe_times_s=tuple(float(t) for t in times_s),
        )
    return times_s, duration_s, info


def read_frames(source: VideoSource, positions: Sequence[int], put: Callable[[int, np.ndarray], None]) -> None:
    """Give frame `positions[i]` to `put(i, rgb)` for each i; rgb is uint8 (H, W, 3).

    Raises:
        ItemError: TRUNCATED or DECODE_ERROR.
    """
    from PIL import ImageOps

    with _open_image(source) as image:
        for i, position in enumerate(positions):
            _go_to(image, position, source)
            try:
                upright = ImageOps.exif_transpose(image) if position == 0 else image
                put(i, _flat(upright))
            except (OSError, SyntaxError, ValueError, EOFError) as error:
                code = "TRUNCATED" if "truncated" in str(error).lower() else "DECODE_ERROR"
                raise ItemError(f"the image cannot be read: {source.name!r}: {error}", code=code) from error


def _open_image(source: VideoSource) -> Any:
    from PIL import Image, UnidentifiedImageError

    handle = os.fdopen(os.dup(source.descriptor), "rb")
    try:
        handle.seek(0)
        image = Image.open(handle, formats=_FORMATS)
    except Image.DecompressionBombError as error:
        handle.close()
        raise ItemError(f"the image is too large: {source.name!r}: {error}", code="TOO_LARGE") from error
    except (OSError, SyntaxError, ValueError) as error:
        handle.close()
        why = "its content is no image" if isinstance(error, UnidentifiedImageError) else str(error)
        raise ItemError(f"the image cannot be read: {source.name!r}: {why}", code="NOT_MEDIA") from error
    return _Closing(image, handle)


class _Closing:
    """An image whose file is closed with it."""

    def __init__(self, image: Any, handle: Any) -> None:
        self._image, self._handle = image, handle

    def __enter__(self) -> Any:
        return self._image

    def __exit__(self, *exc_info: object) -> None:
        self._image.close()
        self._handle.close()


def _go_to(image: Any, index: int, source: VideoSource) -> None:
    try:
        if image.tell() != index:
            image.seek(index)
        image.load()  # WebP states a frame's duration only now
    except (EOFError, OSError, SyntaxError, ValueError) as error:
        raise ItemError(
            f"frame {index} of the animation is damaged: {source.name!r}: {error}", code="TRUNCATED"
        ) from error


def _flat(image: Any) -> np.ndarray:
    """RGB (H, W, 3) on white."""
    from PIL import Image

    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        image = Image.alpha_composite(ground, layer)
    return np.asarray(image.convert("RGB"))
