"""The chat page before a server that takes pictures: its models in a menu, a video, a long film with its progress."""

from __future__ import annotations

import os
import re
import socket
import threading
from pathlib import Path

import pytest

import openai_server
import page_driving as driving
import picture_servers as servers
import stand_in_gateway as stand_in
from page_driving import WAIT_MS, add, ask
from relay_gateway import relaying
from v2t.serve.settings import UpstreamSettings

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (a test tool, extra dev)")
expect = sync_api.expect
pytestmark = [
    pytest.mark.browser,
    pytest.mark.long,
    pytest.mark.xdist_group("machine"),
    pytest.mark.timeout(600),
]


class Watched(servers.Ollama):
    """Windows are answered once `gate` is open; the first of them at once."""

    gate = threading.Event()

    def say(self, request: dict) -> str:
        if "Note every event" in servers.texts_of(request):
            return super().say(request)
        num = len(servers.pictures_of(request))
        return f"The red square moves from 1.0 to 2.0 seconds; I was sent {num} pictures."

    def answer(self, handler, request) -> None:
        if "Note every event" in servers.texts_of(request) and len(self.seen) > 2:
            self.gate.wait(60)
        super().answer(handler, request)


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> tuple[Path, Path]:
    """A short clip and a film of twelve windows, as WebM, which browsers play."""
    import numpy as np

    folder = tmp_path_factory.mktemp("films")
    for name, seconds in (("clip", 4), ("film", 48)):
        pixels = np.full((seconds * 4, 96, 128, 3), 90, np.uint8)
        for number, frame in enumerate(pixels):
            frame[30:60, number % 90 : number % 90 + 30] = (220, 40, 40)
        stand_in.webm(folder / f"{name}.webm", pixels, 4)
    return folder / "clip.webm", folder / "film.webm"


@pytest.mark.parametrize("size", [(1200, 800), (360, 740)])
def test_a_video_and_a_film_are_asked_about(browser, films, tmp_path, size):
    clip, film = films
    viewport = {"width": size[0], "height": size[1]}
    upstream = UpstreamSettings(window_s=4.5, notes=tmp_path, concurrency=1)
    with openai_server.serving(Watched()) as server, relaying(server.address, upstream=upstream) as gateway:
        server.gate = threading.Event()
        server.gate.set()
        with driving.opened(browser, f"{gateway.url}/", viewport=viewport) as page:
            expect(page.locator("#model-menu option")).to_have_text(["eye-7b", "eye-32b"], timeout=WAIT_MS)
            page.select_option("#model-menu", "eye-32b")
            add(page, clip, 8)
            ask(page, "What happens?")
            expect(page.locator(".answer").first).to_contain_text("I was sent 8 pictures")
            expect(page.locator(".saw").first).to_have_text("8 frames from 0.0 to 3.5 s")
            assert server.seen[-1]["model"] == "eye-32b"
            shot(page, f"relay-clip-{size[0]}")
            server.gate.clear()
            server.seen.clear()
            page.click("#add")
            page.set_input_files("#file", str(film))
            expect(page.locator("#seen-warnings")).to_contain_text("LONG_FILM", timeout=WAIT_MS)
            page.fill("#question", "What does the square do?")
            page.press("#question", "Enter")
            expect(page.locator(".wait")).to_have_text(
                re.compile(r"Watching film: [12] of 11 windows"), timeout=WAIT_MS
            )
            shot(page, f"relay-film-{size[0]}")
            server.gate.set()
            expect(page.locator(".turn[data-state=done]")).to_have_count(2, timeout=WAIT_MS)
            expect(page.locator(".saw").last).to_contain_text("11 notes taken by watching all of it")
            shot(page, f"relay-notes-{size[0]}")
            assert driving.width(page) <= size[0] and driving.unreadable(page) == []
            page.reload()
            expect(page.locator("#model-menu")).to_have_value("eye-32b", timeout=WAIT_MS)


def test_models_come_once_the_server_is_there(browser, monkeypatch):
    monkeypatch.setattr("v2t.serve.engines.openai.POLL_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with relaying(f"openai:http://127.0.0.1:{port}/v1") as gateway:
        with driving.opened(browser, f"{gateway.url}/") as page:
            expect(page.locator("#models-error")).to_contain_text("cannot be reached", timeout=WAIT_MS)
            started = servers.Ollama()
            started.socket.close()
            started.socket = socket.create_server(("127.0.0.1", port))
            with openai_server.serving(started):
                expect(page.locator("#model-menu option")).to_have_count(2, timeout=WAIT_MS)
                expect(page.locator("#models-error")).to_be_hidden()
            driving.refusals(page, 502, 503)


def shot(page, name: str) -> None:
    """A picture of the page, where CINELOOP_SHOTS names a folder for it."""
    if folder := os.environ.get("CINELOOP_SHOTS"):
        page.screenshot(path=f"{folder}/{name}.png")
