"""The editor in a real browser at the true server: edits reach the disk, two tabs, find and replace, undo, keys alone,
hostile captions, a phone's width, a server that is killed and started again."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager

import numpy as np
import pytest

import page_driving as driving
from caption_stand_ins import rows_of
from edit_process import EditProcess, NumberingCaptioner, editing
from page_driving import WAIT_MS, refusals
from v2t.caption import run as caption
from v2t.caption.settings import CaptionConfig

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (a test tool, extra dev)")
pytest.importorskip("starlette", reason="the extra serve is not installed")
expect = sync_api.expect
pytestmark = [pytest.mark.browser, pytest.mark.timeout(300), pytest.mark.slow]
HOSTILE = "<img src=x onerror='window.hacked=1'> \u202eevil\u202c a\0b {{7*7}}"
BROKEN = ("status of 422", "status of 404")  # the file that is no film


@contextmanager
def opened(browser, url: str, **options):
    with driving.opened(browser, url, wanted=(*BROKEN, *options.pop("wanted", ())), **options) as page:
        expect(page.locator("#list:focus, #name:focus")).to_have_count(1, timeout=WAIT_MS)
        yield page


@pytest.fixture
def editor(captions, tmp_path):
    with editing(captions, tmp_path / "state") as process:
        yield process


def name(page, clip: str) -> None:
    """The clip is the one on the screen."""
    expect(page.locator("#name")).to_have_text(clip, timeout=WAIT_MS)


def is_saved(page) -> None:
    expect(page.locator("#saved")).to_have_text("Saved", timeout=WAIT_MS)


def wait(page, condition) -> None:
    for _ in range(600):
        if condition():
            return
        page.wait_for_timeout(100)
    assert condition()


def test_a_caption_is_corrected_accepted_and_undone_by_keys_alone(browser, editor, captions):
    with opened(browser, editor.url) as page:
        name(page, "bad.mp4")
        page.keyboard.press("j")
        name(page, "a.webm")
        expect(page.locator("#video")).to_have_js_property("readyState", 4, timeout=WAIT_MS)
        assert page.locator("#video").evaluate("video => video.loop && video.muted && !video.paused")
        page.keyboard.press("e")
        expect(page.locator("#caption-0")).to_be_focused()
        page.keyboard.press("Control+a")
        page.keyboard.type("A red film gets brighter.")
        page.keyboard.press("Control+Enter")
        name(page, "b.webm")
        is_saved(page)
        assert (captions / "a.txt").read_text() == "A red film gets brighter.\n"
        page.keyboard.press("r")
        name(page, "c.webm")
        expect(page.locator("#made")).not_to_be_empty()  # it is this clip that plays
        page.keyboard.press(",")
        expect(page.locator("#play")).to_have_attribute("aria-label", "Play")
        page.keyboard.press("u")
        name(page, "b.webm")
        expect(page.locator("#reject")).to_have_attribute("aria-pressed", "false")
        expect(page.locator("#progress")).to_have_text(re.compile(r"^[2-4] of 4 seen$"), timeout=WAIT_MS)
        wait(page, lambda: rows_of(captions)["a.webm"].get("review") == "accepted")
        assert driving.unreadable(page) == []


@pytest.mark.long
def test_two_tabs_do_not_overwrite_each_other(browser, editor, captions):
    with opened(browser, editor.url, wanted=("status of 409",)) as one, opened(browser, editor.url) as two:
        for page in (one, two):
            page.locator(".clip-row", has_text="a.webm").click()
            name(page, "a.webm")
            expect(page.locator("#caption-0")).to_have_value("caption 0")
        one.fill("#caption-0", "by the first tab")
        two.fill("#caption-0", "by the second tab")
        two.press("#caption-0", "Control+s")
        is_saved(two)
        one.press("#caption-0", "Control+s")
        expect(one.locator("#conflict")).to_be_visible(timeout=WAIT_MS)
        expect(one.locator("#theirs")).to_have_text("by the second tab")
        expect(one.locator("#mine")).to_have_value("by the first tab")
        assert (captions / "a.txt").read_text() == "by the second tab\n"
        one.click("#take-theirs")
        expect(one.locator("#caption-0")).to_have_value("by the second tab")
        two.fill("#caption-0", "again by the second")
        two.press("#caption-0", "Control+s")
        expect(one.locator("#caption-0")).to_have_value("again by the second", timeout=WAIT_MS)  # seen without a reload


@pytest.mark.long
def test_find_and_replace_is_one_step(browser, editor, captions):
    with opened(browser, editor.url) as page:
        page.keyboard.press("Shift+F")
        page.fill("#find", r"caption (\d)")
        page.check("#regex")
        page.fill("#with", "$1. film")
        expect(page.locator("#replace-count")).to_have_text("3 hits in 3 clips of 3", timeout=WAIT_MS)
        expect(page.locator("#replace-preview ins").first).to_be_visible()
        page.click("#replace-all")
        expect(page.locator("#replace")).to_be_hidden(timeout=WAIT_MS)
        assert [(captions / f"{clip}.txt").read_text() for clip in "abc"] == ["0. film\n", "1. film\n", "2. film\n"]
        page.keyboard.press("u")
        expect(page.locator("#toast")).to_contain_text("Undone: replace of 3 clips", timeout=WAIT_MS)
        assert [(captions / f"{clip}.txt").read_text() for clip in "abc"] == [f"caption {i}\n" for i in range(3)]
        page.keyboard.press("Shift+F")
        page.fill("#find", "(")
        expect(page.locator("#replace-count")).to_contain_text("Invalid regular expression", timeout=WAIT_MS)
        page.fill("#find", "(c+a*)+x(c+a*)+$|((((a?p?t?i?o?n?)*)*)*)*y")
        expect(page.locator("#replace-all")).to_be_disabled()


@pytest.mark.long
def test_the_model_is_asked_again_and_an_answer_chosen(browser, editor, captions):
    with opened(browser, editor.url) as page:
        page.keyboard.press("j")
        name(page, "a.webm")
        page.keyboard.press("g")
        page.click("#ask")
        expect(page.locator("#answer-list li")).to_have_count(3, timeout=WAIT_MS)
        page.get_by_role("button", name="Add beside").nth(2).click()
        page.locator("#answers-title").click()
        page.locator(".use").nth(1).press("2")
        expect(page.locator("#answers")).to_be_hidden()
        expect(page.locator("#caption-0")).to_have_value("caption 0, drawn by 2")
        page.locator("#name").click()
        page.keyboard.press("2")
        page.keyboard.press("Control+s")
        is_saved(page)
        assert (captions / "a.txt").read_text() == "caption 0, drawn by 3\n"
        wait(page, lambda: len(rows_of(captions)["a.webm"].get("captions", ())) == 2)


@pytest.mark.long
def test_what_was_typed_outlives_a_kill_of_the_server(browser, captions, tmp_path):
    process = EditProcess(captions, tmp_path / "state")
    port = process.url.rstrip("/").rpartition(":")[2]
    try:
        gone = ("ERR_", "status of 404")
        with opened(browser, process.url, wanted=gone) as page:
            page.keyboard.press("j")
            name(page, "a.webm")
            process.kill()
            page.fill("#caption-0", "typed while nobody listens")
            page.keyboard.press("Control+Enter")
            name(page, "b.webm")
            expect(page.locator("#trouble")).to_contain_text("1 change waits", timeout=WAIT_MS)
            process = EditProcess(captions, tmp_path / "state", "127.0.0.1", "", port)
            is_saved(page)
            assert (captions / "a.txt").read_text() == "typed while nobody listens\n"
            expect(page.locator("#trouble")).to_be_hidden(timeout=WAIT_MS)
            refusals(page, 404)
    finally:
        process.kill()


@pytest.mark.long
def test_hostile_captions_are_text(browser, films, tmp_path):
    class Hostile(NumberingCaptioner):
        def answer(self, conversations, decoding):
            from v2t.backends import Output

            return [Output(text=HOSTILE, tokens=1) for _ in conversations]

    config = CaptionConfig(format=("txt", "jsonl"), workers=1)
    caption.run([str(films)], tmp_path / "captions", config, captioner=Hostile())
    with editing(tmp_path / "captions", tmp_path / "state") as process, opened(browser, process.url) as page:
        page.keyboard.press("j")
        name(page, "a.webm")
        shown = "<img src=x onerror='window.hacked=1'> [U+202E]evil[U+202C] a[U+0000]b {{7*7}}"
        expect(page.locator(".clip-row[aria-selected=true] .clip-text")).to_have_text(shown)
        assert page.locator("#caption-0").input_value() == HOSTILE
        expect(page.locator(".unseen")).to_have_text("Holds characters that are not seen: U+202E, U+202C, U+0000")
        page.keyboard.press("a")  # what is not touched is not changed
        name(page, "b.webm")
        is_saved(page)
        assert (tmp_path / "captions" / "a.txt").read_text() == HOSTILE + "\n"
        assert page.locator("#list img[src=x], #captions img").count() == 0


@pytest.mark.long
def test_a_phone_and_every_control_has_a_name(browser, editor):
    with opened(browser, editor.url, viewport={"width": 360, "height": 740}) as page:
        page.keyboard.press("j")
        name(page, "a.webm")
        assert driving.width(page) == 360
        page.click("#open-list")
        page.locator(".clip-row", has_text="b.webm").click()
        name(page, "b.webm")
        page.keyboard.press("Escape")
        page.click("#accept")
        name(page, "c.webm")
        bare = page.evaluate(
            "() => [...document.querySelectorAll('button, input, select, textarea')].filter((one) =>"
            " !one.labels?.length && !one.getAttribute('aria-label') && !one.textContent.trim()).map((one) => one.id)"
        )
        assert bare == []
        for button in ("#open-help", "#open-replace", "#open-answers"):
            page.click(button)
            assert driving.width(page) == 360
            page.keyboard.press("Escape")


@pytest.mark.long
def test_tags_filters_and_frames_of_a_file_the_browser_cannot_play(browser, films, tmp_path):
    import av

    folder = tmp_path / "films"
    folder.mkdir()
    with av.open(str(folder / "old.avi"), "w") as out:
        stream = out.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for level in range(8):
            grey = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * level, np.uint8), format="rgb24")
            out.mux(stream.encode(grey))
        out.mux(stream.encode(None))
    config = CaptionConfig(format=("txt", "jsonl"), workers=1)
    caption.run([str(folder), str(films)], tmp_path / "captions", config, captioner=NumberingCaptioner())
    with editing(tmp_path / "captions", tmp_path / "state") as process, opened(browser, process.url) as page:
        page.fill("#words", "old.avi")
        page.press("#words", "Enter")
        expect(page.locator(".clip-row:visible")).to_have_count(1)
        page.keyboard.press("j")
        name(page, next(row["id"] for row in process.send("v1/clips")[1]["clips"] if "old.avi" in row["id"]))
        expect(page.locator("#still")).to_be_visible(timeout=WAIT_MS)
        expect(page.locator("#video")).to_be_hidden()
        shown = set()
        for _ in range(8):
            page.keyboard.press(".")
            shown.add((page.locator("#now").text_content(), page.locator("#still").get_attribute("src")))
        assert len(shown) == 8, "every frame of the file, one a step"
        page.keyboard.press("t")
        page.keyboard.type("night, close-up")
        page.keyboard.press("Enter")
        expect(page.locator("#list")).to_be_focused()
        is_saved(page)
        journal = (tmp_path / "captions" / ".v2t" / "journal.jsonl").read_text().splitlines()
        assert json.loads(journal[-1])["record"]["tags"] == ["night", "close-up"]
        page.fill("#words", "close-up")
        expect(page.locator(".clip-row:visible")).to_have_count(1)
