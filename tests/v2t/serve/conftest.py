"""What the tests of the chat page in a browser share: a clip, a stand-in gateway, and the page opened at it."""

from __future__ import annotations

from pathlib import Path

import pytest

import page_driving as driving
import stand_in_gateway as stand_in
from cineloop.world.scenes.render import render
from cineloop.world.scenes.sampler import sample_scene


@pytest.fixture(scope="session")
def clip(tmp_path_factory) -> Path:
    """Four seconds of the cartoon world as WebM."""
    path = tmp_path_factory.mktemp("clips") / "robot.webm"
    stand_in.webm(path, render(sample_scene("seen", 77, 3, seconds=(4.0, 4.0)), (96, 128), fps=12.0), 12)
    return path


@pytest.fixture
def gateway():
    state, server = stand_in.serve()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def page(browser, gateway):
    with driving.opened(browser, gateway.url) as page:
        yield page
