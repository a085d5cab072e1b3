"""Short films with planted changes of shots and faults: textured pictures, exact frames, H.264."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cineloop.video.encode import encode

FPS = 24
SIZE = (96, 160)


def picture(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A picture (H, W, 3) of coloured blots, unlike that of any other seed."""
    import cv2

    rng = np.random.default_rng(seed)
    coarse = rng.integers(20, 235, (6, 9, 3)).astype(np.uint8)
    fine = rng.integers(-25, 25, (*size, 1)).astype(np.int16)
    smooth = cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    return np.clip(smooth + fine, 0, 255).astype(np.uint8)


def shot(seed: int, num: int = 60, size: tuple[int, int] = SIZE, *, pan: float = 0.0) -> np.ndarray:
    """A shot (T, H, W, 3): a square crosses the picture, which moves left by `pan` pixels a frame."""
    height, width = size
    wide = picture(seed, (height, width + round(pan * num) + 1))
    frames = np.stack([wide[:, round(pan * t) : round(pan * t) + width] for t in range(num)])
    side = height // 6
    for t, frame in enumerate(frames):
        left = round((width - side) * t / num)
        frame[height // 3 : height // 3 + side, left : left + side] = (250, 40, 40) if seed % 2 else (40, 40, 250)
    return frames


def dissolve(before: np.ndarray, after: np.ndarray, num: int = 20) -> np.ndarray:
    """Frames (num, H, W, 3) that lead from the last one of a shot to the first one of the next."""
    share = np.linspace(0, 1, num)[:, None, None, None]
    return (before[-1:] * (1 - share) + after[:1] * share).astype(np.uint8)


def fade(before: np.ndarray, after: np.ndarray, num: int = 12, dark: int = 5) -> np.ndarray:
    """Frames that lead from one shot to the next through black."""
    black = np.zeros_like(before[:1])
    return np.concatenate([dissolve(before, black, num), np.repeat(black, dark, 0), dissolve(black, after, num)])


def write(path: Path, *parts: np.ndarray, fps: float = FPS, crf: int = 20) -> Path:
    """An mp4 of the parts, one after another; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    encode(np.concatenate(parts), path, fps, crf=crf)
    return path
