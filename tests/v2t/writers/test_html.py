"""The page of a run: what it shows and in which order, what stays text, and where its pictures come from."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from caption_stand_ins import FrameCaptioner
from cineloop.errors import ItemError
from small_clips import write_grey
from v2t.caption import run as caption
from v2t.caption.merge import merge
from v2t.caption.settings import CaptionConfig
from v2t.writers import Rows, html

EVIL = '"><script>alert(1)</script><img src=x onerror=alert(1)>\u202e{digest}\x1b&amp;'


class Page(HTMLParser):
    """Elements and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


def record(id: str, **more) -> dict:
    plain = {"id": id, "path": id, "status": "ok", "caption": f"caption of {id}", "segments": [], "warnings": [],
             "model": "m", "style": "short", "error": None, "duration_s": 2.0, "frame_times_s": [0.0, 1.0],
             "tokens": 3, "decoder": "pyav"}  # fmt: skip
    return plain | more


def failed(id: str, message: str = "the file holds no bytes") -> dict:
    error = {"code": "EMPTY_FILE", "message": message, "hint": "copy it again"}
    return record(id, status="failed", caption=None, error=error)


def page(records: list[dict], out: Path) -> Page:
    def find(row):
        if row["status"] != "ok":
            raise ItemError("gone", code="NOT_FOUND")
        return out.parent / "clips" / row["id"]

    out.mkdir(exist_ok=True)
    html.write(Rows(lambda: iter(records), find), out / "made.html", out / html.NAME)
    return Page((out / "made.html").read_text(encoding="utf-8"))


def test_failures_stand_first_then_warnings_and_all_are_counted(tmp_path):
    rows = [record("a"), record("b", warnings=[{"code": "OUT_OF_DOMAIN", "message": "far"}]), failed("c"), record("d")]
    found = page(rows, tmp_path / "out")
    assert [card["class"] for card in found.all("article")] == ["failed", "warned", "plain", "plain"]
    text = " ".join(found.texts)
    assert text.index("EMPTY_FILE") < text.index("caption of b") < text.index("caption of a")
    assert "4 clips: 3 captioned, 1 failed" in text and "OUT_OF_DOMAIN (1)" in text
    assert [button["value"] for button in found.all("button")] == ["", "failed", "warned"]
    assert found.all("a")[0]["href"] == "../clips/b"
    assert [video["src"] for video in found.all("video")] == ["../clips/b", "../clips/a", "../clips/d"]
    [policy] = [m["content"] for m in found.all("meta") if m.get("http-equiv")]
    assert "media-src 'self' file:;" in policy


def test_texts_of_others_stay_text_and_only_our_script_may_run(tmp_path):
    rows = [
        record(EVIL, caption=EVIL, warnings=[EVIL, {"code": EVIL, "message": EVIL}], model=EVIL, style=EVIL,
               decoder=EVIL, segments=[{"start_s": 0.0, "end_s": 1.0, "caption": EVIL}]),
        failed("javascript:alert(1)//" + EVIL, EVIL),
    ]  # fmt: skip
    found = page(rows, tmp_path / "out")
    assert len(found.all("script")) == 1 and found.all("img") == []
    names = {name for _, attrs in found.elements for name in attrs}
    assert not {name for name in names if name.startswith("on")}
    assert all(not link["href"].startswith(("javascript", "data")) for link in found.all("a"))
    text = (tmp_path / "out" / "made.html").read_text(encoding="utf-8")
    assert "\u202e" not in text and "\x1b" not in text
    [script] = re.findall(r"<script>(.*?)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    [policy] = [m["content"] for m in found.all("meta") if m.get("http-equiv")]
    assert f"script-src 'sha256-{digest}'" in policy and policy.startswith("default-src 'none'")
    assert "http" not in text.replace("http-equiv", "")  # nothing from elsewhere


def test_a_run_of_thousands_keeps_the_page_small_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(html, "MAX_CARDS", 3)
    rows = [record(f"{n:03}") for n in range(9)] + [
        failed("z"),
        record("zz", warnings=[{"code": "CUT", "message": "x"}]),
    ]
    found = page(rows, tmp_path / "out")
    assert [card["class"] for card in found.all("article")] == ["failed", "warned", "plain"]
    assert "3 are shown here; 8 more clips are in captions.jsonl" in " ".join(found.texts)


@pytest.mark.parametrize(("num", "shown"), [(1, 1), (2, 2), (6, 6), (100, 6)])
def test_a_strip_holds_first_and_last_frame(num, shown, tmp_path):
    def encoded(pixels):
        html.save_strip(tmp_path, pixels, "clip")
        return html.strip_path(tmp_path, "clip").read_bytes()

    pixels = np.zeros((num, 40, 60, 3), np.uint8)
    pixels[0, :, :, 0], pixels[-1, :, :, 2] = 255, 255
    strip = cv2.imdecode(np.frombuffer(encoded(pixels), np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    width = 120
    assert strip.shape == (80, shown * width + (shown - 1) * 3, 3)
    assert strip[40, 60, 0] > 200 and strip[40, -60, 2] > 200
    encoded(pixels)
    words = html._image(html.strip_path(tmp_path, "clip"), "")
    assert f'width="{strip.shape[1]}" height="{strip.shape[0]}"' in words
    assert encoded(np.zeros((2, 4000, 1, 3), np.uint8))  # a line


CAPTIONER = FrameCaptioner(lambda frames: f"{int(frames.pixels.mean())} bright.", num_frames=4)


@pytest.fixture
def clips(tmp_path) -> Path:
    for value in (60, 200):
        write_grey(tmp_path / "clips" / f"{value}.mp4", value, 24, size=(32, 32), fps=8)
    return tmp_path / "clips"


def brightness(found: Page) -> list[float]:
    data = [base64.b64decode(image["src"].partition(",")[2]) for image in found.all("img")]
    return [float(cv2.imdecode(np.frombuffer(each, np.uint8), cv2.IMREAD_COLOR)[:, :60].mean()) for each in data]


@pytest.mark.slow
def test_a_run_leaves_the_page_with_the_frames_that_were_shown(clips, tmp_path):
    out = tmp_path / "out"
    caption.run([str(clips)], out, CaptionConfig(), captioner=CAPTIONER)
    found = Page((out / "index.html").read_text())
    assert brightness(found) == pytest.approx([200, 60], abs=4)
    assert [image["loading"] for image in found.all("img")] == ["lazy", "lazy"]


@pytest.mark.slow
def test_a_resumed_run_has_the_pictures_of_the_first(clips, tmp_path, monkeypatch):
    out = tmp_path / "out"
    caption.run([str(clips)], out, CaptionConfig(), captioner=CAPTIONER)
    first = (out / "index.html").read_bytes()
    (out / "index.html").unlink()
    monkeypatch.setattr(html, "save_strip", None)  # nothing is captioned, so nothing is kept
    assert caption.run([str(clips)], out, CaptionConfig(), captioner=CAPTIONER).done_before == 2
    assert (out / "index.html").read_bytes() == first


@pytest.mark.slow
def test_a_video_in_parts_shows_each_part_with_its_frames(clips, tmp_path):
    out = tmp_path / "out"
    caption.run([str(clips / "60.mp4")], out, CaptionConfig(parts="window:1"), captioner=CAPTIONER)
    found = Page((out / "index.html").read_text())
    assert len(found.all("img")) == len(found.all("li")) == 3
    assert brightness(found) == pytest.approx([60] * 3, abs=4)


@pytest.mark.slow
def test_merged_folders_bring_their_pictures(clips, tmp_path):
    for name in ("60", "200"):
        caption.run([str(clips / f"{name}.mp4")], tmp_path / name, CaptionConfig(root=str(clips)), captioner=CAPTIONER)
    merge([tmp_path / "60", tmp_path / "200"], tmp_path / "both")
    assert brightness(Page((tmp_path / "both/index.html").read_text())) == pytest.approx([200, 60], abs=4)


@pytest.mark.slow
def test_no_strips_without_the_page(clips, tmp_path):
    caption.run([str(clips)], tmp_path / "out", CaptionConfig(format=("txt",)), captioner=CAPTIONER)
    assert not (tmp_path / "out" / html.STRIPS).exists() and not (tmp_path / "out" / html.NAME).exists()


@pytest.mark.browser
def test_clips_run_where_the_browser_can_play_them_and_leave_their_strip_where_not(browser, tmp_path):
    import time

    import page_driving

    clips, out = tmp_path / "clips", tmp_path / "out"
    clips.mkdir()
    pixels = np.full((16, 48, 64, 3), 90, np.uint8)
    _webm(clips / "good", pixels)
    (clips / "odd").write_bytes(b"no video")
    out.mkdir()
    for id in ("good", "odd"):
        html.save_strip(out, pixels, id)
    rows = [record("good"), record("odd")]
    html.write(Rows(lambda: iter(rows), lambda row: clips / row["id"]), out / html.NAME, out / html.NAME)
    url = (out / html.NAME).as_uri()
    with page_driving.opened(browser, url, near=tmp_path.as_uri(), levels=("error",)) as page:
        end = time.monotonic() + page_driving.WAIT_MS / 1000
        while page.locator("video").count() > 1 or page.locator("video").evaluate("one => one.paused"):
            assert time.monotonic() < end, page.content()[-2000:]
            page.wait_for_timeout(50)
        video = page.locator("video")
        assert video.get_attribute("src") == "../clips/good" and page.locator("img").count() == 2
        assert video.evaluate("one => one.muted && one.loop && !one.controls")
        video.hover()
        assert video.evaluate("one => one.controls")


def _webm(path: Path, pixels: np.ndarray) -> None:
    """VP8, which plain Chromium plays."""
    import av

    with av.open(str(path), "w", format="webm") as file:
        stream = file.add_stream("libvpx", rate=8)
        stream.height, stream.width = pixels.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in pixels:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)
