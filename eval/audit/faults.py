"""Synthetic faults of known severity, for testing metrics and judges.

In: frames of a clip, the name of a fault, a severity. Out: frames with that fault; or, for the cartoon world, a scene
with another colour, or without a figure, to be rendered anew. Decoded frames are corrupted and not the file, so
that no codec is measured along with the fault. Severity runs from 1 (slight) to 5 (plain); a fault without degrees has
one. Deterministic: noise, order and flicker come from `seed`.
Letters: T frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from cineloop.errors import UsageError
from cineloop.video.frames import Frames
from cineloop.world import vocabulary as words
from cineloop.world.scenes.scene import Scene

SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class PlantedFault:
    """`make(pixels, severity, rng)` corrupts uint8 (T, H, W, 3); `severities` are its valid ones; `says` describes
    it."""

    make: Callable[[np.ndarray, int, np.random.Generator], np.ndarray]
    says: str
    severities: tuple[int, ...] = SEVERITIES


def plant(frames: Frames, fault: str, severity: int = 5, seed: int = 0) -> Frames:
    """The clip with a fault.

    Raises:
        UsageError: no such fault or severity.
    """
    known = FAULTS.get(fault)
    if known is None:
        raise UsageError(f"unknown fault {fault!r}; choices: {', '.join(FAULTS)}")
    if severity not in known.severities:
        raise UsageError(f"{fault} has the severities {', '.join(map(str, known.severities))}, not {severity}")
    pixels = known.make(frames.pixels, severity, np.random.default_rng([seed, severity]))
    return Frames.from_pixels(np.ascontiguousarray(pixels), frames.fps, decoder=frames.decoder)


def swapped_color(scene: Scene) -> Scene:
    """The scene with its first figure in the colour half-way round the list of colours."""
    colors = list(words.COLORS)
    first = scene.actors[0]
    other = colors[(colors.index(first.color) + len(colors) // 2) % len(colors)]
    return replace(scene, actors=(replace(first, color=other), *scene.actors[1:]))


def without_figures(scene: Scene) -> Scene:
    """The place alone."""
    return replace(scene, actors=(), events=(), relations=())


def without_last_figure(scene: Scene) -> Scene:
    """The scene without its last figure and without the events and relations of that figure.

    Raises:
        ValueError: a single figure of count 1 cannot be removed.
    """
    last = len(scene.actors) - 1
    if last == 0:
        if scene.actors[0].count == 1:
            raise ValueError("the scene has a single figure")
        return replace(scene, actors=(replace(scene.actors[0], count=scene.actors[0].count - 1),))
    return replace(
        scene,
        actors=scene.actors[:last],
        events=tuple(e for e in scene.events if last not in (e.actor, e.target)),
        relations=tuple(r for r in scene.relations if last not in (r.a, r.b)),
    )


def _freeze(pixels: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    keep = round(len(pixels) * (1 - severity / 5))
    return pixels[np.minimum(np.arange(len(pixels)), max(0, keep - 1))]


def _reverse(pixels: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    return pixels[::-1]


def _shuffle(pixels: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    # Frames move by at most a window: the larger it is, the less of the order is left.
    num = len(pixels)
    window = num if severity == 5 else max(2, round(num * severity / 5))
    order = np.arange(num)
    for start in range(0, num, window):
        part = order[start : start + window].copy()
        mixed = rng.permutation(len(part))
        if len(part) > 1 and (mixed == np.arange(len(part))).all():
            mixed = np.roll(mixed, 1)
        order[start : start + window] = part[mixed]
    return pixels[order]


def _blur(pixels: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    sigma = (0.006, 0.012, 0.02, 0.035, 0.06)[severity - 1] * pixels.shape[1]
    return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in pixels])


def _noise(pixels: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    noise = rng.normal(0, (4, 10, 20, 35, 60)[severity - 1], pixels.shape)
    return np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)


def _flicker(pixels: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    swing = (0.03, 0.07, 0.13, 0.22, 0.35)[severity - 1]
    light = 1 + swing * np.where(np.arange(len(pixels)) % 2, 1.0, -1.0) * rng.uniform(0.7, 1, len(pixels))  # (T,)
    return np.clip(np.rint(pixels * light[:, None, None, None]), 0, 255).astype(np.uint8)


def _mirror(pixels: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    return pixels[:, :, ::-1]


def _duplicate(pixels: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    return np.repeat(pixels, 2 * severity, axis=0)  # (2 T severity, H, W, 3)


def _hue(pixels: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    turn = 18 * severity  # of OpenCV's 180 degrees of hue
    out = np.empty_like(pixels)
    for number, frame in enumerate(pixels):
        hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(np.int32) + turn) % 180
        out[number] = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return out


def _drift(pixels: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    height, width = pixels.shape[1:3]
    shifts = np.linspace(0, (0.03, 0.07, 0.13, 0.2, 0.3)[severity - 1] * width, len(pixels))  # (T,)
    out = np.empty_like(pixels)
    for number, (frame, shift) in enumerate(zip(pixels, shifts, strict=True)):
        moved = np.array([[1, 0, shift], [0, 1, 0]], dtype=np.float64)
        out[number] = cv2.warpAffine(frame, moved, (width, height), borderMode=cv2.BORDER_REFLECT)
    return out


def _ripple(pixels: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    height, width = pixels.shape[1:3]
    reach = (0.004, 0.008, 0.015, 0.025, 0.04)[severity - 1] * height  # pixels
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))  # (H, W)
    out = np.empty_like(pixels)
    for number, frame in enumerate(pixels):
        coarse = rng.normal(0, reach, (2, 5, 5)).astype(np.float32)
        dx, dy = (cv2.resize(each, (width, height), interpolation=cv2.INTER_CUBIC) for each in coarse)
        out[number] = cv2.remap(frame, x + dx, y + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return out


def _fade(pixels: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    shares = np.linspace(0, severity / 5, len(pixels))  # (T,)
    out = np.empty_like(pixels)
    for number, (frame, share) in enumerate(zip(pixels, shares, strict=True)):
        frame = np.ascontiguousarray(frame)
        grey = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        out[number] = cv2.addWeighted(frame, 1 - share, grey, share, 0)
    return out


FAULTS: dict[str, PlantedFault] = {
    "freeze": PlantedFault(_freeze, "the last part of the clip stands still; at 5 the whole clip is its first frame"),
    "reverse": PlantedFault(_reverse, "the frames in reverse order", (5,)),
    "shuffle": PlantedFault(_shuffle, "frames mixed within windows; at 5 the whole clip"),
    "blur": PlantedFault(_blur, "every frame blurred"),
    "noise": PlantedFault(_noise, "noise, new in every frame"),
    "flutter": PlantedFault(_flicker, "brightness goes up and down from frame to frame"),
    "hue": PlantedFault(_hue, "every color of the picture turned to another hue"),
    "mirror": PlantedFault(_mirror, "left and right exchanged", (5,)),
    "drift": PlantedFault(_drift, "the camera drifts to the left, which nobody asked for"),
    "ripple": PlantedFault(_ripple, "every frame bent a little, otherwise than the one before"),
    "fade": PlantedFault(_fade, "colors fade in the course of the clip; at 5 the last frame is grey"),
    "duplicate": PlantedFault(_duplicate, "every frame shown twice; at 2 four times", (1, 2)),
}
