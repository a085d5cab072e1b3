"""Measure how well a generator does what its prompts ask, by the referee that reads clips back (`t2v.obedience`).

In: a model folder (the starter by default), or none: `--renders` judges the renderer's own clips (the referee itself),
`--reconstructions` those after the autoencoder (the ceiling of any generator on it). Out: Markdown on stdout and, with
-o, JSON. Per split (`seen`: known combinations, new scenes; `unseen`: held-out combinations; `wording`: held-out
wordings) and factor the share right with its 95 % Wilson interval, the share that could not be read, and chance: the
same clips compared with others' prompts. Controls: clips of the empty prompt compared with the prompts; distance to the
nearest of the training clips beside that of held-out real clips; spread of start and size over 16 seeds of a prompt
beside the renderer's; velocity and motion energy beside the real ones. `--mp4` judges what is left after the codec.

    python scripts/measure_generator.py --prompts 256 --seeds 2 -o generator.json
    python scripts/measure_generator.py --model runs/t2v/dit/final --splits seen --prompts 64
    python scripts/measure_generator.py --renders --prompts 1000 --seeds 1 --mp4

Letters: n clips, T frames, H W size.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cineloop.world import vocabulary as words
from cineloop.world.referee.read import MUDDY, ReadBack, read_back
from cineloop.world.scenes.scene import Scene
from cineloop.world.scenes.solo import FPS
from cineloop.world.scenes.stories import PACE
from t2v.data.world import TIMES_S, prompt_of, render_scenes, solo_scene, to_video
from t2v.obedience import PromptFactors, chance, compare, motion_of, prompt_factors, table

SPLITS = ("seen", "unseen", "wording")
SIZE = (64, 64)
TINY = (5, 16, 16)  # frames, rows, columns of a clip when distances are measured
Maker = Callable[[Sequence[str], Sequence[Scene], Sequence[int]], np.ndarray]  # -> uint8 (n, T, H, W, 3)


@dataclass
class Clips:
    """What was made for some prompts: what was read of each, what was asked, and the clips very small."""

    reads: list[ReadBack] = field(default_factory=list)
    wants: list[PromptFactors] = field(default_factory=list)
    scenes: list[Scene] = field(default_factory=list)
    tiny: list[np.ndarray] = field(default_factory=list)
    energy: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, frames: np.ndarray, want: PromptFactors, scene: Scene) -> None:
        """Read one clip, uint8 (T, H, W, 3)."""
        self.reads.append(read_back(frames, TIMES_S[: len(frames)]))
        self.wants.append(want)
        self.scenes.append(scene)
        self.tiny.append(shrunk(frames))
        self.energy.append(motion_energy(frames))


def shrunk(frames: np.ndarray) -> np.ndarray:
    """A clip (T, H, W, 3) as float32 (t · h · w · 3,) of `TINY` size, for distances."""
    which = np.linspace(0, len(frames) - 1, TINY[0]).round().astype(int)
    small = [cv2.resize(frames[t], TINY[:0:-1], interpolation=cv2.INTER_AREA) for t in which]
    return np.stack(small).astype(np.float32).ravel()


def motion_energy(frames: np.ndarray) -> float:
    """Mean difference of neighbouring frames, in levels."""
    return float(np.abs(np.diff(frames.astype(np.int16), axis=0)).mean())


# --- where clips come from
def renders(prompts: Sequence[str], scenes: Sequence[Scene], seeds: Sequence[int]) -> np.ndarray:
    """The renderer's own clips."""
    return render_scenes(scenes, SIZE)


def open_reconstructions(folder: Path, device: str) -> Maker:
    """Real clips after the autoencoder in `folder` (or in its `vae`)."""
    import torch

    from t2v.model.vae import AutoencoderKLCineloop

    vae = AutoencoderKLCineloop.from_pretrained(folder / "vae" if (folder / "vae").is_dir() else folder)
    vae = vae.to(device).eval()

    @torch.no_grad()
    def make(prompts: Sequence[str], scenes: Sequence[Scene], seeds: Sequence[int]) -> np.ndarray:
        video = to_video(renders(prompts, scenes, seeds)).to(device)
        back = vae.decode_normalized(vae.encode_normalized(video)).float().cpu()  # (n, 3, T, H, W)
        pixels = (back.clamp(-1, 1) + 1) * 127.5
        return pixels.round().to(torch.uint8).permute(0, 2, 3, 4, 1).numpy()  # (n, T, H, W, 3)

    return make


def open_pipeline(folder: Path | None, device: str, steps: int, guidance: float) -> Maker:
    """The generator in `folder`, or the starter."""
    import torch

    from t2v.pipeline import CineloopPipeline, load_starter

    pipeline = load_starter(device) if folder is None else CineloopPipeline.from_pretrained(folder).to(device)
    pipeline.set_progress_bar_config(disable=True)

    def make(prompts: Sequence[str], scenes: Sequence[Scene], seeds: Sequence[int]) -> np.ndarray:
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        frames = pipeline(
            prompt=list(prompts), num_inference_steps=steps, guidance_scale=guidance, generator=generators
        ).frames  # (n, T, H, W, 3) in [0, 1]
        return np.rint(np.clip(frames, 0, 1) * 255).astype(np.uint8)

    return make


def through_mp4(frames: np.ndarray) -> np.ndarray:
    """What is left of a clip (T, H, W, 3) after the project's own encoding."""
    from cineloop.video.decode import Request, decode
    from cineloop.video.encode import encode
    from cineloop.video.sample import SampleSpec

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        encode(frames, path, FPS)
        return decode(path, Request(spec=SampleSpec(num_frames=len(frames)), threads=1)).pixels


# --- measuring
def judge_clips(
    make: Maker, prompts: Sequence[str], scenes: Sequence[Scene], seeds: Sequence[int], args: argparse.Namespace
) -> Clips:
    """Make the clips of some prompts in batches and read them back; compare each with its scene's facts and prompt."""
    clips = Clips()
    for start in range(0, len(prompts), args.batch):
        part = slice(start, start + args.batch)
        began = time.perf_counter()
        frames = make(prompts[part], scenes[part], seeds[part])
        clips.seconds += time.perf_counter() - began
        for clip, prompt, scene in zip(frames, prompts[part], scenes[part], strict=True):
            want = prompt_factors(scene.facts(), prompt or None)
            clips.add(through_mp4(clip) if args.mp4 else clip, want, scene)
        print(f"  {min(start + args.batch, len(prompts))} of {len(prompts)} clips", file=sys.stderr)
    return clips


def scenes_of(split: str, args: argparse.Namespace, count: int) -> tuple[list[Scene], list[str]]:
    """Scenes and prompts of a split of this script."""
    scenes = [solo_scene("seen" if split == "wording" else split, args.seed, i) for i in range(count)]
    unseen = split == "wording"
    return scenes, [prompt_of(s, args.seed, i, unseen_wording=unseen) for i, s in enumerate(scenes)]


def measure_split(make: Maker, split: str, args: argparse.Namespace) -> tuple[Clips, dict[str, Any]]:
    """Obedience on one split: clips, and figures as data."""
    scenes, prompts = scenes_of(split, args, args.prompts)
    print(f"{split}: {args.prompts} prompts x {args.seeds} seeds", file=sys.stderr)
    several = [(p, s, args.seed * 1000 + k) for k in range(args.seeds) for p, s in zip(prompts, scenes, strict=True)]
    clips = judge_clips(make, [p for p, _, _ in several], [s for _, s, _ in several], [k for _, _, k in several], args)
    verdicts = [compare(read, want) for read, want in zip(clips.reads, clips.wants, strict=True)]
    rows = table(verdicts, chance(clips.reads, clips.wants))
    return clips, {"num": len(verdicts), "factors": [asdict(r) | {"share": r.share} for r in rows], **look(clips)}


def look(clips: Clips) -> dict[str, Any]:
    """How the clips look and move, whatever was asked."""
    errors = [e for r, w in zip(clips.reads, clips.wants, strict=True) for e in velocity_error(r, w)]
    persists = [f.persists for r in clips.reads for f in r.figures[:1] if f.persists is not None]
    real = [motion_energy(clip) for clip in render_scenes(clips.scenes[:64], SIZE)]
    return {
        "muddiness": float(np.mean([r.muddiness for r in clips.reads])),
        "muddy": float(np.mean([r.muddiness > MUDDY for r in clips.reads])),
        "persists": float(np.mean(persists)) if persists else None,
        "velocity_error_px_per_frame": float(np.mean(errors)) if errors else None,
        "motion_energy": float(np.mean(clips.energy)),
        "motion_energy_real": float(np.mean(real)),
        "seconds_per_clip": clips.seconds / max(len(clips.reads), 1),
    }


def velocity_error(read: ReadBack, want: PromptFactors) -> list[float]:
    """How far the speed of a traveller lies outside what was asked for, in pixels a frame; nothing for the others."""
    speed = {"walk": "slow", "run": "fast"}.get(want.action or "", want.speed)
    if not read.figures or read.figures[0].pace is None or speed is None or motion_of(want.action or "") != "travel":
        return []
    low, high = PACE[speed]
    pace = read.figures[0].pace
    return [max(low - pace, pace - high, 0.0) * SIZE[1] / FPS]


def unconditional(make: Maker, clips: Clips, args: argparse.Namespace) -> dict[str, Any]:
    """Clips of the empty prompt compared with the prompts: what a generator gets that does not listen."""
    count = min(len(clips.reads), args.prompts, 128)
    empty = judge_clips(make, [""] * count, clips.scenes[:count], list(range(count)), args)
    verdicts = [compare(read, want) for read, want in zip(empty.reads, clips.wants, strict=False)]
    return {"num": count, "factors": [asdict(r) | {"share": r.share} for r in table(verdicts)], **look(empty)}


def nearest(clips: Clips, args: argparse.Namespace) -> dict[str, Any]:
    """Distance of each clip to the nearest of the training clips (levels a value), and that of real held-out clips."""
    train = np.stack([shrunk(renders([], [solo_scene("train", args.train_seed, i)], [])[0]) for i in range(args.train)])
    held_out = np.stack([shrunk(clip) for clip in render_scenes(clips.scenes[: args.prompts], SIZE)])

    def distances(some: np.ndarray) -> np.ndarray:
        square = (some**2).sum(1)[:, None] - 2 * some @ train.T + (train**2).sum(1)[None]
        return np.sqrt(np.maximum(square.min(axis=1), 0) / some.shape[1])

    made, real = distances(np.stack(clips.tiny)), distances(held_out)
    return {
        "train_clips": args.train,
        "made": [float(np.percentile(made, q)) for q in (5, 50, 95)],
        "held_out": [float(np.percentile(real, q)) for q in (5, 50, 95)],
        "closer_than_any_held_out": float((made < real.min()).mean()),
    }


def diversity(make: Maker, args: argparse.Namespace) -> dict[str, Any]:
    """Spread of start and size over 16 seeds of a prompt, and the renderer's over scenes of the same prompt."""
    scenes, prompts = scenes_of("seen", args, args.diversity)
    pool = [solo_scene("train", args.train_seed, i) for i in range(4000)]
    made, real = [], []
    for scene, prompt in zip(scenes, prompts, strict=True):
        clips = judge_clips(make, [prompt] * 16, [scene] * 16, list(range(16)), args)
        made.append(spread([(f.x, f.y, f.height) for r in clips.reads for f in r.figures[:1]]))
        same = [s for s in pool if alike(s, scene, clips.wants[0])]
        real.append(spread([(s.actors[0].x, s.actors[0].y, words.SIZES[s.actors[0].size]) for s in same]))
    both = np.nanmean(np.array([made, real]), axis=1)  # (2, 3)
    return {"prompts": args.diversity, "made": both[0].tolist(), "renderer": both[1].tolist()}


def spread(values: Sequence[tuple[float, float, float]]) -> list[float]:
    """Standard deviations of x, y and height; NaN of fewer than two."""
    return np.std(np.array(values), axis=0).tolist() if len(values) > 1 else [float("nan")] * 3


def alike(scene: Scene, other: Scene, want: PromptFactors) -> bool:
    """Whether two scenes lay their figure out by the same rules, as far as the prompt tells."""
    a, b = scene.events[0], other.events[0]
    same_way = motion_of(a.action) == motion_of(b.action) and a.direction == b.direction
    flies = (scene.actors[0].kind in words.FLYERS) == (other.actors[0].kind in words.FLYERS)
    pace = (a.travel / (a.end_s - a.start_s) > 0.2) == (b.travel / (b.end_s - b.start_s) > 0.2)
    return same_way and flies and pace and want.size in (None, scene.actors[0].size)


# --- telling
def markdown(result: dict[str, Any]) -> str:
    """All figures as Markdown tables."""
    splits = result["splits"]
    lines = [f"{result['what']}; {result['settings']}", ""]
    lines += ["| factor | " + " | ".join(f"{s} (n = {splits[s]['num']})" for s in splits) + " |"]
    lines += ["|---|" + "---|" * len(splits)]
    names = [row["factor"] for row in next(iter(splits.values()))["factors"]]
    for name in dict.fromkeys(names):
        cells = [next((cell(r) for r in splits[s]["factors"] if r["factor"] == name), "") for s in splits]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for key in ("muddiness", "muddy", "persists", "velocity_error_px_per_frame", "motion_energy", "motion_energy_real"):
        values = ["" if splits[s][key] is None else f"{splits[s][key]:.3f}" for s in splits]
        lines.append(f"| {key.replace('_', ' ')} | " + " | ".join(values) + " |")
    lines += [
        "",
        "Share right (Wilson 95 %; chance: compared with other prompts; unread: of those wrong, not readable).",
    ]
    for name in ("unconditional", "nearest", "diversity"):
        if name in result:
            lines += ["", f"{name}: {as_text(result[name])}"]
    return "\n".join(lines)


def cell(row: dict[str, Any]) -> str:
    """One share with its interval."""
    chance_of = "" if row["chance"] is None else f"; chance {row['chance']:.1%}"
    unread = f"; unread {row['unread']}" if row["unread"] else ""
    return f"{row['share']:.1%} ({row['low']:.1%} to {row['high']:.1%}{chance_of}{unread})"


def as_text(data: dict[str, Any]) -> str:
    """A control in one line."""
    if "factors" in data:
        return ", ".join(f"{r['factor']} {r['share']:.1%}" for r in data["factors"])
    rounded = {k: [round(x, 3) for x in v] if isinstance(v, list) else v for k, v in data.items()}
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in rounded.items())


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="pipeline folder (or, with --reconstructions, an autoencoder's)")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--renders", action="store_true", help="judge the renderer: the referee itself")
    source.add_argument("--reconstructions", action="store_true", help="judge real clips after the autoencoder")
    parser.add_argument("--mp4", action="store_true", help="judge after the codec")
    parser.add_argument("--splits", default=",".join(SPLITS), help="some of " + ", ".join(SPLITS))
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=11, help="of the stream of prompts")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--train", type=int, default=5000, help="training clips looked through; 0 leaves this out")
    parser.add_argument("--train-seed", type=int, default=1, help="seed of the training stream")
    parser.add_argument("--diversity", type=int, default=8, help="prompts of 16 seeds; 0 leaves this out")
    parser.add_argument("-o", "--output", type=Path, help="JSON")
    args = parser.parse_args()
    splits = args.splits.split(",")
    if set(splits) - set(SPLITS):
        parser.error(f"--splits must be some of {', '.join(SPLITS)}, got {args.splits}")
    folder = args.model
    if args.renders:
        what, make = "renders", renders
    elif args.reconstructions:
        from t2v.pipeline import STARTER

        what, make = "reconstructions", open_reconstructions(folder or STARTER, args.device)
    else:
        what, make = str(folder or "the starter"), open_pipeline(folder, args.device, args.steps, args.guidance)
    result = run(make, what, splits, args)
    print(markdown(result))
    if args.output:
        args.output.write_text(json.dumps(result, indent=1) + "\n")


def run(make: Maker, what: str, splits: Sequence[str], args: argparse.Namespace) -> dict[str, Any]:
    """All figures as data."""
    generated = not (args.renders or args.reconstructions)
    codec = ", after mp4" if args.mp4 else ""
    settings = f"{args.prompts} prompts x {args.seeds} seeds, stream {args.seed}{codec}"
    settings += f", {args.steps} steps, guidance {args.guidance}" if generated else ""
    result: dict[str, Any] = {"what": what, "settings": settings, "splits": {}}
    clips = Clips()
    for split in splits:
        made, result["splits"][split] = measure_split(make, split, args)
        clips = made if split == splits[0] else clips
    if generated:
        result["unconditional"] = unconditional(make, clips, args)
    if args.train:
        result["nearest"] = nearest(clips, args)
    if args.diversity and generated:
        result["diversity"] = diversity(make, args)
    return result


if __name__ == "__main__":
    main()
