"""Wear and tear of real files, for training: what a codec, a resize or a screen does to clean frames.

In: frames (T, H, W, 3) uint8 and a random number generator. Out: frames of the same shape. Facts stay true: nothing is
mirrored, cropped, reversed or recoloured.
"""

from __future__ import annotations

import cv2
import numpy as np

from v2t.world.render import render
from v2t.world.scene import Scene


def worn(scene: Scene, size: tuple[int, int], times_s: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Frames of `scene` as a file might give them back: (T, H, W, 3) uint8 at `times_s`.

    One clip in three is drawn larger and shrunk by area, as a decoder's frames are; half are then compressed,
    brightened or darkened a little, or made grainy.
    """
    if rng.random() < 0.35:
        larger = round(size[0] * rng.uniform(1.3, 3.0)), round(size[1] * rng.uniform(1.3, 3.0))
        big = render(scene, larger, times_s=times_s)
        frames = np.stack([cv2.resize(f, size[::-1], interpolation=cv2.INTER_AREA) for f in big])  # (T, H, W, 3)
    else:
        frames = render(scene, size, times_s=times_s)
    if rng.random() < 0.5:
        return frames
    what = int(rng.integers(3))
    if what == 0:
        quality = int(rng.integers(55, 95))
        return np.stack([_compressed(frame, quality) for frame in frames])
    if what == 1:
        gain, lift = rng.uniform(0.88, 1.12), rng.uniform(-14, 14)
        return np.clip(frames * np.float32(gain) + np.float32(lift), 0, 255).astype(np.uint8)
    grain = rng.normal(0, rng.uniform(1, 6), frames.shape[1:]).astype(np.float32)
    return np.clip(frames + grain, 0, 255).astype(np.uint8)


def _compressed(frame: np.ndarray, quality: int) -> np.ndarray:
    data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
