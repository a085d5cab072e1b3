"""The command `t2v`: verbs, layers of settings, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import t2v
from t2v import cli

ROOT = Path(__file__).resolve().parents[2]
BALL = "A red ball rolls to the left on the beach."


@pytest.mark.slow
def test_the_world_is_drawn_without_torch(tmp_path):
    code = (
        "import sys\nfrom t2v.cli import main\n"
        f"assert main(['generate', {BALL!r}, '--generator', 'world', '-q', '-o', {str(tmp_path)!r}]) == 0\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["False"], done.stderr[-1000:]


def test_layers_of_settings(tmp_path, capsys):
    (tmp_path / "settings.yaml").write_text("generator: world\nseed: 4\nheight: 32\nwidth: 32\nnum_frames: 5\n")
    words = ["generate", BALL, "-o", str(tmp_path / "out"), "--config", str(tmp_path / "settings.yaml"), "--json", "-q"]
    assert cli.main([*words, "--set", "seed=5", "--set", "width=48", "--width", "64"]) == 0
    row = json.loads(capsys.readouterr().out.splitlines()[0])
    assert row["seed"] == 5 and row["shape"] == {"num_frames": 5, "height": 32, "width": 64}


def test_a_word_that_the_world_does_not_know_fails_its_clip_alone(tmp_path, capsys):
    assert cli.main(["generate", "A dragon.", "--generator", "world", "-o", str(tmp_path / "out")]) == 3
    assert "'dragon'" in capsys.readouterr().err


def test_one_word_prompts_are_wondered_at(tmp_path, capsys):
    words = ["generate", "A", "red", "ball", "--generator", "world", "-o", str(tmp_path), "--dry-run"]
    assert cli.main(words) == 0
    said = capsys.readouterr()
    assert "quotes" in said.err and said.out.count("make\t") == 3 and list(tmp_path.iterdir()) == []


def test_train_hands_its_arguments_on(monkeypatch, tmp_path):
    given = {}

    def run(config, **options):
        given.update(options, config=config)
        return 0

    stages = SimpleNamespace(run=run)  # the true one needs seconds to import
    monkeypatch.setitem(sys.modules, "t2v.train", stages)
    monkeypatch.setattr(t2v, "train", stages, raising=False)
    assert cli.main(["train", "r.yaml", "--set", "a=1", "-o", str(tmp_path), "--plan", "--resume", "--json"]) == 0
    assert given == {
        "config": Path("r.yaml"),
        "sets": ["a=1"],
        "over": [],
        "out": tmp_path,
        "plan": True,
        "resume": True,
        "overwrite": False,
        "as_json": True,
    }


@pytest.mark.long
@pytest.mark.slow
def test_a_quiet_command_prints_nothing_of_the_libraries_it_imports():
    code = "from cineloop import log; log.setup(verbosity=-1); import t2v.pipeline"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=250, check=True)
    assert done.stdout == done.stderr == ""
