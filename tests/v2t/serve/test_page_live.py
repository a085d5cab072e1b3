"""The chat page against the true server with the starter: upload, question, an answer with times that seek, a range,
refresh, the unlike clip warned about; and the policy the stand-in of the other tests plays is the gateway's own."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path

import numpy as np
import pytest

import page_driving as driving
import stand_in_gateway as stand_in
from page_driving import WAIT_MS, add, ask, mark
from serve_process import serving

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (a test tool, extra dev)")
pytest.importorskip("starlette", reason="the extra serve is not installed")
expect = sync_api.expect
pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("serve"), "--engine", "local", "--port", "0") as process:
        yield process.ready().url.rstrip("/") + "/"


def test_the_stand_in_keeps_the_policy_of_the_gateway(url):
    def directives(policy: str) -> dict[str, set[str]]:
        parts = [part.split() for part in policy.split(";") if part.strip()]
        return {name: set(values) for name, *values in parts}

    with urllib.request.urlopen(url, timeout=60) as reply:
        assert directives(reply.headers["Content-Security-Policy"]) == directives(stand_in.POLICY)
    for name in ("app.js", "style.css"):
        with urllib.request.urlopen(url + "page/" + name, timeout=60) as reply:
            assert reply.headers["Content-Type"].split(";")[0] in stand_in.TYPES.values()


@pytest.mark.long
def test_a_clip_is_asked_about(browser, url, clip):
    with driving.opened(browser, url) as page:
        add(page, clip, 16)
        sent = re.compile(r"^16 frames from 0\.0 to \d\.\d s, \d+ tokens$")
        expect(page.locator("#seen-text")).to_have_text(sent, timeout=WAIT_MS)
        page.get_by_role("button", name="Timed events").click()
        expect(page.locator(".turn[data-state=done]")).to_have_count(1, timeout=WAIT_MS)
        expect(page.locator(".saw")).to_have_text(sent)
        answer, time = page.locator(".answer"), page.locator(".answer .time").first
        second = float(re.search(r"[\d.]+", time.text_content())[0])
        page.locator("#scrub").fill("3.5")
        time.click()
        expect(page.locator("#now")).to_have_text(re.compile(rf"^0:0{second:.1f} /"))
        assert abs(page.locator("#video").evaluate("video => video.currentTime") - second) < 0.1
        mark(page, 1, 3)
        ask(page, "Describe the video in one sentence.", 2)
        expect(page.locator(".saw").last).to_contain_text(re.compile(r"\d+ frames from 1\.0 to [23]\.\d s"))
        said = answer.all_text_contents()
        assert all(said) and len(said) == 2
        page.reload()
        expect(answer.last).to_have_text(said[1], timeout=WAIT_MS)
        expect(page.locator("#frames li").first).to_be_visible(timeout=WAIT_MS)


@pytest.mark.long
def test_a_clip_the_starter_does_not_know_is_warned_about(browser, url, tmp_path):
    clip = tmp_path / "noise.webm"
    stand_in.webm(clip, np.random.default_rng(0).integers(0, 255, (12, 96, 96, 3), np.uint8), 12)
    with driving.opened(browser, url) as page:
        page.set_input_files("#file", str(clip))
        ask(page, "What is it?")
        expect(page.locator(".warning")).to_contain_text("OUT_OF_DOMAIN")
        with page.expect_download() as waited:
            page.click("#open-export")
            page.click("#export-json")
        (turn,) = json.loads(Path(waited.value.path()).read_text("utf-8"))["turns"]
        assert turn["warnings"][0].startswith("OUT_OF_DOMAIN") and len(turn["seen"][0]["times_s"]) == 12
