"""Limits of pipelines of diffusers: modular ones are refused by name, sound is dropped and a run says so once."""

from __future__ import annotations

import inspect
import json

import pytest
import torch
from diffusers import WanPipeline

from cineloop.errors import MissingDependencyError
from t2v.cli import main
from t2v.generators.diffusers import Generator

pytest_plugins = ["tiny_pipelines"]


def test_a_modular_pipeline_of_the_hub_is_refused_by_name(monkeypatch):
    import huggingface_hub
    from diffusers import DiffusionPipeline

    def missing(*args, **kwargs):
        raise OSError("no file named model_index.json")

    monkeypatch.setattr(DiffusionPipeline, "download", missing)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda name, file: f"/cache/{name}/{file}")
    with pytest.raises(MissingDependencyError, match="owner/parts is a modular pipeline") as caught:
        Generator("owner/parts").find()
    assert caught.value.code == "MODEL"
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", missing)
    with pytest.raises(MissingDependencyError, match="the hub gives no pipeline of that name"):
        Generator("owner/parts").find()


@pytest.mark.slow
def test_sound_that_a_pipeline_makes_is_missed_once_a_run(wan, tmp_path, monkeypatch, capsys):
    silent = WanPipeline.__call__

    def heard(self, *args, **kwargs):
        made = silent(self, *args, **kwargs)
        made.audio = torch.zeros(len(made.frames), 2, 100)
        return made

    heard.__signature__ = inspect.signature(silent)
    monkeypatch.setattr(WanPipeline, "__call__", heard)
    size = ["--num-frames", "5", "--height", "16", "--width", "16", "--steps", "1"]
    out = tmp_path / "out"
    common = ["--generator", "diffusers", "--model", str(wan), *size, "-o", str(out)]
    assert main(["generate", "a red ball", "a blue box", *common]) == 0
    assert capsys.readouterr().err.count("SOUND_DROPPED") == 1
    rows = map(json.loads, (out / "manifest.jsonl").read_text().splitlines())
    assert [[each["code"] for each in row["warnings"]] for row in rows] == [["SOUND_DROPPED"]] * 2
