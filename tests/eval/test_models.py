"""Models are opened once for each device, on the device of the run, and released together."""

from __future__ import annotations

import gc
import os
import weakref
from pathlib import Path

import numpy as np
import pytest

from cineloop.errors import MissingDependencyError, UsageError
from cineloop.video.frames import Frames
from v2t_eval import models
from v2t_eval.cli import main
from v2t_eval.features import open_extractor, text_features
from v2t_eval.inputs import Inputs
from v2t_eval.judge.judge import open_judge
from v2t_eval.metric import load_metric
from v2t_eval.sample import Clip, Sample
from v2t_eval.score import ScoreConfig, score
from v2t_eval.text.captions import _by_java
from v2t_eval.vbench.flow import open_flow


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)


@pytest.mark.parametrize("verb", ["score", "gate", "compare", "roundtrip", "audit"])
@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:0", ""])
def test_every_verb_that_measures_refuses_another_device(verb: str, name: str, tmp_path: Path, capsys) -> None:
    given = ["a", "b"] if verb == "compare" else ["a", "-o", str(tmp_path)]
    with pytest.raises(SystemExit) as end:
        main([verb, *given, "--device", name])
    assert end.value.code == 2
    assert "auto, cpu, cuda or cuda:N" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["score", "gate", "compare", "roundtrip"])
def test_every_verb_that_decodes_takes_a_limit_of_a_clip(verb: str, capsys) -> None:
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    assert "--max-clip-mb" in capsys.readouterr().out


def test_a_device_holds_within_its_block(two_gpus: None) -> None:
    before = dict(os.environ)
    assert models.device() == "cuda" and models.shared_gpus() == ["cuda:0", "cuda:1"]
    with models.on_device("cpu"):
        assert models.device() == "cpu" and models.shared_gpus() == [] and models.chosen_device() == "cpu"
        with models.on_device("auto"):
            assert models.device() == "cpu"
    with models.on_device("cuda:1"):
        assert models.device() == "cuda:1" and models.shared_gpus() == ["cuda:1"]
    assert models.device() == "cuda" and dict(os.environ) == before
    with pytest.raises(MissingDependencyError, match="torch sees 2"), models.on_device("cuda:2"):
        pass
    with pytest.raises(UsageError, match="auto, cpu"):
        ScoreConfig(device="gpu")


def test_a_device_that_is_not_there_ends_before_anything_is_measured(no_gpu: None) -> None:
    sample = Sample(id="a", clip=Clip.from_frames(Frames.from_pixels(np.zeros((3, 32, 32, 3), np.uint8), 8)))
    with pytest.raises(MissingDependencyError, match="torch sees 0 CUDA devices"):
        score(Inputs(samples=[sample]), [load_metric("sharpness")()], ScoreConfig(device="cuda"))
    scores = score(Inputs(samples=[sample]), [load_metric("sharpness")()], ScoreConfig(device="cpu"))
    assert scores.environment["device"] == "cpu"


def test_models_are_opened_once_and_released() -> None:
    extractor = weakref.ref(open_extractor("starter", "cpu"))
    text_features(open_extractor("starter", "cpu"), "a red ball")
    judge, flow = weakref.ref(open_judge("v2t")), open_flow("dis")
    _by_java["a"] = "b"
    assert open_extractor("starter", "cpu") is extractor() and open_judge("v2t") is judge() and open_flow("dis") is flow
    models.release()
    gc.collect()
    assert extractor() is None and judge() is None and open_flow("dis") is not flow and not _by_java


def test_judges_of_two_devices_are_two() -> None:
    assert open_judge("v2t", device="cpu") is not open_judge("v2t", device="cuda:1")
    assert open_judge("v2t", device="cpu").captioner.device == "cpu"
    with models.on_device("cpu"):
        metric = load_metric("vqascore")()
        assert metric.ready().captioner.device == "cpu"
