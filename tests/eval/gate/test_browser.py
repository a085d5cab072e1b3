"""The gate's page in a real browser: verdict first, clips play together, from disk, nothing asked, readable at 360."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

import page_driving
import planted_verdicts as planted
from cineloop.video.encode import encode
from v2t_eval.gate.report import document
from v2t_eval.report import page as report_page
from v2t_eval.report.document import Document, Section, Table

pytest.importorskip("playwright.sync_api", reason="playwright is not installed (a test tool, extra dev)")
pytestmark = pytest.mark.browser
PHONE, DESK = {"width": 360, "height": 640}, {"width": 1300, "height": 900}


def _webm(path: Path, seed: int) -> None:
    """Three seconds of VP8, which plain Chromium plays."""
    import av

    with av.open(str(path), "w") as file:
        stream = file.add_stream("libvpx", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(24):
            pixels = np.full((48, 64, 3), 40 * seed + 4 * i, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The page in a folder beside its clips; the clips `b3.webm` hold a codec that no browser plays."""
    root = tmp_path_factory.mktemp("gate")
    (root / "clips").mkdir()
    (root / "out" / ".cineloop").mkdir(parents=True)  # where frames are kept: each clip is decoded once
    for k in range(4):
        _webm(root / "clips" / f"a{k}.webm", k)
        _webm(root / "clips" / f"b{k}.webm", k + 1)
    pixels = np.random.default_rng(0).integers(0, 255, (8, 48, 64, 3), dtype=np.uint8)
    encode(pixels, root / "clips" / "odd.mp4", fps=8)
    _as_mpeg4(root / "clips" / "odd.mp4", root / "clips" / "b3.webm")
    for name, texts in (("plain", ()), ("hostile", planted.HOSTILE)):
        verdict = planted.verdict(texts=texts)
        (root / "out" / f"{name}.html").write_bytes(
            report_page.render(document(verdict, root / "clips", root / "clips"), root / "out")
        )
    return root / "out"


def _as_mpeg4(source: Path, target: Path) -> None:
    import av

    with av.open(str(source)) as read, av.open(str(target), "w", format="avi") as file:
        stream = file.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for frame in read.decode(video=0):
            for packet in stream.encode(frame.reformat(format="yuv420p")):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)


@pytest.fixture
def opened(browser, folder):
    """`open(name, size)`: a page from disk; at its end: no error, nothing smuggled in has run, nobody was asked."""
    with ExitStack() as pages:

        def open_page(name: str = "plain", size=DESK, scheme: str = "light", motion: str = "reduce"):
            url, near = (folder / f"{name}.html").as_uri(), folder.parent.as_uri()
            levels = ("error", "warning")
            return pages.enter_context(
                page_driving.opened(
                    browser, url, near=near, levels=levels, viewport=size, color_scheme=scheme, reduced_motion=motion
                )
            )

        yield open_page


def _inside(page, selector: str, size: dict[str, int]) -> bool:
    """Whether the element is on the screen as it is, without scrolling."""
    box = page.locator(selector).first.bounding_box()
    assert page.evaluate("scrollY") == 0
    return box["x"] >= 0 and box["y"] >= 0 and box["x"] + box["width"] <= size["width"] and (
        box["y"] + box["height"] <= size["height"]
    )  # fmt: skip


def _until(page, expression: str) -> None:
    """Wait for a yes; playwright's own waiting evaluates text inside of the page, which its policy forbids."""
    end = time.monotonic() + page_driving.WAIT_MS / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["plain", "hostile"])
def test_on_a_phone_the_verdict_is_first_and_nothing_is_wider(opened, name, scheme):
    page = opened(name, PHONE, scheme)
    assert page.inner_text(".banner .word") == "FAIL" and page.title().startswith("FAIL: Gate")
    assert _inside(page, ".banner", PHONE)
    if name == "plain":
        assert _inside(page, ".sources div:has-text('exit code')", PHONE)
    for details in page.locator("details").all():
        details.evaluate("one => { one.open = true; }")
    assert page_driving.width(page) <= 360
    cut = page.evaluate(
        """() => [...document.querySelectorAll("main *")].filter((one) => {
             const box = one.getBoundingClientRect();
             return box.width && box.right > innerWidth + 1 && !one.closest(".wide, svg, .flip");
           }).map((one) => one.tagName + "." + one.className)"""
    )
    assert cut == []


@pytest.mark.long
def test_one_click_plays_both_and_one_control_stops_both(opened):
    page = opened()
    card = page.locator(".card").first
    playing = "card => [...card.querySelectorAll('video')].map((one) => !one.paused && one.currentTime > 0.2)"
    _until(page, "[...document.querySelectorAll('.card video')].slice(0, 2).every((one) => one.readyState > 0)")
    _until(page, "document.querySelector('.card video').poster.startsWith('data:image/png')")  # its first frame
    shown = card.locator("video").first.evaluate(
        """async (video) => {
          const image = new Image();
          image.src = video.poster;
          await image.decode();
          return [image.width, image.height];
        }"""
    )
    assert shown == [64, 48]
    card.locator(".play").click()
    _until(page, f"({playing})(document.querySelector('.card')).join() === 'true,true'")
    assert card.locator(".play").inner_text() == "Pause"
    card.locator("video").nth(1).evaluate("one => one.pause()")
    _until(page, "[...document.querySelectorAll('.card video')].slice(0, 2).every((one) => one.paused)")
    assert card.locator(".play").inner_text() == "Play both"
    card.locator("video").nth(1).evaluate("one => { one.play(); }")  # as its own control would
    _until(page, f"({playing})(document.querySelector('.card')).join() === 'true,true'")
    card.locator("video").first.evaluate("one => one.pause()")
    _until(page, "[...document.querySelectorAll('.card video')].slice(0, 2).every((one) => one.paused)")
    card.locator("video").first.evaluate("one => { one.currentTime = 1.5; }")
    _until(page, "Math.abs(document.querySelectorAll('.card video')[1].currentTime - 1.5) < 0.2")
    assert card.locator("video").first.evaluate("one => one.muted && one.loop")


@pytest.mark.long
def test_a_clip_that_cannot_be_played_is_shown_frame_by_frame(opened):
    page = opened()
    card = page.locator(".card").nth(3)  # its baseline is b3
    flip = card.locator(".flip")
    flip.wait_for()
    assert "cannot play" in card.locator(".unplayed").inner_text()
    assert card.locator("video").count() == 1
    box, picture = flip.bounding_box(), flip.locator("img").bounding_box()
    assert picture["width"] == pytest.approx(box["width"] * (8 * 64 + 7 * 2) / 64, rel=0.005)  # one frame fills it
    place = "document.querySelectorAll('.card')[3].querySelector('.flip img').getBoundingClientRect().left"
    before = page.evaluate(place)
    card.locator(".play").click()
    _until(page, f"{place} < {before} - 10")
    _until(page, "!document.querySelectorAll('.card')[3].querySelector('video').paused")
    flip.press("Enter")  # by keyboard, and it stops both
    _until(page, "document.querySelectorAll('.card')[3].querySelector('video').paused")
    still = page.evaluate(place)
    page.wait_for_timeout(700)
    assert page.evaluate(place) == still


@pytest.mark.long
def test_folded_parts_open_by_their_link_and_all_is_reached_by_keyboard(opened):
    page = opened()
    assert page.locator("main details[open]").count() == 0
    page.locator("nav a", has_text="Exploratory").click()
    assert page.locator("details[open]").count() == 1 and page.get_by_text("frechet[feature=clip]").is_visible()
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    reached = set()
    for _ in range(14):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.tagName + '.' + document.activeElement.className"))
    assert {"DIV.scroll", "BUTTON.play", "VIDEO.small"} <= reached


@pytest.mark.long
def test_a_long_table_is_sorted_by_any_column(opened, folder):
    rows = [
        (f"metric {i}", (i * 7) % 10, None if i == 4 else f"{(i * 3) % 10}.5 [0, 9]", "ab"[i % 2]) for i in range(10)
    ]
    table = Table(
        columns=("name", "count", "value", "word"), rows=tuple(rows), notes=tuple((f"note {r[0]}",) for r in rows)
    )
    data = report_page.render(Document(title="Sorted", sections=(Section(title="s", tables=(table,)),)), folder)
    (folder / "sorted.html").write_bytes(data)
    page = opened("sorted")
    names = "[...document.querySelectorAll('tbody')].map((one) => one.rows[0].cells[0].textContent.trim())"
    page.get_by_role("button", name="count").click()
    assert page.evaluate(names) == [row[0] for row in sorted(rows, key=lambda row: row[1])]
    page.get_by_role("button", name="count").click()
    assert page.evaluate(names) == [row[0] for row in sorted(rows, key=lambda row: -row[1])]
    assert page.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
    page.get_by_role("button", name="value").press("Enter")
    by_value = sorted((row for row in rows if row[2]), key=lambda row: float(row[2].split()[0]))
    assert page.evaluate(names) == [*(row[0] for row in by_value), "metric 4"]  # what says nothing comes last
    first = page.locator("tbody").first.inner_text()
    assert f"note {by_value[0][0]}" in first  # its note went with it
    page.set_viewport_size(PHONE)
    assert page.get_by_role("button", name="word").is_visible()
    assert page_driving.width(page) <= 360


@pytest.mark.long
def test_clips_run_while_they_are_seen_and_have_controls_where_one_points(opened):
    page = opened(motion="no-preference")
    videos = page.locator("video")
    videos.first.scroll_into_view_if_needed()
    _until(page, "() => { const one = document.querySelector('video'); return !one.paused && one.muted && one.loop; }")
    page.mouse.move(0, 0)
    assert not videos.first.evaluate("one => one.controls")
    videos.first.hover()
    _until(page, "() => document.querySelector('video').controls")
    page.mouse.move(0, 0)
    _until(page, "() => !document.querySelector('video').controls")
    videos.first.focus()
    _until(page, "() => document.querySelector('video').controls")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    _until(page, "() => document.querySelector('video').paused")
    page.evaluate("scrollTo(0, 0)")
    videos.first.scroll_into_view_if_needed()
    _until(page, "() => !document.querySelector('video').paused")
    page.locator(".card .play").first.click()
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    videos.first.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    assert videos.first.evaluate("one => one.paused"), "a clip that was stopped by hand stays so"


@pytest.mark.long
def test_clips_stand_still_for_who_wants_no_motion(opened):
    page = opened()
    page.locator("video").first.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    assert page.locator("video").first.evaluate("one => one.paused && !one.controls")
