"""Clips that cannot be trained on are found before torch is loaded, and by `--plan`."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from t2v.cli import main
code = main(sys.argv[1:])
print(code, "torch" in sys.modules, "transformers" in sys.modules)
"""


@pytest.fixture
def wordless(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"not looked into")
    (folder / "metadata.jsonl").write_text('{"file_name": "a.mp4"}\n')
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "told"),
    [("data=[set]", "data: 1 faults in set: empty prompt (1): a.mp4"), ("data=[none]", "data: no such file or folder")],
)
def test_the_training_stops_before_torch_is_loaded(wordless, setting, told):
    words = ["train", "t2v/clips", "--set", setting]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], cwd=wordless.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout == "2 False False\n"
    (line,) = done.stderr.strip().splitlines()
    assert f"error LAYOUT: {told}" in line and '--set "data=[' in line


@pytest.mark.long
@pytest.mark.slow
def test_the_plan_warns_and_counts_without_any_model_of_language(wordless):
    program = PROGRAM + "print('t2v.model.text' in sys.modules)"
    words = ["train", "t2v/clips", "--plan", "--set", "data=[set]"]
    done = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=wordless.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("0 True True\nFalse\n") and "stage clips" in done.stdout
    assert "warning: the training would not start: LAYOUT: data: 1 faults in set: empty prompt (1)" in done.stderr
