"""The generator's own stages at tiny width: autoencoder, first frames, clips with a cache; a missing part is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from cineloop.errors import UsageError
from t2v import train
from t2v.pipeline import CineloopPipeline

LOOP = {"steps": 2, "batch_size": 2, "workers": 0, "tensorboard": False, "log_every": 1}
RUNTIME = {"precision": "fp32", "threads": 1}


def recipe(folder: Path, name: str, **fields) -> Path:
    path = folder / f"{name}.yaml"
    told = {"out": str(folder / name), "loop": LOOP, "runtime": RUNTIME, "size": [32, 32], "eval_clips": 4, **fields}
    path.write_text(json.dumps(told), encoding="utf-8")  # JSON is YAML
    return path


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stages")
    model = {"latent_channels": 4, "widths": [8, 16, 16], "depth": 1}
    config = recipe(folder, "vae", stage="vae", model=model, lengths=[1, 5], eval_clips=2, statistics_clips=32)
    assert train.run(config) == 0
    told = json.loads((folder / "vae/final/config.json").read_text())
    assert len(told["latents_mean"]) == 4 and min(told["latents_std"]) > 0
    return folder / "vae" / "final"


def dit(folder: Path, name: str, vae: Path, **fields) -> Path:
    shape = {"num_attention_heads": 2, "attention_head_dim": 12, "ffn_dim": 32, "num_layers": 3}
    kept = {"transformer": shape, "text": {"hidden_size": 16, "num_heads": 2, "num_layers": 1}, "eval_clips": 16,
            "eval_prompts": 0}  # fmt: skip
    return recipe(folder, name, stage="dit", vae=str(vae), **{**kept, **fields})


@pytest.mark.long
@pytest.mark.slow
def test_frames_then_clips_end_in_a_pipeline(vae, tmp_path):
    assert train.run(dit(tmp_path, "frames", vae, num_frames=1, state_weight=0.2)) == 0
    clips = dit(
        tmp_path, "clips", vae, init=str(tmp_path / "frames/final"), num_frames=5, num_clips=4,
        cache=str(tmp_path / "latents"), figure_weight=4.0, state_weight=0.2, facts_weight=0.1, flow={"shift": 5.0},
    )  # fmt: skip
    assert train.run(clips) == 0
    (shard,) = (tmp_path / "latents").rglob("*.safetensors")
    made = shard.stat().st_mtime_ns
    pipe = CineloopPipeline.from_pretrained(tmp_path / "clips/final")
    assert pipe.scheduler.config.shift == 5.0  # sampled with the shift it was trained with
    pipe.set_progress_bar_config(disable=True)
    frames = pipe("A red ball.", num_frames=5, height=32, width=32, num_inference_steps=2).frames
    assert frames.shape == (1, 5, 32, 32, 3)
    first, second = (CineloopPipeline.from_pretrained(tmp_path / f"{name}/final") for name in ("frames", "clips"))
    pairs = zip(first.transformer.parameters(), second.transformer.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)  # it went on from there, and learnt
    assert train.run(clips, overwrite=True) == 0
    assert shard.stat().st_mtime_ns == made  # the cache was found again


def test_a_missing_autoencoder_is_named(tmp_path):
    with pytest.raises(UsageError, match="vae: .*nowhere has no config.json"):
        train.run(dit(tmp_path, "x", tmp_path / "nowhere", num_frames=1))
