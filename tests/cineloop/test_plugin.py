"""Plug-ins of the user's own: one file in any folder, given by its path, used through the commands; no second place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from cineloop import plugin
from cineloop.errors import UsageError
from small_clips import write_grey
from t2v.cli import main as t2v
from v2t.cli import main as v2t
from v2t_eval.cli import main as v2t_eval

METRIC = '''
from dataclasses import dataclass
from v2t_eval.core.metric import BaseMetric, Summary, items_of

@dataclass(frozen=True, kw_only=True)
class Settings:
    times: float = 1.0

class Metric(BaseMetric):
    """Mean level."""
    name = "brightness"
    needs = ("frames",)
    higher_is_better = None
    value_range = (0.0, 2550.0)
    Settings = Settings

    def measure(self, sample):
        return {"value": float(sample.frames.pixels.mean()) * self.settings.times}

    def summarise(self, rows, references):
        return Summary(headline=self.name, figures={self.name: self.mean(rows)}, items=items_of(rows))
'''
GENERATOR = """
import numpy as np
from cineloop.video.frames import Frames
from t2v.shape import valid_shape

class Generator:
    name, batch_size, fps = "flat", 4, 8.0

    def __init__(self, model=None, *, device="auto", dtype="auto", level=0, temperature=1.0):
        self.level, self.temperature = level, temperature

    def fingerprint(self):
        return {"generator": self.name, "model": "flat-1", "weights_sha256": None}

    def valid_shape(self, num_frames, height, width):
        return valid_shape(num_frames or 4, height or 32, width or 32, frame_step=1, size_step=2)

    def effective(self, settings):
        return {"steps": None, "guidance": None}

    def warnings_for(self, prompt):
        return ()

    def generate(self, requests, settings, on_step=None):
        level = round(self.level * self.temperature)
        return [Frames.from_pixels(np.full((4, 32, 32, 3), level, np.uint8), 8.0) for _ in requests]
"""
STAGE = """
from dataclasses import dataclass
import torch
from cineloop.training.recipe import StageConfig

@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    width: int = 4

def rows(start, count):
    return {"x": torch.ones(count, 4)}

class Task(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer = torch.nn.Linear(4, width)

    def forward(self, batch):
        return {"terms": {"error": self.layer(batch["x"]).square().sum()}, "metrics": {}}

class Mine:
    name, unit, terms, step = "mine", "rows", {"error": 1.0}, 0

    def __init__(self, config):
        self.config = config

    def build(self):
        return Task(self.config.width)

    def parts(self, task):
        return {"layer": [task.layer]}

    def source(self):
        return rows

    def counts(self, batch):
        return {"error": float(len(batch["x"]))}

    def evaluate(self, task, device):
        return {"score": -float(task(rows(0, 2))["terms"]["error"])}

    def export(self, task, folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "exported").write_text(str(self.config.width))

def build_stage(config):
    return Mine(config)
"""
BACKEND = """
from cineloop.video.sample import SampleSpec
from v2t.backends import Output, VideoLM
from v2t.backends.abilities import Abilities

class Backend(VideoLM):
    name, revision, frame_size, concurrency = "levels", "1", None, 1
    abilities = Abilities()
    spec = SampleSpec(num_frames=2)

    def __init__(self, model, *, device="auto", dtype="auto", word: str = "grey"):
        self.word = word

    def load(self):
        pass

    def answer(self, conversations, decoding):
        levels = [10 * round(float(turns[-1].videos[0].pixels.mean()) / 10) for turns in conversations]
        return [Output(text=f"A clip of {self.word} {level}.", tokens=4) for level in levels]
"""
FORMAT = """
SUFFIX = ".upper"

def render(record):
    return record["caption"].upper().encode() + b"\\n"
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, text in {
        "brightness": METRIC, "flat": GENERATOR, "mine": STAGE, "levels": BACKEND, "upper": FORMAT,
    }.items():  # fmt: skip
        (folder / f"{name}.py").write_text(text)
    return folder


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for level in (40, 90):
        write_grey(tmp_path / "clips" / f"c{level}.mp4", level, size=(32, 32), fps=8)
    return tmp_path / "clips"


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_metric(mine: Path, clips: Path, capsys: pytest.CaptureFixture[str], workers: str) -> None:
    named = f"{mine / 'brightness.py'}[times=2]"
    assert v2t_eval(["score", str(clips), "--metrics", named, "--workers", workers, "--json", "-q"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["name"] == "brightness[times=2.0]"
    assert result["figures"]["brightness"]["value"] == pytest.approx(130, abs=3)


@pytest.mark.slow
def test_a_metric_of_a_suite(mine: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text(yaml.safe_dump({"name": "s", "metrics": [{"metric": str(mine / "brightness.py"), "times": 3.0}]}))
    assert v2t_eval(["score", str(clips), "--suite", str(suite), "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["name"] == "brightness[times=3.0]"


@pytest.mark.slow
def test_a_generator_with_settings_of_its_own(mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = tmp_path / "made"
    given = ["generate", "Anything.", "--generator", str(mine / "flat.py"), "-o", str(made), "--json", "-q"]
    assert t2v([*given, "--set", "options.level=100", "--set", "options.temperature=1.5"]) == 0
    (row,) = [json.loads(line) for line in (made / "manifest.jsonl").read_text().splitlines()]
    assert row["generator"] == "flat"
    capsys.readouterr()
    score = ["score", str(made), "--metrics", str(mine / "brightness.py"), "--json", "-q"]
    assert v2t_eval(score) == 0
    result = json.loads(capsys.readouterr().out)["results"][0]
    assert result["figures"]["brightness"]["value"] == pytest.approx(150, abs=3)
    assert t2v([*given, "--set", "options.level=101"]) == 2  # other settings: other clips
    assert t2v([*given, "--set", "options.heat=1", "--overwrite"]) == 2
    assert "knows: level, temperature" in capsys.readouterr().err


@pytest.mark.parametrize("command", [v2t, t2v])
def test_a_stage(mine: Path, tmp_path: Path, command) -> None:
    recipe = tmp_path / "recipe.yaml"
    loop = {"steps": 2, "batch_size": 2, "workers": 0, "tensorboard": False, "optim": {"base_lr": 0.01}}
    given = {"stage": str(mine / "mine.py"), "out": str(tmp_path / "run"), "width": 3, "loop": loop}
    recipe.write_text(yaml.safe_dump(given | {"runtime": {"device": "cpu"}}))
    assert command(["train", str(recipe)]) == 0
    assert (tmp_path / "run" / "final" / "exported").read_text() == "3"


@pytest.mark.slow
def test_a_backend_and_a_format(mine: Path, clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "captions"
    given = ["caption", str(clips), "-o", str(out), "--captioner", str(mine / "levels.py"), "--model", "any", "-q"]
    assert v2t([*given, "--format", f"{mine / 'upper.py'},jsonl", "--set", "options.word=gray"]) == 0
    records = [json.loads(line) for line in (out / "captions.jsonl").read_text().splitlines()]
    assert {record["caption"] for record in records} == {"A clip of gray 40.", "A clip of gray 90."}
    assert sorted(path.read_text() for path in out.glob("*.upper")) == ["A CLIP OF GRAY 40.\n", "A CLIP OF GRAY 90.\n"]


def test_what_cannot_be_loaded_says_why(mine: Path, tmp_path: Path) -> None:
    def refused(path: Path, symbol: str = "Metric") -> str:
        with pytest.raises(UsageError) as error:
            plugin.load("v2t_eval.metrics", str(path), symbol, files=True)
        return f"{error.value.message} {error.value.hint}"

    assert "does not define 'Metric'" in refused(mine / "upper.py")
    assert "No such file" in refused(mine / "absent.py") and "Errno" not in refused(mine / "absent.py")
    (mine / "broken.py").write_text("Metric = 1\nimport nothing_of_that_name\n")
    assert "ModuleNotFoundError" in refused(mine / "broken.py")
    assert "path/to/NAME.py" in refused(Path("nothing"))
    with pytest.raises(UsageError, match="no style"):  # where no file is expected, none is run
        plugin.load("v2t.styles", str(mine / "upper.py"), "PROMPT")
    (mine / "txt.py").write_text(FORMAT)
    from v2t import writers

    with pytest.raises(UsageError, match="two formats"):
        writers.load([str(mine / "txt.py")])


def test_a_changed_file_is_loaded_anew_and_an_unchanged_one_is_not(mine: Path) -> None:
    def loaded() -> object:
        return plugin.load("v2t_eval.metrics", str(mine / "brightness.py"), "Metric", files=True)

    first = loaded()
    assert loaded() is first
    (mine / "brightness.py").write_text(METRIC.replace("brightness", "lightness"))
    assert loaded() is not first
