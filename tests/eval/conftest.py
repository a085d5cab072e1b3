"""Four files of one changing bar each, which differ by their brightness, for runs of the planted metrics."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> Path:
    """Not to be changed."""
    from planted_metrics import write_clip

    folder = tmp_path_factory.mktemp("drawn")
    for number in range(4):
        write_clip(folder / f"{number} übung.mp4", 30 + 40 * number)
    return folder


@pytest.fixture
def clips(drawn, tmp_path: Path) -> Path:
    """A copy of them."""
    return Path(shutil.copytree(drawn, tmp_path / "clips"))
