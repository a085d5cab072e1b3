"""Small clips for tests that need any clip: in memory, as samples of a metric, as files, as folders of the world.

Clips with exact codecs, times or turns are in `trainer_sets`, films of several shots in `planted_films`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cineloop.video.encode import encode
from cineloop.video.frames import Frames

if TYPE_CHECKING:
    from v2t_eval.core.sample import Sample


def grey(level: int = 0, num: int = 4, *, size: tuple[int, int] = (8, 8), fps: float = 2.0, **about: Any) -> Frames:
    """`num` frames of `size` (H, W), of one level."""
    return Frames.from_pixels(np.full((num, *size, 3), level, np.uint8), fps, **about)


def numbered(count: int, sizes: tuple[int, ...] = (8,)) -> list[Frames]:
    """Black clips of two frames that tell their number by their rate, .5 and up, and have these heights by turns."""
    return [grey(num=2, size=(sizes[i % len(sizes)], 8), fps=i + 0.5) for i in range(count)]


def noise(seed: int = 0, num: int = 6, *, size: tuple[int, int] = (32, 32), fps: float = 2.0) -> Frames:
    """`num` frames of `size` (H, W) of random pixels: no two alike, the same for a seed on every machine."""
    pixels = np.random.default_rng(seed).integers(0, 256, (num, *size, 3), dtype=np.uint8)  # (num, H, W, 3)
    return Frames.from_pixels(pixels, fps)


def appearing(num: int = 8, size: tuple[int, int] = (32, 32)) -> Frames:
    """A white square that is there from the middle of the clip on."""
    pixels = np.zeros((num, *size, 3), np.uint8)  # (num, H, W, 3)
    pixels[num // 2 :, size[0] // 4 : -size[0] // 4, size[1] // 4 : -size[1] // 4] = 255
    return Frames.from_pixels(pixels, 8)


def sample(frames: Frames, id: str = "s", **fields: Any) -> Sample:
    """The clip as a metric gets it."""
    from v2t_eval.core.sample import Sample, SampleClip

    return Sample(id=id, clip=SampleClip.from_frames(frames), **fields)


def write(frames: Frames, path: Path, fps: float | None = None) -> Path:
    """The clip as a file, at its own rate unless another is given; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    encode(frames.pixels, path, frames.fps if fps is None else fps)
    return path


def write_grey(path: Path, level: int = 90, num: int = 4, *, size: tuple[int, int] = (16, 16), fps: float = 4) -> Path:
    """A file of `num` frames of `size` (H, W), of one level."""
    return write(grey(level, num, size=size, fps=fps), path)


def world_files(
    folder: Path, num: int, seed: int, *, size: tuple[int, int] = (96, 96), fps: float = 8, **draw: Any
) -> list[Path]:
    """The first `num` scenes of the seed, each another story, as files by number; `draw` goes to the sampler."""
    from cineloop.world.scenes.render import render
    from cineloop.world.scenes.sampler import sample_scene

    return [
        write(
            Frames.from_pixels(render(sample_scene("seen", seed, number, **draw), size, fps=fps), fps),
            folder / f"{number:02}.mp4",
        )
        for number in range(num)
    ]
