"""From films to a trained model by the lines of docs/curating.md and docs/training.md: generator and captioner, whole
and by adapter, on the shipped starters and recipes, a few steps long."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import t2v.train
import v2t.train
from cineloop.errors import UsageError
from cineloop.training.recipe import read_recipe
from cineloop.world.scenes.corpus import write_world
from v2t_eval.cli import main

pytestmark = pytest.mark.slow
STARTER = Path(t2v.__file__).parent / "starter"
SHORT = ["loop.steps=2", "loop.batch_size=2", "loop.log_every=1", "loop.workers=0", "loop.tensorboard=false"]
CPU = ["runtime.device=cpu", "runtime.precision=fp32"]
CLIPS = [*SHORT, *CPU, "held_out=2", "buckets.max_dropped=0.9"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with `set/`, curated of twelve films of the world, and room for runs; the tests work in it."""
    folder = tmp_path_factory.mktemp("place")
    write_world(12, 0, "train", (64, 64), "8", (2.5, 3.0), folder / "films")
    films, before = folder / "films" / "manifest.jsonl", Path.cwd()
    assert main(["curate", str(films), "-o", str(folder / "set"), "--write", "videofolder,manifest,webdataset"]) == 0
    os.chdir(folder)
    yield folder
    os.chdir(before)


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in map(json.loads, (run / "log.jsonl").read_text().splitlines()) if "loss" in row]


def weights(pipeline: Path, part: str = "transformer") -> dict[str, torch.Tensor]:
    return load_file(next((pipeline / part).glob("*.safetensors")))


def test_the_whole_generator_learns_a_curated_folder(place):
    from t2v.pipeline import CineloopPipeline

    assert t2v.train.run(Path("t2v/clips"), sets=[*CLIPS, "data=[set/videofolder]", "fps=6"]) == 0
    final, before = place / "runs/t2v/clips/final", weights(STARTER)
    assert len(losses(final.parent)) == 2 and np.isfinite(losses(final.parent)).all()
    after = weights(final)
    changed = [name for name, tensor in after.items() if not torch.equal(tensor, before[name].float())]
    assert len(changed) > 0.9 * len(after) and after.keys() == before.keys()
    for name, tensor in weights(STARTER, "vae").items():
        assert torch.equal(weights(final, "vae")[name], tensor)
    pipeline = CineloopPipeline.from_pretrained(final)
    assert pipeline.transformer.config.sample_fps == 6
    drawn = pipeline("a red ball rolls", num_inference_steps=2, generator=torch.Generator().manual_seed(0)).frames
    assert np.asarray(drawn).shape == (1, 17, 64, 64, 3)


def test_a_generator_from_nothing_with_an_autoencoder_of_ones_own(place):
    from t2v.model.vae import AutoencoderKLCineloop

    torch.manual_seed(0)
    AutoencoderKLCineloop(latent_channels=4, widths=(8, 8, 8), depth=1).save_pretrained(place / "vae")
    sets = [*CLIPS, "data=[set/manifest.jsonl]", "vae=vae"]
    with pytest.raises(UsageError, match="vae has 4 channels, the transformer of .* 16"):
        t2v.train.run(Path("t2v/clips"), sets=sets, out=place / "runs/fresh")
    sets += ["fresh=true", "transformer={num_layers: 1}", "loop.optim.optimizer=adamw", "cache=runs/own-cache"]
    assert t2v.train.run(Path("t2v/clips"), sets=sets, out=place / "runs/fresh") == 0
    config = json.loads((place / "runs/fresh/final/transformer/config.json").read_text())
    assert (config["num_layers"], config["in_channels"], config["out_channels"]) == (1, 4, 4)
    assert weights(place / "runs/fresh/final", "vae").keys() == weights(place, "vae").keys()


def test_a_shape_without_fresh_weights_is_refused(place):
    with pytest.raises(UsageError, match="set fresh"):
        read_recipe("t2v.train", Path("t2v/clips"), sets=["transformer={num_layers: 1}"])


def test_resuming_the_whole_generator_equals_going_on(place):
    sets = [*CLIPS, "data=[set/videofolder]", "loop.save_every=1", "loop.keep_last=4"]
    straight, parted = place / "runs/straight", place / "runs/parted"
    assert t2v.train.run(Path("t2v/clips"), sets=sets, out=straight) == 0
    assert t2v.train.run(Path("t2v/clips"), sets=[*sets, "loop.steps=1"], out=parted) == 0
    assert t2v.train.run(Path("t2v/clips"), sets=sets, out=parted, resume=True) == 0
    one, other = weights(straight / "final"), weights(parted / "final")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_generator_is_judged_by_the_clips_of_other_films(place):
    from t2v.train.clips import build_stage

    both = place / "set/manifest.jsonl"
    rows = both.read_text().splitlines(keepends=True)
    for name, part in (("train", rows[:8]), ("val", rows[8:])):
        (place / f"set/{name}.jsonl").write_text("".join(part))
    sets = [*CLIPS, "data=[set/train.jsonl]", "eval_data=[set/val.jsonl]"]
    _, config = read_recipe("t2v.train", Path("t2v/clips"), sets=sets)
    data = build_stage(config).data()
    judged, trained = (
        {n for part in data.judged for n in part},
        {n for _, part in data.source.batches.members for n in part},
    )
    assert judged == {8, 9} and trained == set(range(8))
    with pytest.raises(UsageError, match="nothing is left to train on"):
        build_stage(
            read_recipe("t2v.train", Path("t2v/clips"), sets=[*sets, "data=[set/val.jsonl]", "held_out=99"])[1]
        ).data()


def test_an_adapter_of_the_generator_learns_a_curated_folder(place):
    assert t2v.train.run(Path("t2v/lora"), sets=[*CLIPS, "data=[set/videofolder]"]) == 0
    adapter = load_file(place / "runs/t2v/lora/final/pytorch_lora_weights.safetensors")
    assert any(tensor.abs().max() > 0 for name, tensor in adapter.items() if "lora_B" in name)


@pytest.mark.parametrize("data", ["manifests=[set/manifest.jsonl]", "shards=[set/webdataset]"])
@pytest.mark.parametrize("whole", [False, True])
def test_the_captioner_learns_a_curated_folder(place, data, whole):
    out = place / "runs" / f"captioner-{data.partition('=')[0]}-{whole}"
    sets = [*SHORT, *CPU, data, "eval_clips=2", *(["lora=null"] if whole else [])]
    sets += ["manifests=[]"] if data.startswith("shards") else []
    assert v2t.train.run(Path("starter/lora"), sets=sets, out=out) == 0
    assert np.isfinite(losses(out)).all() and (out / "final" / "model.safetensors").is_file()
    assert (out / "final" / "adapter").is_dir() != whole
