"""A film of coloured scenes, a clip of one, and settings to ask about them with; one decoder for all tests."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from cineloop.video.encode import encode
from cineloop.video.worker import DecoderPool
from square_film import FPS, SCENES, film_pixels
from v2t.ask.settings import AskConfig


@pytest.fixture(scope="session")
def decoder_pool():
    with DecoderPool() as pool:
        yield pool


@pytest.fixture(scope="module")
def one_decoder(decoder_pool):
    """One child decodes for all tests: to start one costs a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("v2t.ask.viewer.DecoderPool", lambda *args, **options: nullcontext(decoder_pool))
        yield


@pytest.fixture(scope="session")
def film(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    encode(film_pixels(SCENES), path, FPS)
    return path


@pytest.fixture(scope="session")
def clip(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    encode(film_pixels(("blue",)), path, FPS)
    return path


@pytest.fixture
def config(tmp_path) -> AskConfig:
    return AskConfig(notes=tmp_path / "notes.jsonl", batch_size=3)
