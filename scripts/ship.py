"""Put a trained model into the package as a starter: weights in half precision, with the captioner's domain.

    python scripts/ship.py captioner runs/starter/reinforce/final
    python scripts/ship.py captioner runs/a/final runs/b/final --keep-domain      (the mean of their weights)
    python scripts/ship.py dual runs/starter/contrastive/final                    (then .../contrastive-video/final)
    python scripts/ship.py generator runs/t2v/dit-more/final                      (or the mean of several)

In: the model's folder; the folders of the training stages (`--runs`) for their steps and seconds. Out: `v2t/starter`
with the calibrated domain, `v2t/starter/dual`, or `t2v/starter`, and docs/figures/training-*.json. The cards of
the models get their figures by `scripts/results.py`.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from cineloop.files import write_atomic
from cineloop.video.frames import Frames
from cineloop.video.sample import choose
from cineloop.world.scenes.augment import augmented_frames
from cineloop.world.scenes.render import frame_times
from cineloop.world.scenes.sampler import sample_scene
from t2v import STARTER as GENERATOR
from v2t.backends import abilities, domain
from v2t.backends.abilities import Abilities
from v2t.backends.local import STARTER, Backend
from v2t.model.video_text import WEIGHTS as VIDEO_WEIGHTS
from v2t.model.video_text import VideoTextModel

FIGURES = Path(__file__).resolve().parent.parent / "docs" / "figures"
GENERATOR_LIMIT_MB = 28.0
CAPTIONER_STAGES = (
    *("tower", "language", "align-heads", "align", "instruct"),
    *("align-time", "heads-more", "language-film", "align-all", "judge", "judge-film", "judge-motions", "judge-mixed"),
    *("speak", "reinforce"),
)
GENERATOR_STAGES = "vae-wide,text,dit-images-wide,dit-wide,dit-more"
DUAL_WEIGHTS = "open_clip_model.safetensors"
DUAL_STAGES = ("contrastive", "contrastive-video")
DUAL_FILES = ("open_clip_config.json", "tokenizer.json", "tokenizer_config.json")
# Trained on clips of about eight seconds, and on the prompts of these styles and questions.
STYLES = ("short", "detailed", "timed", "notes")
ABILITIES = Abilities(window_s=8.0, can_summarise=False, styles=STYLES, needs_video=True, vocabulary="world")
DESCRIPTION = "the cartoon world this small model was trained on"


def store_training(model: str, runs: Path, stages: Sequence[str]) -> list[list[str]]:
    """Steps, batch, minutes and device of every stage, and its held-out scores, stored for the card; of a missing run,
    as stored before."""
    stored = FIGURES / f"training-{model}.json"
    before = json.loads(stored.read_text("utf-8")) if stored.exists() else {}
    earlier = {row[0]: row for row in before.get("stages", [])}
    table, curves = [], before.get("curves", {})
    for stage in stages:
        folder = runs / stage
        if not (folder / "log.jsonl").exists():
            table += [earlier[stage]] if stage in earlier else []
            continue
        rows = [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]
        last = [row for row in rows if "loss" in row and "step" in row][-1]
        batch = next(s for s in (folder / "config.yaml").read_text().splitlines() if "batch_size" in s).split(":")[1]
        device = json.loads((folder / "run.json").read_text("utf-8")).get("device", "cpu")
        table.append([stage, str(last["step"]), batch.strip(), f"{last['seconds'] / 60:.0f}", device])
        curves[stage] = [[row["step"] * int(batch), row["eval"]] for row in rows if "eval" in row]
    kept = {"stages": table, "curves": {stage: curves[stage] for stage in stages if stage in curves}}
    write_atomic(stored, (json.dumps(kept, indent=1) + "\n").encode())
    return table


def world_frames(captioner: Backend, split: str, seed: int, num: int) -> Iterator[Frames]:
    """Clips of the world as a decoder would return them, with a codec's marks."""
    for index in range(num):
        scene = sample_scene(split, seed, index)
        rng = np.random.default_rng([seed, index, 3])
        grid = frame_times(scene.duration_s, float(rng.choice([8.0, 12.0, 24.0, 30.0])))
        times = grid[choose(captioner.spec, grid, scene.duration_s)]
        pixels = augmented_frames(scene, captioner.frame_size or (64, 64), times, rng)
        yield Frames(pixels, times, duration_s=scene.duration_s, fps=12.0, decoder="world")


def fit_domain(num_fit: int, num_held_out: int) -> domain.Domain:
    """The shipped model's domain, by clips of its world of two seeds of their own."""
    captioner = Backend("starter")
    captioner.load()

    def features(split: str, seed: int, num: int) -> np.ndarray:
        """Pooled vision features (num, 2 D)."""
        return np.concatenate([captioner.features([frames]) for frames in world_frames(captioner, split, seed, num)])

    fitted = domain.fit(
        features("train", 31, num_fit), features("unseen", 32, num_held_out), quantile=0.995, description=DESCRIPTION
    )
    domain.save(fitted, STARTER)
    return fitted


def set_mean(model: torch.nn.Module, models: Sequence[torch.nn.Module]) -> None:
    """Give `model` the mean of the weights of several of its kind."""
    weights = [each.state_dict() for each in models]
    model.load_state_dict({name: torch.stack([each[name] for each in weights]).mean(0) for name in weights[0]})


def ship_captioner(args: argparse.Namespace) -> None:
    """Copy the captioner in bfloat16, the mean of several ones, and fit its domain."""
    from v2t.model import CineloopForConditionalGeneration, CineloopProcessor

    kept = domain.load(STARTER) if args.keep_domain else None
    for old in STARTER.glob("*"):
        if old.is_file() and old.name != "README.md":  # the dual encoder's folder stays
            old.unlink()
    load = CineloopForConditionalGeneration.from_pretrained
    model = load(args.source[0], dtype=torch.bfloat16)
    set_mean(model, [load(each, dtype=torch.float32) for each in args.source])
    model.save_pretrained(STARTER)
    CineloopProcessor.from_pretrained(args.source[0]).save_pretrained(STARTER)
    write_atomic(STARTER / abilities.FILE_NAME, json.dumps(ABILITIES.to_dict(), indent=2).encode() + b"\n")
    if kept is not None:
        domain.save(kept, STARTER)
    else:
        fit_domain(args.fit, args.held_out)
    store_training("captioner", args.runs, CAPTIONER_STAGES)


def ship_dual(args: argparse.Namespace) -> None:
    """Copy the dual encoder in float16: of stage `contrastive`, or of `contrastive_video`, whose halves must be those
    that are shipped. SystemExit: they are others."""
    from safetensors.torch import load_file, save_file

    target = STARTER / "dual"
    if (args.source / VIDEO_WEIGHTS).exists():
        if (args.source / DUAL_WEIGHTS).read_bytes() != (target / DUAL_WEIGHTS).read_bytes():
            raise SystemExit(f"{args.source} was trained on another dual encoder than {target}")
        VideoTextModel.load(args.source).save(target, torch.float16)
        (target / VIDEO_WEIGHTS).chmod(0o644)
    else:
        weights = {name: value.to(torch.float16) for name, value in load_file(args.source / DUAL_WEIGHTS).items()}
        save_file(weights, target / DUAL_WEIGHTS)
        for name in DUAL_FILES:
            shutil.copyfile(args.source / name, target / name)
    store_training("dual", args.runs, DUAL_STAGES)


def ship_generator(args: argparse.Namespace) -> None:
    """Copy the pipeline in bfloat16, the mean of several ones. SystemExit: their autoencoders differ; larger than the
    package may carry."""
    from t2v.pipeline import CineloopPipeline

    load = CineloopPipeline.from_pretrained
    pipelines = [load(each, dtype=torch.float32, local_files_only=True) for each in args.source]
    pipeline = pipelines[0]
    latents = pipeline.vae.state_dict()
    for path, other in zip(args.source, pipelines, strict=True):
        if any(not torch.equal(latents[name], value) for name, value in other.vae.state_dict().items()):
            raise SystemExit(f"{path} was trained on another autoencoder than {args.source[0]}")
    for part in ("transformer", "text_encoder"):
        set_mean(getattr(pipeline, part), [getattr(each, part) for each in pipelines])
    parts = (pipeline.vae, pipeline.transformer, pipeline.text_encoder)
    tensors = [tensor for part in parts for tensor in (*part.parameters(), *part.buffers())]
    for tensor in tensors:  # by hand: `.to(dtype)` spares what a model keeps in fp32 while it computes
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(torch.bfloat16)
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 1e6
    if size > GENERATOR_LIMIT_MB:
        raise SystemExit(f"the weights are {size:.1f} MB, the package carries {GENERATOR_LIMIT_MB:.0f}")
    card = (GENERATOR / "README.md").read_bytes()
    shutil.rmtree(GENERATOR)
    pipeline.save_pretrained(GENERATOR)
    write_atomic(GENERATOR / "README.md", card)
    for path in GENERATOR.rglob("*"):
        if path.suffix == ".json":  # the path it was trained at is private
            kept = {k: v for k, v in json.loads(path.read_text("utf-8")).items() if k != "_name_or_path"}
            path.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        if path.is_file():
            path.chmod(0o644)
    store_training("generator", args.runs, args.stages.split(","))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for name, ship, runs in (
        ("captioner", ship_captioner, "runs/starter"),
        ("dual", ship_dual, "runs/starter"),
        ("generator", ship_generator, "runs/t2v"),
    ):
        kind = kinds.add_parser(name, help=(ship.__doc__ or "").split(";")[0])
        kind.set_defaults(ship=ship)
        several = None if name == "dual" else "+"
        kind.add_argument("source", type=Path, nargs=several, help="folder of the trained model")
        kind.add_argument("--runs", type=Path, default=Path(runs), help="folder of the training runs")
        if name == "captioner":
            kind.add_argument("--keep-domain", action="store_true", help="the vision tower is the one that is shipped")
            kind.add_argument("--fit", type=int, default=3000, help="clips the domain is fitted on")
            kind.add_argument("--held-out", type=int, default=1000, help="clips its limit is set on")
        elif name == "generator":
            kind.add_argument("--stages", default=GENERATOR_STAGES, help=f"runs it came from ({GENERATOR_STAGES})")
    args = parser.parse_args()
    args.ship(args)
    print(f"{args.kind}: copied; now `scripts/results.py measure` and `scripts/results.py write`")


if __name__ == "__main__":
    main()
