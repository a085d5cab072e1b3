"""Run folders of `t2v generate` with something wrong in them: said, and no reason to lose what is made."""

from __future__ import annotations

import numpy as np
import pytest

from cineloop.errors import MissingDependencyError
from cineloop.manifest import read_manifest
from painting_generator import Fake
from t2v.cli import main
from t2v.generate import run as run_module
from t2v.generate.run import run
from t2v.generate.settings import GenerateConfig

BALL, BOX = "A red ball rolls to the left on the beach.", "A blue box slides to the right in the snow."


@pytest.fixture
def fake(monkeypatch):
    made = Fake()
    monkeypatch.setattr(run_module, "open_generator", lambda *args, **options: made)
    return made


def test_a_clip_that_cannot_be_read_again_does_not_end_a_complete_run(fake, tmp_path, caplog):
    from PIL import Image

    run([BALL, BOX], [], tmp_path, GenerateConfig(seed=0))
    broken = tmp_path / next(read_manifest(tmp_path / "manifest.jsonl"))["path"]
    broken.write_bytes(b"x" * broken.stat().st_size)  # of its size: the run takes it for whole
    summary = run([BALL, BOX], [], tmp_path, GenerateConfig(seed=0))
    assert summary.exit_code == 0 and summary.skipped == 2
    assert "the contact sheet leaves out" in caplog.text and broken.stem in caplog.text
    assert np.asarray(Image.open(tmp_path / "contact_sheet.png")).ndim == 3


def test_a_contact_sheet_that_cannot_be_written_does_not_end_a_complete_run(fake, tmp_path, caplog):
    (tmp_path / "contact_sheet.png").mkdir(parents=True)
    assert run([BALL], [], tmp_path, GenerateConfig()).exit_code == 0
    assert "the contact sheet was not written" in caplog.text


def test_a_contact_sheet_without_a_decoder_does_not_end_a_complete_run(fake, tmp_path, caplog, monkeypatch):
    def failing(*args):
        raise MissingDependencyError("no decoder is installed")

    monkeypatch.setattr(run_module, "write_sheet", failing)
    assert run([BALL], [], tmp_path, GenerateConfig()).exit_code == 0
    assert "the contact sheet was not written: no decoder" in caplog.text


@pytest.mark.parametrize("place", ["made", "made/clips", "made/.cineloop"])
def test_a_folder_that_cannot_be_used_is_an_environment_error(fake, tmp_path, capsys, place):
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text("a file")
    assert main(["generate", BALL, "-o", str(tmp_path / "made")]) == 5
    assert "error OUTPUT_FOLDER: cannot use the output folder" in capsys.readouterr().err
