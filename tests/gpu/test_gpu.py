"""What only a CUDA device can show, with the shipped starters: the same answers, clips and losses as on the CPU.

`scripts/gpu-check` runs these and times every training. Half precision may turn a close decision, so answers of bf16
are compared by how many are equal, those of float32 to the letter.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cineloop.video.encode import encode
from cineloop.world.scenes.render import render
from cineloop.world.scenes.sampler import sample_scene

pytestmark = [pytest.mark.gpu, pytest.mark.slow]
DEVICE = "cuda"
NUM = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for number in range(NUM):
        encode(render(sample_scene("seen", 404, number), (128, 128), fps=12), folder / f"{number:02d}.mp4", 12)
    return folder


def captions(folder, out, *flags):
    from v2t.cli import main

    assert main(["caption", str(folder), "-o", str(out), "-q", *flags]) == 0
    rows = [json.loads(line) for line in (out / "captions.jsonl").read_text(encoding="utf-8").splitlines()]
    return {row["id"]: row["caption"] for row in rows}


@pytest.fixture(scope="module")
def on_cpu(folder, tmp_path_factory):
    return captions(folder, tmp_path_factory.mktemp("cpu") / "out", "--device", "cpu", "--dtype", "float32")


def test_captions_are_those_of_the_cpu(folder, on_cpu, tmp_path):
    found = captions(folder, tmp_path / "out", "--device", DEVICE, "--dtype", "float32", "--batch-size", "6")
    equal = sum(found[id] == caption for id, caption in on_cpu.items())
    assert equal >= NUM - 1, [(on_cpu[id], found[id]) for id in on_cpu if found[id] != on_cpu[id]]


def test_bf16_says_nearly_the_same(folder, on_cpu, tmp_path):
    found = captions(folder, tmp_path / "out", "--device", DEVICE, "--dtype", "bfloat16")
    assert sum(found[id] == caption for id, caption in on_cpu.items()) >= NUM * 3 // 4


def test_answers_are_those_of_the_cpu(folder, capsys):
    from v2t.cli import main

    said = []
    for device in ("cpu", DEVICE):
        clip = str(folder / "00.mp4")
        assert main(["ask", clip, "Where does it happen?", "--device", device, "--dtype", "float32", "-q"]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] and said[0].strip()


def test_clips_are_those_of_the_cpu(tmp_path):
    from t2v.pipeline import load_starter

    made = []
    for device in ("cpu", DEVICE):
        pipe = load_starter(device)
        pipe.set_progress_bar_config(disable=True)
        made.append(
            pipe(
                ["A red ball rolls to the right on the beach.", "A blue dog runs to the left in the snow."],
                num_inference_steps=8,
                generator=[torch.Generator().manual_seed(seed) for seed in (1, 2)],
            ).frames
        )
    assert np.abs(made[0] - made[1]).mean() < 0.01


VAE = """
stage: vae
model: {latent_channels: 4, widths: [16, 32, 32], depth: 1}
size: [32, 32]
lengths: [1, 5]
eval_clips: 4
statistics_clips: 32
runtime: {device: DEVICE, precision: PRECISION}
loop: {steps: 6, batch_size: 8, workers: 2, tensorboard: false, log_every: 1, save_every: 3}
"""


@pytest.fixture
def recipe(tmp_path):
    def write(precision):
        path = tmp_path / f"{precision}.yaml"
        path.write_text(
            VAE.replace("DEVICE", DEVICE).replace("PRECISION", precision) + f"out: {tmp_path / precision}\n"
        )
        return path

    return write


def losses(run):
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


def test_training_in_bf16_follows_float32(recipe, tmp_path):
    from t2v import train

    assert train.run(recipe("fp32")) == 0 and train.run(recipe("bf16")) == 0
    assert losses(tmp_path / "bf16") == pytest.approx(losses(tmp_path / "fp32"), rel=0.05)


def test_a_resumed_training_equals_an_uninterrupted_one(recipe, tmp_path):
    from t2v import train

    whole = recipe("fp32")
    assert train.run(whole) == 0
    assert train.run(whole, out=tmp_path / "cut", sets=["loop.max_seconds=1.0e-6"]) == 0  # stops after its first step
    assert train.run(whole, out=tmp_path / "cut", resume=True) == 0
    assert losses(tmp_path / "cut") == pytest.approx(losses(tmp_path / "fp32"), rel=1e-4)
    first, second = (load_file(tmp_path / run / "final/diffusion_pytorch_model.safetensors") for run in ("fp32", "cut"))
    for name, weight in first.items():
        torch.testing.assert_close(second[name], weight, rtol=1e-3, atol=1e-4)


def test_a_hub_model_answers_as_on_the_cpu(folder, tmp_path):
    """A tiny model of a hub family with random weights, through the backend that loads any of them."""
    pytest.importorskip("torchvision", reason="transformers' video processors need torchvision")
    from tiny_video_models import qwen2_5_vl

    torch.manual_seed(1)
    for part in qwen2_5_vl():
        part.save_pretrained(tmp_path / "model")
    flags = ("--model", str(tmp_path / "model"), "--dtype", "float32", "--max-new-tokens", "12", "--frames", "4")
    said = [captions(folder, tmp_path / device, *flags, "--device", device) for device in ("cpu", DEVICE)]
    assert sum(said[1][id] == caption for id, caption in said[0].items()) >= NUM - 1
