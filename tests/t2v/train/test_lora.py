"""Adapter training from end to end at tiny width: eight clips and pictures, our transformer and Wan's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from diffusers import (
    DiffusionPipeline,
    WanPipeline,
    WanTransformer3DModel,
)
from PIL import Image

from cineloop.errors import NothingMatchedError, UsageError
from cineloop.training.recipe import read_recipe
from cineloop.video.encode import encode
from t2v import train
from t2v.data.buckets import Bucket
from t2v.lora import load_lora
from t2v.train.families import open_family
from tiny_pipelines import WORDS

pytest_plugins = ["tiny_pipelines"]
RECIPE = Path(__file__).resolve().parents[3] / "configs/full/t2v-lora.yaml"


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Six clips and two pictures with their words beside them."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    for number in range(8):
        pixels = np.full((5, 32, 32, 3), rng.integers(0, 255, 3), np.uint8)
        for frame in range(5):
            pixels[frame, 8:16, 4 * frame : 4 * frame + 8] = rng.integers(0, 255, 3)
        if number < 6:
            encode(pixels, folder / f"{number}.mp4", 8)
        else:
            Image.fromarray(pixels[0]).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(" ".join(rng.choice(WORDS, 4)))
    return folder


def recipe(tmp_path: Path, model: Path, clips: Path, **more) -> Path:
    tree = {
        "stage": "lora", "out": str(tmp_path / "run"), "model": str(model), "data": [str(clips)],
        "cache": str(tmp_path / "cache"), "fps": 8.0, "held_out": 2, "rank": 2, "alpha": 4.0,
        "buckets": {"sizes": [[32, 32]], "lengths": [1, 5]},
        "loop": {"steps": 6, "batch_size": 2, "workers": 0, "save_every": 3, "log_every": 1, "tensorboard": False,
                 "optim": {"base_lr": 0.02, "warmup_steps": 0}},
        "runtime": {"device": "cpu", "precision": "fp32"},
    }  # fmt: skip
    for key, value in more.items():
        tree[key] = {**tree[key], **value} if isinstance(tree.get(key), dict) else value
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def frames_of(pipeline, **more) -> np.ndarray:
    return pipeline(
        "a red ball rolls", num_frames=5, height=32, width=32, num_inference_steps=3, guidance_scale=2.0,
        generator=torch.Generator().manual_seed(0), output_type="np", **more,
    ).frames  # fmt: skip


def rows_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(ours, clips, tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("trained")
    samples = {"prompts": ["a red ball rolls", "a blue box jumps"], "steps": 2}
    path = recipe(place, ours, clips, samples=samples, loop={"eval_every": 3, "workers": 1})
    assert train.run(path) == 0
    return place


@pytest.mark.slow
def test_a_lora_changes_the_output_and_loads_in_plain_diffusers(trained, ours, wan):
    pipeline = DiffusionPipeline.from_pretrained(ours)  # plain diffusers, our package installed
    before = frames_of(pipeline)
    file = trained / "run/final/pytorch_lora_weights.safetensors"
    pipeline.transformer.load_lora_adapter(file.parent, weight_name=file.name, adapter_name="mine")
    after = frames_of(pipeline)
    assert np.abs(after - before).max() > 1e-3
    pipeline.transformer.delete_adapters("mine")
    assert np.array_equal(frames_of(pipeline), before)
    report = load_lora(pipeline.transformer, file)
    assert np.allclose(frames_of(pipeline), after, atol=1e-5) and report.matched == 2 * 4 * 2 * 2
    with pytest.raises((NothingMatchedError, UsageError), match="of 32 keys match"):
        load_lora(WanTransformer3DModel.from_pretrained(wan, subfolder="transformer"), file)


@pytest.mark.slow
def test_the_run_folder_tells_what_happened(trained):
    rows = rows_of(trained / "run")
    judged = [row["eval"] for row in rows if "eval" in row]
    assert [row["step"] for row in rows if "eval" in row] == [3, 6]
    assert all({"score", "loss", "loss_bin0", "loss_bin7", "samples_motion"} <= each.keys() for each in judged)
    assert all(each["samples"] == 2 and each["samples_failed"] == 0 for each in judged)
    assert sorted(p.name for p in (trained / "run/samples/step-00000003").iterdir()) == [
        "000.mp4", "001.mp4", "prompts.txt"
    ]  # fmt: skip
    assert not list((trained / "run/checkpoints").glob("**/*.pt"))


@pytest.mark.slow
def test_training_lowers_the_loss_on_clips_it_sees(ours, clips, tmp_path):
    path = recipe(tmp_path, ours, clips, held_out=0, rank=8, alpha=8.0, text_dropout=0.0, buckets={"lengths": [5]},
                  loop={"steps": 30, "batch_size": 6, "save_every": 0})  # fmt: skip
    assert train.run(path, sets=["buckets.max_dropped=0.3"]) == 0
    losses = [row["loss"] for row in rows_of(tmp_path / "run") if "loss" in row]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:2])


@pytest.mark.slow
def test_the_second_run_reads_the_cache_and_resume_is_exact(trained, ours, clips, tmp_path, monkeypatch):
    again = recipe(tmp_path, ours, clips, cache=str(trained / "cache"))
    run = tmp_path / "run"
    monkeypatch.setattr("t2v.train.families.ModelFamily.load_vae", None)  # would fail: nothing is to be encoded
    monkeypatch.setattr("t2v.train.families.ModelFamily.load_text_encoder", None)
    sets = ["samples.prompts=[a red ball rolls]", "samples.seconds=0"]
    assert train.run(again, sets=sets) == 0
    straight = [row for row in rows_of(run) if "loss" in row]
    for step in ("step-00000006", "best-00000006"):
        shutil.rmtree(run / "checkpoints" / step)
    assert train.run(again, sets=sets, resume=True) == 0
    resumed = [row for row in rows_of(run) if "loss" in row]
    assert [row["loss"] for row in resumed] == [row["loss"] for row in straight]
    assert [row["grad_norm"] for row in resumed] == [row["grad_norm"] for row in straight]


@pytest.mark.slow
def test_a_changed_autoencoder_or_clip_is_encoded_anew(trained, ours, clips, tmp_path):
    from t2v.train.lora import build_stage

    def keys(**more) -> set[str]:
        _, config = read_recipe("t2v.train", recipe(tmp_path, ours, clips, cache=str(trained / "cache"), **more))
        return {clip.latents for clip in build_stage(config).data().source.clips}

    first = keys()
    assert keys() == first
    assert not keys(fps=4.0, buckets={"lengths": [1]}) & first
    path = ours / "vae/config.json"
    text = path.read_text()
    try:
        path.write_text(text.replace('"latents_std": null', '"latents_std": [2, 2, 2, 2]'))
        assert path.read_text() != text and not keys() & first
    finally:
        path.write_text(text)


@pytest.mark.slow
def test_samples_cannot_kill_a_run(ours, clips, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("t2v.train.families.ModelFamily.pipeline", lambda *_: 1 / 0)
    assert train.run(recipe(tmp_path, ours, clips, samples={"prompts": ["a red ball"]}, loop={"steps": 1})) == 0
    (row,) = [row["eval"] for row in rows_of(tmp_path / "run") if "eval" in row]
    assert row["samples"] == 0 and row["samples_failed"] == 1


@pytest.mark.slow
def test_wan_learns_too(wan, clips, tmp_path):
    """What is trained is what Wan's own pipeline asks its transformer; the adapter loads there."""
    path = recipe(tmp_path, wan, clips, samples={"prompts": ["a red ball"], "steps": 2}, loop={"steps": 2})
    assert train.run(path) == 0
    (row,) = [row["eval"] for row in rows_of(tmp_path / "run") if "eval" in row]
    assert row["samples"] == 1
    pipeline = WanPipeline.from_pretrained(wan)
    before = frames_of(pipeline, max_sequence_length=512)
    pipeline.load_lora_weights(tmp_path / "run/final")
    assert np.abs(frames_of(pipeline, max_sequence_length=512) - before).max() > 1e-4


@pytest.mark.slow
def test_wans_text_and_latents_are_those_of_its_pipeline(wan):
    family = open_family(str(wan))
    pipeline = WanPipeline.from_pretrained(wan)
    text = family.collate([family.embed(family.load_text_encoder("cpu", torch.float32), "a red ball")])
    theirs, _ = pipeline.encode_prompt("a red ball", do_classifier_free_guidance=False, max_sequence_length=512)
    assert torch.allclose(text["embeds"], theirs, atol=1e-5)
    pixels = np.random.default_rng(0).integers(0, 255, (5, 32, 32, 3)).astype(np.uint8)
    latents = family.encode(pipeline.vae, pixels)
    config = pipeline.vae.config
    mean, std = (torch.tensor(values).view(-1, 1, 1, 1) for values in (config.latents_mean, config.latents_std))
    video = torch.from_numpy(pixels).permute(3, 0, 1, 2)[None] / 127.5 - 1
    with torch.no_grad():
        assert torch.allclose(latents * std + mean, pipeline.vae.encode(video).latent_dist.mode()[0], atol=1e-5)
    assert latents.shape == family.latent_shape(Bucket(5, 32, 32))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"buckets": {"lengths": [1, 6]}}, "4k \\+ 1"),
        ({"buckets": {"size_step": 8, "sizes": [[24, 24]]}}, "this model takes multiples of 16, got 24"),
        ({"target": ["to_w"]}, "fits no layer; layers end in .*attn1.to_k"),
        ({"held_out": 8}, "nothing is left to train on"),
    ],
)
def test_what_cannot_work_is_said(ours, clips, tmp_path, more, says):
    with pytest.raises(UsageError, match=says):
        train.run(recipe(tmp_path, ours, clips, **more))


def test_a_model_of_another_family_is_refused(tmp_path, clips, wan):
    (tmp_path / "m/transformer").mkdir(parents=True)
    (tmp_path / "m/transformer/config.json").write_text('{"_class_name": "MochiTransformer3DModel"}')
    with pytest.raises(UsageError, match="has a MochiTransformer3DModel; adapters are trained for Cineloop"):
        train.run(recipe(tmp_path, tmp_path / "m", clips))
    with pytest.raises(UsageError, match="no pipeline in diffusers layout"):
        train.run(recipe(tmp_path, clips, clips))
    config = (wan / "transformer/config.json").read_text()
    (tmp_path / "m/transformer/config.json").write_text(config)
    (tmp_path / "m/vae").mkdir()
    (tmp_path / "m/vae/config.json").write_text((wan / "vae/config.json").read_text())
    (tmp_path / "m/model_index.json").write_text('{"transformer_2": ["diffusers", "WanTransformer3DModel"]}')
    with pytest.raises(UsageError, match="two experts"):
        train.run(recipe(tmp_path, tmp_path / "m", clips))
