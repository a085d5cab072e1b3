"""A captioned folder for tests of the editor: made by the captioning job, with a captioner that counts."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import stand_in_gateway as stand_in
from edit_process import NumberingCaptioner
from v2t.caption import run as caption
from v2t.caption.settings import CaptionConfig


@pytest.fixture(scope="session")
def films(tmp_path_factory) -> Path:
    """Three WebM films of one second, and one file that is none."""
    folder = tmp_path_factory.mktemp("films")
    for number, name in enumerate("abc"):
        pixels = np.zeros((8, 48, 64, 3), np.uint8)  # (T, H, W, 3)
        pixels[:, :, :, number] = np.arange(60, 220, 20, dtype=np.uint8)[:, None, None]
        stand_in.webm(folder / f"{name}.webm", pixels, 8)
    (folder / "bad.mp4").write_bytes(b"not a film")
    return folder


@pytest.fixture(scope="session")
def captions_of_run(films, tmp_path_factory) -> Path:
    """The folder of their captions: "caption 0" of a, 1 of b, 2 of c. Not to be changed."""
    folder = tmp_path_factory.mktemp("run") / "captions"
    config = CaptionConfig(format=("txt", "jsonl", "csv"), batch_size=1, workers=1)
    caption.run([str(films)], folder, config, captioner=NumberingCaptioner())
    return folder


@pytest.fixture
def captions(captions_of_run, tmp_path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(captions_of_run, tmp_path / "captions"))
