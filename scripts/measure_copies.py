"""How often `v2t-eval curate` finds near copies, planted among different clips of the cartoon world.

In: a folder for the clips. Out: for each kind of copy how many were found, and which pairs of different clips were
joined. Planted are: another codec and quality, another size, a crop of 5 % of each side, the mirror image, another
speed (10 % faster or slower), a logo in a corner; most of them by codec and size, so that a recall above .95 can be
shown: 73 found of 73 are the least whose interval of 95 % does. `measure_curate.py` does this too.

    python scripts/measure_copies.py --seed 7
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from cineloop.discovery import discover
from cineloop.intervals import wilson
from cineloop.video.encode import encode
from cineloop.world.scenes.render import render
from cineloop.world.scenes.sampler import sample_scene
from v2t_eval.core.executor import ExecutorConfig
from v2t_eval.curate.recipe import read_plan
from v2t_eval.curate.run import curate

FPS = 24
SIZES = ((144, 256), (180, 320), (192, 256))
CODECS = ("libx265", "libvpx-vp9", "mpeg4")


def shot(rng: random.Random, index: int, size: tuple[int, int], seed: int) -> np.ndarray:
    """2.3 to 4 s of one scene of the world (T, H, W, 3)."""
    num = rng.randint(round(2.3 * FPS), 4 * FPS)
    for attempt in range(100):
        scene = sample_scene("train", seed, index + 10_000 * attempt, seconds=(num / FPS, num / FPS + 0.01))
        if len(scene.shots) == 1:
            return render(scene, size, times_s=np.arange(num) / FPS)
    raise RuntimeError("the world gave no scene of one shot")


def scale(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The frames (T, H, W, 3) at another size (h, w)."""
    return np.stack([cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA) for frame in frames])


def _codec(frames: np.ndarray, path: Path, rng: random.Random) -> None:
    with av.open(str(path.with_suffix(".mkv")), "w") as container:
        name = rng.choice(CODECS)
        stream: Any = container.add_stream(name, rate=FPS)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.bit_rate = "yuv420p", rng.randint(80, 300) * 1000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode(None))


def _scale(frames: np.ndarray, path: Path, rng: random.Random) -> None:
    factor = rng.choice((0.5, 0.75, 1.5))
    height, width = (round(side * factor / 2) * 2 for side in frames.shape[1:3])
    encode(scale(frames, (height, width)), path, FPS, crf=26)


def _crop(frames: np.ndarray, path: Path, rng: random.Random) -> None:
    height, width = frames.shape[1:3]
    y, x = round(0.05 * height), round(0.05 * width)
    encode(scale(frames[:, y : height - y, x : width - x], (height, width)), path, FPS, crf=26)


def _mirror(frames: np.ndarray, path: Path, rng: random.Random) -> None:
    encode(np.ascontiguousarray(frames[:, :, ::-1]), path, FPS, crf=26)


def _speed(frames: np.ndarray, path: Path, rng: random.Random) -> None:
    encode(frames, path, FPS * rng.choice((0.9, 1.1)), crf=26)


def _logo(frames: np.ndarray, path: Path, rng: random.Random) -> None:
    height, width = frames.shape[1:3]
    side, margin = round(rng.uniform(0.08, 0.14) * height), round(0.04 * height)
    y = rng.choice((margin, height - margin - side))
    x = rng.choice((margin, width - margin - 2 * side))
    marked = frames.copy()
    marked[:, y : y + side, x : x + 2 * side] = [rng.randint(0, 255) for _ in range(3)]
    marked[:, y + side // 4 : y + side // 2, x + side // 4 : x + 2 * side - side // 4] = 255
    encode(marked, path, FPS, crf=26)


KINDS: dict[str, Callable[[np.ndarray, Path, random.Random], None]] = {
    "codec": _codec, "scale": _scale, "crop": _crop, "mirror": _mirror, "speed": _speed, "logo": _logo
}  # fmt: skip

ORDER = (*("codec", "scale") * 8, "crop", "mirror", "speed", "logo")


def plant(folder: Path, num: int, num_copies: int, seed: int) -> dict[str, str]:
    """Write `num` clips, of which `num_copies` are copies of others; returns the kind of each copy by its name, which
    is that of its original before the first `-`."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(f"copies|{seed}")
    names = {}
    for number in range(num - num_copies):
        frames = shot(rng, 7000 + number, rng.choice(SIZES), seed)
        encode(frames, folder / f"{number:04d}.mp4", FPS, crf=20)
        if number < num_copies:
            kind = ORDER[number % len(ORDER)]
            names[f"{number:04d}-{kind}"] = kind
            KINDS[kind](frames, folder / f"{number:04d}-{kind}.mp4", rng)
    return names


def main() -> None:
    """Plant, look for copies, compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--clips", type=int, default=400, help="all clips (default: 400)")
    parser.add_argument("--copies", type=int, default=200, help="of them, to plant as copies (default: 200)")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        show(measure_copies(Path(place), args.clips, args.copies, args.seed, args.workers))


def measure_copies(place: Path, num: int, num_copies: int, seed: int, workers: int) -> dict[str, Any]:
    """Recall by kind, and the pairs of different clips that were joined."""
    names = plant(place / "copies", num, num_copies, seed)
    plan = read_plan(None, ["steps=[probe, shape, sharpness, near_copies]"])
    config = ExecutorConfig(workers=workers, cache=place / "copies-set" / ".cineloop")
    done = curate(discover([str(place / "copies")]), plan, place / "copies-set", config, show_progress=True)
    step = next(step for step in plan.steps if step.name == "near_copies")
    joined = {(*sorted((stem(a), stem(b))),): flipped for a, b, flipped in step.known["pairs"]}
    wrong = [pair for pair in sorted(joined) if pair[0].split("-")[0] != pair[1].split("-")[0]]
    figures: dict[str, Any] = {"clips": len(done.sound), "copies": len(names), "wrong": wrong}
    for kind in KINDS:
        of_kind = [name for name, each in names.items() if each == kind]
        hit = sum(joined.get((name.split("-")[0], name)) == (kind == "mirror") for name in of_kind)
        low, high = wilson(hit, len(of_kind))
        figures[kind] = {"found": hit, "n": len(of_kind), "low": low, "high": high}
    return figures


def stem(id: str) -> str:
    """The name of a clip's file without its ending."""
    return Path(id.rpartition("#t=")[0]).stem


def show(figures: dict[str, Any]) -> None:
    """Print the figures as a Markdown table."""
    print(f"\n| copies among {figures['clips']} clips | found | recall |\n|---|---|---|")
    for kind in KINDS:
        one = figures[kind]
        share = f"{one['found'] / one['n']:.3f} [{one['low']:.3f}, {one['high']:.3f}]" if one["n"] else "–"
        print(f"| {kind} | {one['found']} of {one['n']} | {share} |")
    print(f"\npairs of different clips that were joined: {len(figures['wrong'])}")


if __name__ == "__main__":
    main()
