"""Films that are no cartoons, with planted changes of shots: for the measurement of `v2t-eval curate`.

In: a seed, a folder of real clips or none. Out: `Film`s and their frames: FFmpeg's own sources (testsrc2, mandelbrot,
life ...), stills under a camera that pans and zooms (frames of the real clips, the Mandelbrot set, landscapes of
smooth noise), lit things in the night, the real clips as they are. Between shots: cuts, fades, dissolves, wipes, slides
and circles; within some of them a flash of three frames, and true bars around some films. All by PyAV.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

FPS = 24
SHAPES = ((1920, 1080), (1280, 720), (576, 720), (480, 720), (1080, 1998), (800, 1920), (1080, 2560), (360, 640))
CODECS: dict[str, tuple[str, dict[str, str]]] = {
    "h264": ("libx264", {"preset": "veryfast", "crf": "23"}),
    "hevc": ("libx265", {"preset": "ultrafast", "crf": "26", "x265-params": "log-level=none"}),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "crf": "32", "b": "0", "row-mt": "1"}),
    "av1": ("libsvtav1", {"preset": "12", "crf": "35"}),
}
SOURCES = {
    "testsrc2": "", "mandelbrot": "start_scale=1.5:end_scale=0.05:end_pts=160", "gradients": "speed=0.02:seed=7",
    "life": "mold=20:ratio=0.3:death_color=#202060:life_color=#f0f0a0:seed=5", "cellauto": "rule=110:seed=5",
    "smptebars": "", "rgbtestsrc": "", "yuvtestsrc": "", "pal75bars": "",
}  # fmt: skip
CHANGES = ("cut", "fade", "dissolve", "wipe", "slide", "circle")
FLASH = 3  # frames
_STILL = (540, 960)  # of which stills are enlarged by two
_MOST = 500_000  # pixels of a source; larger pictures are enlarged
Size = tuple[int, int]
Shot = Callable[[Size, int], Iterator[np.ndarray]]


@dataclass
class Film:
    """Shots (name, frames, second of a flash or None) and the kind and frames of the change after each but the last."""

    shots: list[tuple[str, int, int | None]]
    changes: list[tuple[str, int]]
    make: list[Shot]
    size: Size
    codec: str
    bars: tuple[float, float] = (0.0, 0.0)  # share of the height at top and bottom, of the width at left and right
    spans: list[tuple[str, float, float]] = field(default_factory=list)  # of changes, seconds

    def __post_init__(self) -> None:
        at = 0
        for (_, num, _), (kind, length) in zip(self.shots, self.changes, strict=False):
            at += num - length
            self.spans.append((kind, at / FPS, (at + length) / FPS))

    def frames(self) -> Iterator[np.ndarray]:
        """RGB frames (H, W, 3)."""
        height, width = self.size
        top, left = round(self.bars[0] * height), round(self.bars[1] * width)
        for frame in self._picture((height - 2 * top, width - 2 * left)):
            if top or left:
                frame = cv2.copyMakeBorder(frame, top, top, left, left, cv2.BORDER_CONSTANT)
            yield frame

    def _picture(self, size: Size) -> Iterator[np.ndarray]:
        shots = [_flash(make(size, num), flash) for make, (_, num, flash) in zip(self.make, self.shots, strict=True)]
        for n, (shot, (_, num, _)) in enumerate(zip(shots, self.shots, strict=True)):
            before = self.changes[n - 1][1] if n else 0
            after = self.changes[n][1] if n < len(self.changes) else 0
            yield from itertools.islice(shot, num - before - after)
            for k in range(after):
                yield between(self.changes[n][0], next(shot), next(shots[n + 1]), (k + 1) / (after + 1), n)


def _flash(frames: Iterator[np.ndarray], at: int | None) -> Iterator[np.ndarray]:
    for n, frame in enumerate(frames):
        if at is not None and at <= n < at + FLASH:
            frame = cv2.addWeighted(frame, 0.2, np.full_like(frame, 255), 0.8, 0)
        yield frame


def between(kind: str, a: np.ndarray, b: np.ndarray, share: float, way: int) -> np.ndarray:
    """A picture of a change between two frames; `way` chooses its direction."""
    height, width = a.shape[:2]
    if kind == "dissolve":
        return cv2.addWeighted(a, 1 - share, b, share, 0)
    if kind == "fade":
        light = max(0.0, 1 - 2.5 * share, 2.5 * share - 1.5)
        return cv2.convertScaleAbs(a if share < 0.5 else b, alpha=light)
    if kind == "circle":
        y, x = np.ogrid[:height, :width]
        radius = share * math.hypot(height, width) / 2
        return np.where(np.hypot(y - height / 2, x - width / 2)[..., None] < radius, b, a)
    flip, axis = way % 2 == 1, 1 if way % 4 < 2 else 0
    if flip:
        a, b = np.flip(a, axis), np.flip(b, axis)
    edge = round(share * a.shape[axis])
    if kind == "slide":  # both move
        joined = np.concatenate([a, b], axis)
        made = joined[:, edge : edge + width] if axis else joined[edge : edge + height]
    else:
        made = np.concatenate([b[:, :edge], a[:, edge:]] if axis else [b[:edge], a[edge:]], axis)
    return np.ascontiguousarray(np.flip(made, axis) if flip else made)


# ---- what shots show


def source(name: str, options: str | None = None) -> Shot:
    """One of FFmpeg's own."""

    def frames(size: Size, num: int) -> Iterator[np.ndarray]:
        graph = av.filter.Graph()
        factor = min(1.0, math.sqrt(_MOST / (size[0] * size[1])))
        place = "size={1}x{0}:rate={2}".format(*(round(side * factor / 2) * 2 for side in size), FPS)
        made = graph.add(name, ":".join(filter(None, (place, SOURCES[name] if options is None else options))))
        sink = graph.add("buffersink")
        made.link_to(sink)
        graph.configure()
        for _ in range(num):
            pulled: Any = graph.pull()
            frame = pulled.to_ndarray(format="rgb24")
            yield np.ascontiguousarray(cv2.resize(frame, size[::-1]) if frame.shape[:2] != size else frame)

    return frames


def camera(image: np.ndarray, rng: random.Random, *, least: float = 0.0) -> Shot:
    """A still under a camera that pans, zooms or both: up to .15 of the view a second."""
    angle, pan = rng.uniform(0, 2 * math.pi), rng.choice((0.0, 1.0)) * rng.uniform(0.01, 0.15)
    zoom = rng.choice((0.0, 1.0)) * rng.uniform(-0.08, 0.08)
    if abs(zoom) < 0.01 and pan < least:
        pan = rng.uniform(least, 0.15)

    def frames(size: Size, num: int) -> Iterator[np.ndarray]:
        height, width = size
        rows, columns = image.shape[:2]
        view = 0.5 * min(rows / height, columns / width)  # pixels of the still for one of the frame
        for n in range(num):
            at_s = (n - num / 2) / FPS
            scale = view * math.exp(zoom * at_s)
            x = columns / 2 + pan * at_s * math.cos(angle) * width * view
            y = rows / 2 + pan * at_s * math.sin(angle) * height * view
            matrix = np.array([[scale, 0, x - scale * width / 2], [0, scale, y - scale * height / 2]])
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            yield cv2.warpAffine(image, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT)

    return frames


def night(rng: random.Random) -> Shot:
    """A lit thing that hardly moves in the dark: a window, a lamp, a face."""
    kind, level = rng.choice(("window", "lamp", "face")), rng.randint(0, 9)
    cx, cy, side, turn = rng.uniform(0.35, 0.6), rng.uniform(0.4, 0.6), rng.uniform(0.15, 0.35), rng.uniform(-8, 8)
    texture = noise(np.random.default_rng(rng.randint(0, 9999)), (256, 256), 1.6)

    def frames(size: Size, num: int) -> Iterator[np.ndarray]:
        height, width = size
        for n in range(num):
            frame = np.full((height, width, 3), level, np.uint8)
            half = side * min(size)
            x, y = cx * width + 0.01 * n * rng.choice((1, 1)), cy * height
            if kind == "window":
                box = cv2.boxPoints(((x, y), (2.2 * half, 1.6 * half), turn))
                mask = cv2.fillConvexPoly(np.zeros(size, np.uint8), np.round(box).astype(np.int32), 255)
            else:
                axes = (round(half), round(half * (1.0 if kind == "lamp" else 1.3)))
                mask = cv2.ellipse(np.zeros(size, np.uint8), (round(x), round(y)), axes, turn, 0, 360, 255, -1)
            if kind == "lamp":  # light that falls off
                small = cv2.resize(mask, (width // 8, height // 8), interpolation=cv2.INTER_AREA)
                mask = cv2.resize(cv2.GaussianBlur(small, (0, 0), half / 16), (width, height))
            lit = cv2.resize(texture, size[::-1])
            yield (frame + (lit.astype(np.float32) * mask[..., None] / 255).astype(np.uint8) * 0.85).astype(np.uint8)

    return frames


def play(frames: Sequence[np.ndarray]) -> Shot:
    """A real clip as it is, to and fro where it is short."""

    def shot(size: Size, num: int) -> Iterator[np.ndarray]:
        order = [*range(len(frames)), *range(len(frames) - 2, 0, -1)]
        for n in range(num):
            yield cv2.resize(frames[order[n % len(order)]], size[::-1], interpolation=cv2.INTER_AREA)

    return shot


def noise(rng: np.random.Generator, size: Size, power: float) -> np.ndarray:
    """A picture (H, W, 3) of noise whose amplitude falls with frequency by `power`, as in photographs (about 1)."""
    rows, columns = np.fft.fftfreq(size[0])[:, None] * size[0], np.fft.fftfreq(size[1])[None] * size[1]
    fall = np.maximum(np.hypot(rows, columns), 1.0) ** -power
    parts = [np.fft.ifft2(np.fft.fft2(rng.standard_normal(size)) * fall).real for _ in range(3)]
    grey, mixed = parts[0] / parts[0].std(), [0.35 * part / part.std() for part in parts]
    picture = np.stack([grey + part for part in mixed], -1)
    return np.clip(rng.uniform(80, 160) + rng.uniform(30, 60) * picture, 0, 255).astype(np.uint8)


def landscape(rng: np.random.Generator, size: Size) -> np.ndarray:
    """Sky, ground and a few buildings."""
    made = noise(rng, size, 1.8)
    horizon = round(rng.uniform(0.35, 0.65) * size[0])
    made[horizon:] = (noise(rng, size, 0.9)[horizon:] * rng.uniform(0.4, 0.9, 3)).astype(np.uint8)
    for _ in range(rng.integers(2, 7)):
        left, wide = int(rng.uniform(0, 0.9) * size[1]), int(rng.uniform(0.03, 0.15) * size[1])
        top = horizon - int(rng.uniform(0.05, 0.3) * size[0])
        made[top : horizon + 20, left : left + wide] = made[top : horizon + 20, left : left + wide] // 3 + rng.integers(
            0, 120, 3
        ).astype(np.uint8)
    return made


@cache
def real_clips(folder: Path | None) -> list[list[np.ndarray]]:
    """Frames of each shot of the real clips, at most four seconds of each."""
    clips: list[list[np.ndarray]] = []
    for path in sorted(folder.iterdir()) if folder else ():
        if path.suffix not in (".mp4", ".mkv", ".webm", ".mov"):
            continue
        frames: list[np.ndarray] = []
        with av.open(str(path)) as container:
            decoded: Any = container.decode(container.streams.best("video"))
            for frame in decoded:
                small = frame.to_ndarray(format="rgb24")
                if frames and np.abs(small.astype(np.int16) - frames[-1]).mean() > 25:
                    clips.append(frames)
                    frames = []
                frames.append(np.ascontiguousarray(small))
        clips.append(frames)
    return [frames[: 4 * FPS] for frames in clips if len(frames) >= 10]


def still(rng: random.Random, folder: Path | None) -> tuple[str, np.ndarray]:
    """A photograph, or what is most like one."""
    kind, seed = rng.choice(("frame", "landscape", "noise", "mandelbrot")), rng.randint(0, 10**6)
    numbers = np.random.default_rng(seed)
    clips = [frames for frames in real_clips(folder) if frames[0].std() > 20 and min(frames[0].shape[:2]) >= 180]
    if kind == "frame" and clips:
        frames = rng.choice(clips)
        image = rng.choice(frames)
        factor = 2 * _STILL[0] / min(image.shape[:2])
        return kind, cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    if kind == "mandelbrot":
        made = next(source("mandelbrot", f"start_scale={math.exp(-rng.uniform(0, 4)):.4f}")(_STILL, 1))
        made = np.roll(made, rng.randint(0, 2), 2)
    elif kind == "noise":
        made = noise(numbers, _STILL, rng.uniform(1.0, 1.8))
    else:
        kind, made = "landscape", landscape(numbers, _STILL)
    return kind, cv2.resize(made, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)


def shot(rng: random.Random, folder: Path | None, used: set[str]) -> tuple[str, Shot]:
    """A shot by its name; no source and no real clip twice in a film."""
    kinds = ["still"] * 5 + ["source", "real", "night"]
    while True:
        kind = rng.choice(kinds)
        if kind == "still":
            name, image = still(rng, folder)
            return f"still {name}", camera(image, rng, least=0.02)
        if kind == "night" and kind not in used:
            return kind, night(rng)
        if kind == "source" and (name := rng.choice(list(SOURCES))) not in used:
            return name, source(name)
        if (
            kind == "real"
            and (clips := real_clips(folder))
            and (name := f"real {rng.randrange(len(clips))}") not in used
        ):
            return name, play(clips[int(name[5:])])


def plant(number: int, seed: int, folder: Path | None, side: int | None = None) -> Film:
    """A film: of every five two of one shot, the others of two or three. `side`: shorter side, for trials."""
    rng = random.Random(f"footage|{seed}|{number}")
    size, codec = SHAPES[number % len(SHAPES)], list(CODECS)[number // len(SHAPES) % len(CODECS)]
    if side:
        size = (round(size[0] * side / min(size) / 2) * 2, round(size[1] * side / min(size) / 2) * 2)
    num = 1 if number % 5 in (0, 3) else rng.randint(2, 3)
    used: set[str] = set()
    shots, makes = [], []
    for _ in range(num):
        name, make = shot(rng, folder, used)
        used.add(name)
        length = rng.randint(2 * FPS, 3 * FPS) if num > 1 else rng.randint(3 * FPS, 4 * FPS)
        flash = length // 2 + rng.randint(-2, 2) if rng.random() < 0.2 else None
        shots.append((name, length, flash))
        makes.append(make)
    changes = []
    for n in range(num - 1):
        kind = CHANGES[(number + 2 * n + seed) % len(CHANGES)]
        most = min(28, shots[n][1] // 2 - 6, shots[n + 1][1] // 2 - 6)
        changes.append((kind, 0 if kind == "cut" else rng.randint(10, most)))
    share = rng.choice((0.0, 0.0, 0.0, 0.0, 0.0, rng.uniform(0.06, 0.16)))
    bars = (share, 0.0) if rng.random() < 0.5 else (0.0, share)
    return Film(shots=shots, changes=changes, make=makes, size=size, codec=codec, bars=bars)


def write(film: Film, path: Path, codec: str | None = None) -> Path:
    """The film as a file; its codec, or another one."""
    encoder, options = CODECS[codec or film.codec]
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(encoder, rate=FPS, options=options)
        stream.height, stream.width, stream.pix_fmt = *film.size, "yuv420p"
        for pixels in film.frames():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        container.mux(stream.encode(None))
    return path
