"""Augmentation: what a codec, a resize or a screen does to clean frames, and the artifacts of a weak generator.

In: frames (T, H, W, 3) uint8 and a random number generator. Out: frames of the same shape. Facts stay true: nothing is
mirrored, cropped, reversed or recoloured.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from cineloop.world.scenes.render import render
from cineloop.world.scenes.scene import Scene


def augmented_frames(scene: Scene, size: tuple[int, int], times_s: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Frames of `scene` with the marks of resizing, codecs and cameras: (T, H, W, 3) uint8 at `times_s`.

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
        return np.stack([_compress(frame, quality) for frame in frames])
    if what == 1:
        gain, lift = rng.uniform(0.88, 1.12), rng.uniform(-14, 14)
        return np.clip(frames * np.float32(gain) + np.float32(lift), 0, 255).astype(np.uint8)
    grain = rng.normal(0, rng.uniform(1, 6), frames.shape[1:]).astype(np.float32)
    return np.clip(frames + grain, 0, 255).astype(np.uint8)


def with_artifacts(scene: Scene, frames: np.ndarray, times_s: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Frames of `scene` with its figures as a weak generator draws them: (T, H, W, 3) uint8.

    Their outlines wobble from frame to frame, they are soft, and the place shows through in spots; the place itself
    stays as it is. What they are, their colour and where they go stays true.
    """
    empty = replace(scene, actors=(), events=(), relations=())
    behind = render(empty, frames.shape[1:3], times_s=times_s)
    apart = np.abs(frames.astype(np.int16) - behind).max(-1) > 12  # (T, H, W)
    if not apart.any():
        return frames
    height, width = frames.shape[1:3]
    share, steady = np.float32(rng.uniform(0.01, 0.05) * height), np.float32(rng.uniform(0.3, 0.95))
    soft, holes = rng.uniform(0.3, 1.1) * height / 64, np.float32(rng.uniform(0.0, 0.5))
    field = _noise(rng, (3, height, width))
    made = np.empty_like(frames)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    for number, frame in enumerate(frames):
        field = steady * field + np.sqrt(1 - steady * steady) * _noise(rng, (3, height, width))
        near = cv2.GaussianBlur(cv2.dilate(apart[number].astype(np.float32), np.ones((5, 5))), (0, 0), 1.5)  # (H, W)
        dx, dy = share * near * field[0], share * near * field[1]
        drawn = cv2.remap(frame, columns + dx, rows + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        drawn = cv2.GaussianBlur(drawn, (0, 0), soft).astype(np.float32)
        shown = (near * np.clip(1 - holes * (field[2] - 0.8), 0.25, 1))[..., None]  # (H, W, 1)
        made[number] = np.clip(shown * drawn + (1 - shown) * behind[number], 0, 255)
    return made


def _noise(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Smooth float32 noise of unit variance (C, H, W); its spots are an eighth of the height wide."""
    coarse = rng.standard_normal((9, 9, shape[0])).astype(np.float32)
    return cv2.resize(coarse, shape[:0:-1], interpolation=cv2.INTER_CUBIC).reshape(*shape[1:], -1).transpose(2, 0, 1)


def _compress(frame: np.ndarray, quality: int) -> np.ndarray:
    data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
