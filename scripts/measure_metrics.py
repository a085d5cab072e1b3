#!/usr/bin/env python
"""How often `camera_motion` reads a camera right, and `near_copies` a copy, on clips that their rules were not made on.

    python scripts/measure_metrics.py camera -o camera.json [--num 40] [--real clips/]
    python scripts/measure_metrics.py near-copies -o near-copies.json [--num 24] [--real clips/]

camera: scenes of the cartoon world's held-out half by style, size and rate (thresholds were set on the other half at
128 x 128 and 8 frames a second), and stills of real footage that ffmpeg pans, tilts and zooms by known amounts.
`right`: the motion that was made is among those seen; `wrong`: of the motions that were not made, asked for in turn,
the share that would have counted as seen. near-copies: a training set of the exact world, copies of its clips of each
kind, and distinct clips of the same prompts by other seeds; the same of parts of real films. `--real`: a folder of
films; their pictures go nowhere. Letters: T frames.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measure_copies import KINDS

from cineloop.errors import ItemError
from cineloop.files import write_atomic
from cineloop.intervals import wilson
from cineloop.video.decode import Request, decode
from cineloop.video.encode import encode
from cineloop.video.frames import Frames
from cineloop.video.sample import SampleSpec
from cineloop.world import vocabulary as words
from cineloop.world.language.words import caption
from cineloop.world.scenes.render import render
from cineloop.world.scenes.sampler import sample_scene
from cineloop.world.scenes.solo import sample_solo
from t2v.generators import ClipRequest
from t2v.generators.world import Generator
from t2v.settings import GenerateSettings
from v2t_eval.core.inputs import read_inputs
from v2t_eval.core.metric import load_metric
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.core.score import ScoreConfig, score
from v2t_eval.metrics.camera_motion import camera_path, visible_motions
from v2t_eval.semantics.camera import MOTIONS

SEED = 2026
LONGEST_S = 8.0
# (name, size, frames a second)
SHAPES = (("64 x 64, 8 a second", (64, 64), 8), ("144 x 256, 12 a second", (144, 256), 12))
STILLS = {"pan left": (1, 0, 0), "pan right": (-1, 0, 0), "tilt up": (0, 1, 0), "tilt down": (0, -1, 0),
          "zoom in": (0, 0, 1), "zoom out": (0, 0, -1), "static": (0, 0, 0)}  # fmt: skip
AMOUNTS = (0.03, 0.08, 0.2)  # of a side that a shift travels; a zoom's edge as much
STILL_SIZE, STILL_S, STILL_FPS = (180, 320), 2.0, 24
WORLD_SIZE = (96, 96)


class CameraTable:
    """Counts of what was made and what was seen."""

    def __init__(self) -> None:
        self.right, self.wrong, self.num = Counter[str](), Counter[str](), Counter[str]()

    def add(self, made: str, seen: list[str], *groups: str) -> None:
        """One clip, under each of its groups; `seen` is [] where the metric gives it no value."""
        for group in groups:
            self.num[group] += 1
            self.num[f"{group} unread"] += not seen
            self.right[group] += made in seen
            self.wrong[group] += sum(motion in seen for motion in MOTIONS if motion != made)

    def rows(self) -> list[dict[str, Any]]:
        """One row a group; `wrong` is a share of all motions that were not made."""
        made = []
        for group, num in self.num.items():
            if group.endswith(" unread"):
                continue
            read = num - self.num[f"{group} unread"]
            low, high = wilson(self.right[group], num)
            made.append({"clips": group, "n": num, "unread": num - read, "right": self.right[group] / num, "low": low,
                         "high": high, "wrong": self.wrong[group] / (num * (len(MOTIONS) - 1))})  # fmt: skip
        return made


def camera(num: int, real: Path | None, place: Path) -> dict[str, Any]:
    """The tables of the camera."""
    world, stills = CameraTable(), CameraTable()
    for number, (shape, size, fps) in enumerate(SHAPES):
        for scene in _scenes(num, SEED + number):  # other scenes for each shape: an interval takes clips as independent
            made = scene.shots[0].camera
            times = np.arange(max(2, round(scene.duration_s * fps))) / fps
            seen = visible(Frames.from_pixels(render(scene, size, times_s=times), fps))
            world.add(made, seen, f"world, {shape}", f"world, {made}", f"world, style {scene.style}")
    for name, picture in _pictures(real):
        for amount in AMOUNTS:
            for made in STILLS:
                if made == "static" and amount != AMOUNTS[0]:
                    continue
                seen = visible(film_of(picture, made, amount, place))
                stills.add(made, seen, "stills, static" if made == "static" else f"stills, {amount:.0%} of a side",
                           *([f"stills, {made}"] if amount == AMOUNTS[-1] else []))  # fmt: skip
        print(name, flush=True)
    return {"motions": list(MOTIONS), "world": world.rows(), "stills": stills.rows()}


def _scenes(num: int, seed: int) -> Iterator[Any]:
    """`num` of each camera, of one shot, held out."""
    counts, index = Counter[str](), 0
    while sum(counts.values()) < num * len(words.CAMERAS):
        scene = sample_scene("unseen", seed, index)
        index += 1
        made = scene.shots[0].camera
        if len(scene.shots) == 1 and scene.duration_s <= LONGEST_S and counts[made] < num:
            counts[made] += 1
            yield scene


def visible(frames: Frames) -> list[str]:
    """What the metric sees; [] where it declines."""
    sample = Sample(id="a", clip=SampleClip.from_frames(frames))
    try:
        path = camera_path(sample)
    except ItemError:
        return []
    return visible_motions(path, float(frames.times_s[-1] - frames.times_s[0]))


def _pictures(real: Path | None) -> Iterator[tuple[str, np.ndarray]]:
    """The picture in the middle of each film, uint8 (H, W, 3)."""
    for path in sorted(real.iterdir()) if real is not None else ():
        try:
            frames = decode(path, Request(spec=SampleSpec(num_frames=3)))
        except ItemError as error:  # notes beside the films
            print(f"{path.name} is left out: {error}")
            continue
        yield path.name, frames.pixels[len(frames) // 2]


def film_of(picture: np.ndarray, made: str, amount: float, place: Path) -> Frames:
    """The picture as ffmpeg's zoompan films it, through H.264: a shift by `amount` of a side, or a growth whose edge
    travels as far. It rounds to whole pixels of its input, which is twice as large as the film for that."""
    import cv2

    height, width = STILL_SIZE
    still, film, num = place / "still.png", place / "film.mp4", round(STILL_S * STILL_FPS)
    cv2.imwrite(str(still), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    x, y, zoom = STILLS[made]
    share = f"(on/{num - 1})"
    growth = float(np.exp(2 * amount))
    base = 1.0 / (1.0 - amount) if x or y else 1.0  # room to travel in
    z = {0: f"{base}", 1: f"pow({growth}\\,{share})", -1: f"pow({growth}\\,1-{share})"}[zoom]
    room = f"{amount}*iw/zoom"
    left = {0: "iw/2-iw/zoom/2", 1: f"{room}*(1-{share})", -1: f"{room}*{share}"}[x]
    top = {
        0: "ih/2-ih/zoom/2",
        1: f"{room.replace('iw', 'ih')}*(1-{share})",
        -1: f"{room.replace('iw', 'ih')}*{share}",
    }[y]
    chain = (
        f"scale={2 * width}:{2 * height}:flags=bicubic,"
        f"zoompan=z={z}:x={left}:y={top}:d={num}:s={width}x{height}:fps={STILL_FPS}"
    )
    command = ["ffmpeg", "-y", "-v", "error", "-i", str(still), "-vf", chain, "-frames:v", str(num), "-threads", "1",
               "-c:v", "libx264", "-crf", "23", "-pix_fmt", "yuv420p", str(film)]  # fmt: skip
    subprocess.run(command, check=True)
    return decode(film, Request(spec=SampleSpec.every_frame()))


# --- copies


def near_copies(num: int, real: Path | None, place: Path) -> dict[str, Any]:
    """Recall by kind of copy, and how often distinct clips are taken for copies."""
    rng = random.Random(f"near copies|{SEED}")
    sets = {"world": _of_world(num, place / "world", rng)}
    if real is not None:
        sets["real"] = _of_films(real, place / "real", rng)
    tables = {}
    for name, kinds in sets.items():
        folder = place / name
        inputs = read_inputs(folder / "made", reference_clips=folder / "training")
        result = score(inputs, [load_metric("near_copies")()], ScoreConfig(cache=place / "cache")).results[0]
        by_id = {Path(item["id"]).stem: item for item in result.items}
        rows = []
        for kind in dict.fromkeys(kinds.values()):
            of = {id: by_id[id] for id, each in kinds.items() if each == kind and id in by_id}
            copies = sum(item["value"] == 1.0 for item in of.values())
            right = sum(Path(item.get("copy_of", "")).stem == id.split("-")[0] for id, item in of.items())
            low, high = wilson(copies, len(of))
            distances = [item["distance"] for item in of.values()]
            row = {"kind": kind, "n": len(of), "copies": copies, "low": low, "high": high, "original named": right}
            shown = {"median distance": np.median(distances), "least": min(distances), "greatest": max(distances)}
            rows.append(row | {key: round(float(value), 4) for key, value in shown.items()})
        tables[name] = {"training clips": result.counts["training_clips"], "table": rows}
    return tables


def _of_world(num: int, place: Path, rng: random.Random) -> dict[str, str]:
    """Training clips of four times `num` prompts; copies of each kind of `num` of them, and a clip of every prompt by
    another seed; returns the kind of each made clip by its name."""
    generator, settings = Generator(), GenerateSettings(height=WORLD_SIZE[0], width=WORLD_SIZE[1])
    kinds = {}
    for number in range(4 * num):
        scene = sample_solo("seen", SEED, number)
        prompt = caption(scene.facts(), "prompt", random.Random(number))
        first, second = (
            generator.generate([ClipRequest(prompt=prompt, seed=seed)], settings)[0].pixels for seed in (1, 2)
        )
        _save(first, place / "training" / f"{number:04d}.mp4")
        _save(second, place / "made" / f"{number:04d}-other.mp4")
        kinds[f"{number:04d}-other"] = "distinct, same prompt"
        if number < num:
            for kind, make in KINDS.items():
                make(first, place / "made" / f"{number:04d}-{kind}.mp4", rng)
                kinds[f"{number:04d}-{kind}"] = kind
    return kinds


def _of_films(real: Path, place: Path, rng: random.Random) -> dict[str, str]:
    """Every second second of each film for training, with copies; the seconds between are distinct clips of it."""
    kinds, number = {}, 0
    for path in sorted(real.iterdir()):
        try:
            frames = decode(path, Request(spec=SampleSpec.every_frame(None, 12.0), size=(144, 256)))
        except ItemError as error:  # notes beside the films
            print(f"{path.name} is left out: {error}")
            continue
        for start in range(0, int(frames.times_s[-1]), 2):
            first, second = (
                frames.pixels[(frames.times_s >= at) & (frames.times_s < at + 1)] for at in (start, start + 1)
            )
            if min(len(first), len(second)) < 12:
                continue
            _save(first, place / "training" / f"{number:04d}.mp4")
            _save(second, place / "made" / f"{number:04d}-other.mp4")
            kinds[f"{number:04d}-other"] = "distinct, same film"
            for kind, make in KINDS.items():
                make(first, place / "made" / f"{number:04d}-{kind}.mp4", rng)
                kinds[f"{number:04d}-{kind}"] = kind
            number += 1
    return kinds


def _save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    encode(pixels, path, 24, crf=20)


def main() -> None:
    """Measure one of the two."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=("camera", "near-copies"))
    parser.add_argument("--num", type=int, default=24, help="scenes of each camera; clips of each kind of copy")
    parser.add_argument("--real", type=Path, help="folder of films")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        made = (camera if args.what == "camera" else near_copies)(args.num, args.real, Path(place))
    write_atomic(args.output, (json.dumps({"num": args.num, "seed": SEED, **made}, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
