"""The project's own generator: a tiny random pipeline in place of the starter, through the command and directly."""

from __future__ import annotations

import json
import logging
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMPipeline, FlowMatchEulerDiscreteScheduler, UNet2DModel
from PIL import Image

from cineloop.errors import MissingDependencyError, UsageError
from cineloop.video.decode import decode
from cineloop.world.scenes.solo import prompt, sample_solo
from t2v.cli import main
from t2v.generators import ClipRequest, dit, open_generator
from t2v.model.dit import CineloopTransformer3DModel
from t2v.model.text import CineloopTextConfig, CineloopTextModel, build_tokenizer, world_words
from t2v.model.vae import AutoencoderKLCineloop
from t2v.pipeline import CineloopPipeline
from t2v.settings import GenerateSettings

BALL = "A red ball rolls to the left on the beach."
STEPS = GenerateSettings(steps=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    tokenizer = build_tokenizer(world_words())
    text = CineloopTextModel(
        CineloopTextConfig(vocab_size=len(tokenizer), hidden_size=16, num_layers=1, num_heads=2)
    ).eval()
    transformer = CineloopTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=4,
        text_dim=16,
        pooled_dim=16,
        freq_dim=16,
        ffn_dim=32,
        num_layers=1,
        zero_init=False,
        sample_height=32,
        sample_width=48,
        sample_frames=5,
        sample_fps=8.0,
    ).eval()
    vae = AutoencoderKLCineloop(latent_channels=4, widths=(8, 8, 8), depth=1).eval()
    path = tmp_path_factory.mktemp("ours")
    CineloopPipeline(vae, transformer, FlowMatchEulerDiscreteScheduler(), text, tokenizer).save_pretrained(path)
    return path


@pytest.fixture
def starter(folder, monkeypatch):
    """The tiny pipeline in the starter's place."""
    monkeypatch.setattr(dit, "STARTER", folder)
    return open_generator("dit", device="cpu")


@pytest.mark.long
@pytest.mark.slow
def test_the_command_makes_clips_and_warns_of_strange_words(starter, tmp_path, capsys):
    command = [
        "generate",
        BALL,
        "A dragon eats a red ball.",
        "-o",
        str(tmp_path / "out"),
        "--steps",
        "2",
        "--json",
    ]
    assert main([*command, "--num-frames", "8"]) == 0
    said = capsys.readouterr()
    assert "making 9 frames of 48x32" in said.err and said.err.count("making") == 1
    assert "knows only its cartoon world: not the words 'dragon', 'eats'" in said.err
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [line["type"] for line in lines] == ["clip", "clip", "summary"] and lines[2]["made"] == 2
    assert "warnings" not in lines[0] and "dragon" in lines[1]["warnings"][0]["message"]
    first = lines[0]
    assert first["model"] == "starter" and first["fps"] == 8.0 and first["settings"]["guidance"] == 2.0
    assert decode(tmp_path / "out" / first["path"]).pixels.shape == (9, 32, 48, 3)
    assert main([*command, "--num-frames", "8"]) == 0 and json.loads(capsys.readouterr().out)["skipped"] == 2


@pytest.mark.slow
def test_a_clip_is_the_same_alone_in_a_batch_and_on_another_day(starter, folder):
    requests = [ClipRequest(prompt=BALL, seed=1), ClipRequest(prompt="A blue box.", seed=2, negative_prompt="red")]
    steps = []
    both = starter.generate(requests, STEPS, lambda done, total: steps.append((done, total)))
    assert steps[-1] == (2, 2)
    alone = open_generator("dit", model=str(folder), device="cpu").generate(requests[1:], STEPS)[0]
    assert np.abs(both[1].pixels.astype(int) - alone.pixels).max() <= 1
    other = starter.generate([ClipRequest(prompt="A blue box.", seed=2)], STEPS)[0]
    assert np.abs(other.pixels.astype(int) - alone.pixels).max() > 1  # the negative prompt counts


@pytest.mark.slow
def test_the_first_frame_is_kept(starter, tmp_path):
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[:, 24:] = 255
    Image.fromarray(picture).save(tmp_path / "first.png")
    clips = starter.generate([ClipRequest(prompt=BALL, seed=s, image=tmp_path / "first.png") for s in (0, 1)], STEPS)
    assert len(clips) == 2
    with torch.no_grad():
        pixels = torch.tensor(picture / 127.5 - 1).permute(2, 0, 1)[None, :, None].float()
        kept = starter.pipeline.vae.decode_normalized(starter.pipeline.vae.encode_normalized(pixels))[0, :, 0]
    kept = ((kept.permute(1, 2, 0) / 2 + 0.5).clamp(0, 1) * 255).numpy()
    assert max(np.abs(clip.pixels[0] - kept).max() for clip in clips) < 3


@pytest.mark.slow
def test_words_it_does_not_know_are_warned_of_once(starter, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("cineloop.log.setup", lambda **options: logging.getLogger("cineloop"))
    with caplog.at_level(logging.WARNING, logger="cineloop"):
        prompt = "Two astronauts dance the tango on the moon."
        assert main(["generate", prompt, "-o", str(tmp_path), "--steps", "1", "-q"]) == 0
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.count("OUT_OF_DOMAIN") == 1 and said.count("astronauts") == 2  # the prompt, and the word
    assert "names no figure" in said


@pytest.mark.slow
def test_remarks_are_for_the_starter_alone(starter, folder):
    for index in range(60):
        facts = sample_solo("unseen", 3, index).facts()
        text = prompt(facts, random.Random(index), unseen_wording=index % 2 == 0)
        assert starter.warnings_for(text) == (), text
    assert "'castle'" in starter.warnings_for("A red ball in a castle.")[0].message
    said = starter.warnings_for("A blue frobnicator and a red ball roll.")[0].message
    assert "not the words 'frobnicator'" in said and "knows the words 'blue'" in said
    assert "names no figure" in starter.warnings_for("On the beach.")[0].message
    assert "not several figures, 'chase'" in starter.warnings_for("A red dog chases a blue cat in the snow.")[0].message
    assert "several figures" in starter.warnings_for("Two red dogs run to the left.")[0].message
    assert "'spin'" in starter.warnings_for("A red box spins slowly on the beach.")[0].message
    assert open_generator("dit", model=str(folder)).warnings_for("A castle.") == ()


def test_options_reach_the_pipeline(folder):
    made = open_generator("dit", model=str(folder), device="cpu", dtype="bfloat16", options={"tiling": True})
    assert made.pipeline.vae.dtype == torch.bfloat16
    assert made.pipeline.vae.use_tiling
    assert made.generate([ClipRequest(prompt=BALL)], STEPS)[0].pixels.shape == (5, 32, 48, 3)


def test_what_is_no_pipeline_of_ours_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(dit, "STARTER", tmp_path)
    with pytest.raises(MissingDependencyError, match="no generator starter"):
        open_generator("dit").fingerprint()
    with pytest.raises(MissingDependencyError, match="holds no pipeline"):
        open_generator("dit", model=str(tmp_path)).fingerprint()
    unet = UNet2DModel(
        sample_size=8, block_out_channels=(8,), down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
        norm_num_groups=2, layers_per_block=1,
    )  # fmt: skip
    DDPMPipeline(unet, DDIMScheduler()).save_pretrained(tmp_path / "other")
    with pytest.raises(UsageError, match="DDPMPipeline"):
        open_generator("dit", model=str(tmp_path / "other"), device="cpu").pipeline  # noqa: B018


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("transformer/config.json", "num_layers", 1_000_000),
        ("transformer/config.json", "num_attention_heads", 0),
        ("transformer/config.json", "num_attention_heads", [2]),
        ("text_encoder/config.json", "dtype", "os.system"),
    ],
)
def test_a_folder_with_a_wrong_value_is_an_environment_error_with_its_key(folder, tmp_path, name, key, value):
    place = Path(shutil.copytree(folder, tmp_path / "model"))
    tree = json.loads((place / name).read_text()) | {key: value}
    (place / name).write_text(json.dumps(tree))
    with pytest.raises(MissingDependencyError) as caught:
        open_generator("dit", model=str(place), device="cpu").pipeline  # noqa: B018
    assert caught.value.code == "MODEL"
    assert not isinstance(value, (int, str)) or key in str(caught.value)
