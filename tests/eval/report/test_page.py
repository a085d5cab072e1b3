"""Pages of sections: one inert file that needs nobody, links that work from disk, frames that are kept by content."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

import planted_verdicts as planted
from cineloop.video import worker
from cineloop.video.encode import encode
from v2t_eval.gate.report import document
from v2t_eval.report import cells, page, thumbnails
from v2t_eval.report.document import Banner, Card, Document, IntervalCell, Section, Table

VOID = {"meta", "img", "link", "br", "input"}


class _Read(HTMLParser):
    """Elements with their attributes and what stands in them, as a browser's parser would see them."""

    def __init__(self, data: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(data.decode("utf-8"))
        assert self.open == []  # nothing was left open or closed by a text

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.raw.append("")
        if tag not in VOID and not tag.startswith(("line", "rect")):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.cdata_elem:
            self.raw[-1] += data
        elif data.strip():
            self.words.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def _moving(path: Path, seed: int = 0, num: int = 16) -> Path:
    """A clip that turns from dark to light."""
    pixels = np.zeros((num, 32, 48, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 255, num).astype(np.uint8)[:, None, None]
    pixels[:, seed % 32, :, 1] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    encode(pixels, path, fps=8)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return _moving(tmp_path_factory.mktemp("clip") / "a.mp4")


@pytest.fixture
def no_decoder(monkeypatch):
    """Whoever decodes from now on fails the test."""

    def start(*args, **kwargs):
        raise AssertionError("a clip was decoded again")

    return lambda: monkeypatch.setattr(worker, "DecoderPool", start)


# --- texts


def _everywhere(text: str, title: str = "t") -> Document:
    """`text` in each place that takes one."""
    rows = ((text, (text, "bad")), (text, IntervalCell(value=1, low=0, high=2, text=text)))
    table = Table(columns=(text, "b"), rows=rows, caption=text, notes=((text,), (text,)))
    card = Card(
        title=text, lines=(text, text), clip=Path("/nowhere") / text[:50].replace("\0", ""), labels=(text, text)
    )
    section = Section(title=text, text=(text,), tables=(table,), cards=(card,), facts=((text, text),), commands=(text,))
    banner = Banner(word=text, sentence=text, tone="bad", facts=((text, text),))
    sections = (section, Section(title=text, text=(text,), folded=True))
    return Document(title=title, banner=banner, sections=sections, data="x.json")


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(planted.HOSTILE)))
def test_hostile_text_makes_no_element_and_is_shown(number, tmp_path):
    text = planted.HOSTILE[number]
    data = page.render(_everywhere(text, text), tmp_path)
    read, plain = _Read(data), _Read(page.render(_everywhere("t"), tmp_path))
    assert [tag for tag, _ in read.tags] == [tag for tag, _ in plain.tags]
    assert [sorted(attrs) for _, attrs in read.tags] == [sorted(attrs) for _, attrs in plain.tags]
    assert read.raw == plain.raw
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", data.decode("utf-8"))
    shown = cells.inert(text).encode("utf-8", "backslashreplace").decode()
    assert shown in read.words and len(shown) <= 2_000


def test_the_policy_lets_only_its_own_code_run_and_nothing_load_from_elsewhere(tmp_path):
    data = page.render(_everywhere("https://example.org/x.js"), tmp_path)
    read = _Read(data)
    policy = next(attrs["content"] for attrs in read.all("meta") if attrs.get("http-equiv"))
    style, script = read.raw
    for kind, text in (("style", style), ("script", script)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy
    assert not re.search(r"url\(|@import|https?:", style + script)
    for _, attrs in read.tags:
        assert not any(name.startswith("on") or name == "style" for name in attrs)
        for name in ("src", "href"):
            assert re.match(r"data:image/webp;base64,|#|[\w.%/-]+$", attrs.get(name) or "#")


# --- tables


def _cells(*values: object) -> list[str]:
    shown = cells.table_context(Table(columns=("x",), rows=tuple((value,) for value in values)), "t", Path())
    return [row["cells"][0]["text"] for row in shown["rows"]]


def test_cells_show_numbers_for_people():
    assert _cells(0.12345, 3, 12345, None, True, "", float("nan"), np.float32(0.5), np.int64(1234)) == [
        "0.123", "3", "12,345", "–", "yes", "–", "–", "0.500", "1,234",
    ]  # fmt: skip
    assert _cells(0.0000123, 1e9, -0.0001) == ["1.23e-05", "1e+09", "-0.0001"]
    assert _cells((0.25, "good"), IntervalCell(value=0.5, low=0.41, high=0.59)) == ["0.250", "0.50 [0.41, 0.59]"]


@pytest.mark.parametrize(
    ("column", "numeric", "keys"),
    [
        ((1, 2.5, None), True, ["1", "2.5", ""]),
        (("0.81 [0.7, 0.9]", "-1,234 [1, 2]", "–"), True, ["0.81", "-1234", ""]),
        ((("< 0.001", "bad"), "0.02 (0.04)"), True, ["0.001", "0.02"]),
        (("3 red balls", "12"), False, ["", "12"]),
        (("2026-11-20", "2026-11-21"), False, ["", ""]),
        (("a", "b"), False, ["", ""]),
        ((None, ""), False, ["", ""]),
    ],
)
def test_a_column_of_numbers_is_known_and_sorted_as_numbers(column, numeric, keys):
    shown = cells.table_context(Table(columns=("x",), rows=tuple((value,) for value in column)), "t", Path())
    assert shown["columns"][0]["numeric"] is numeric
    assert [row["cells"][0]["key"] for row in shown["rows"]] == keys


def test_long_tables_sort_wide_ones_scroll_and_broken_ones_are_refused():
    assert not cells.table_context(Table(columns=("x",), rows=((1,),) * 7), "t", Path())["sorts"]
    assert cells.table_context(Table(columns=("x",), rows=((1,),) * 8), "t", Path())["sorts"]
    assert cells.table_context(Table(columns=("x",) * 12, rows=((1,) * 12,)), "t", Path())["wide"]
    assert cells.table_context(Table(columns=("x",), rows=()), "t", Path())["rows"] == []
    with pytest.raises(ValueError, match="Things: a row of 1 cells in a table of 2 columns"):
        cells.table_context(Table(columns=("a", "b"), rows=((1,),)), "Things", Path())
    with pytest.raises(ValueError, match="1 notes for 2 rows"):
        cells.table_context(Table(columns=("a",), rows=((1,), (2,)), notes=(("x",),)), "t", Path())


def test_an_interval_lies_where_its_numbers_are():
    drawn = cells._interval_drawing(
        IntervalCell(value=0.5, low=0.25, high=0.75, least=0.0, most=1.0, zero=0.0, bad_below=0.1)
    )
    assert (drawn["left"], drawn["width"], drawn["point"], drawn["zero"]) == (50.0, 100.0, 100.0, 0.0)
    assert drawn["zones"] == [(0.0, 20.0)] and drawn["tone"] == "good"
    turned = cells._interval_drawing(
        IntervalCell(value=0.2, low=0.1, high=0.3, least=0.0, most=1.0, bad_above=0.25, mirrored=True)
    )
    assert (turned["left"], turned["width"], turned["point"]) == (140.0, 40.0, 160.0)
    assert turned["zones"] == [(0.0, 150.0)] and turned["tone"] == "unsure"  # it reaches into what is not accepted
    beyond = IntervalCell(value=-0.2, low=-0.3, high=-0.1, bad_below=-0.05, zero=0.0)
    assert cells._interval_drawing(beyond)["tone"] == "bad" and cells._interval_drawing(beyond)["zones"][0][0] == 0.0
    assert cells._interval_drawing(IntervalCell(value=0.0, low=0.0, high=0.0)) is not None
    assert cells._interval_drawing(IntervalCell(value=0.0, low=-np.inf, high=0.0)) is None


# --- clips


@pytest.mark.slow
def test_clips_are_linked_from_the_page_and_shown_as_frames(clip, tmp_path):
    odd = tmp_path / "clips" / "java:script%3A#1 \u00e9?.mp4"
    odd.parent.mkdir()
    shutil.copy(clip, odd)
    card = Card(title="a", clip=odd, other=tmp_path / "gone.mp4")
    shown = Document(title="t", sections=(Section(title="s", cards=(card,)),))
    read = _Read(page.render(shown, tmp_path / "out" / "deep"))
    (video,) = read.all("video")
    assert video["class"] == "small"  # shown larger than it is: its pixels stay sharp
    assert unquote(video["src"]) == f"../../clips/{odd.name}" and ":" not in video["src"]
    assert {"controls", "loop", "muted", "playsinline"} <= video.keys() and video["preload"] == "metadata"
    assert "The file gone.mp4 is not here." in read.words
    (image,) = read.all("img")
    picture = Image.open(io.BytesIO(base64.b64decode(image["src"].removeprefix("data:image/webp;base64,")))).convert(
        "RGB"
    )
    assert picture.size == (int(image["width"]), int(image["height"])) == (8 * 48 + 7 * 2, 32)
    reds = [picture.getpixel((24 + 50 * i, 20))[0] for i in range(8)]
    assert reds == sorted(reds) and reds[0] < 25 and reds[7] > 225  # first frame to last
    assert (video["width"], video["height"]) == ("48", "32")  # the place is kept while it loads


@pytest.mark.slow
def test_frames_are_decoded_once_where_there_is_a_state_folder(tmp_path, no_decoder):
    both = [_moving(tmp_path / "a.mp4"), _moving(tmp_path / "b.mp4", seed=3)]
    section = Section(title="s", cards=(Card(title="a", clip=both[0], other=both[1]),))
    out = tmp_path / "out"
    out.mkdir()
    assert b"data:image/webp" in page.render(Document(title="t", sections=(section,)), out)
    assert list(out.iterdir()) == []  # nothing is left in a folder without state
    (out / page.STATE).mkdir()
    first = page.render(Document(title="t", sections=(section,)), out)
    no_decoder()
    assert page.render(Document(title="t", sections=(section,)), out) == first
    shutil.copy(both[1], both[0])  # other content under the old name
    changed = _Read(page.render(Document(title="t", sections=(section,)), out))
    assert changed.all("img")[0]["src"] == changed.all("img")[1]["src"]
    _moving(both[1], seed=9)
    with pytest.raises(AssertionError, match="decoded again"):
        page.render(Document(title="t", sections=(section,)), out)


@pytest.mark.slow
def test_a_file_that_is_no_video_costs_its_picture_only(tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    section = Section(title="s", cards=(Card(title="a", clip=tmp_path / "bad.mp4", lines=("said",)),))
    read = _Read(page.render(Document(title="t", sections=(section,)), tmp_path))
    assert read.all("img") == [] and len(read.all("video")) == 1 and "said" in read.words


@pytest.mark.slow
def test_the_page_is_bounded_whatever_the_clips(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 255, (8, 128, 160, 3), dtype=np.uint8)
    strip = thumbnails.encode(np.stack([frame[:96, :128] for frame in noise]), 12_000)
    asked = []

    def of_parts(paths, max_bytes, num_frames, cache):
        asked.append(max_bytes)
        return dict.fromkeys(paths, strip)

    monkeypatch.setattr(thumbnails, "of_parts", of_parts)
    for i in range(80):
        (tmp_path / f"{i}.mp4").write_bytes(b"x")
    verdict = planted.verdict(num=500, texts=planted.HOSTILE)
    data = page.render(document(verdict, tmp_path, tmp_path), tmp_path)
    assert len(_Read(data).all("article")) == page.MAX_CARDS and len(data) < 1_500_000
    many = tuple(Card(title=str(i), clip=tmp_path / f"{i % 80}.mp4") for i in range(80))
    page.render(Document(title="t", sections=(Section(title="s", cards=many),)), tmp_path)
    assert all(one <= 12_000 for one in asked)
    monkeypatch.setattr(page, "_ALL_BYTES", page.MAX_CARDS * 1_000)
    page.render(Document(title="t", sections=(Section(title="s", cards=many),)), tmp_path)
    assert asked[-1] == 1_000


# --- strips


@pytest.mark.slow
def test_strips_are_kept_by_content_window_and_size(clip, tmp_path, no_decoder):
    path, kept = tmp_path / "a.mp4", tmp_path / "kept"
    shutil.copy(clip, path)
    first = thumbnails.of_parts([(path, None)], 9_000, 4, kept)
    assert first[path, None].num_frames == 4
    no_decoder()
    shutil.copy(clip, tmp_path / "b.mp4")
    assert thumbnails.of_parts([(tmp_path / "b.mp4", None)], 9_000, 4, kept) == {
        (tmp_path / "b.mp4", None): first[path, None]
    }
    for span, max_bytes, folder in (((0.5, 1.0), 9_000, kept), (None, 8_000, kept), (None, 9_000, None)):
        with pytest.raises(AssertionError, match="decoded again"):
            thumbnails.of_parts([(path, span)], max_bytes, 4, folder)


@pytest.mark.slow
def test_a_damaged_strip_is_made_again_and_a_file_that_is_gone_is_left_out(clip, tmp_path):
    part, kept = (tmp_path / "a.mp4", None), tmp_path / "kept"
    shutil.copy(clip, part[0])
    first = thumbnails.of_parts([part], 9_000, 4, kept)
    import sqlite3

    with sqlite3.connect(kept / "evidence.sqlite") as base:
        assert base.execute("UPDATE evidence SET data = zeroblob(40)").rowcount == 1
    base.close()
    assert thumbnails.of_parts([part], 9_000, 4, kept) == first
    part[0].unlink()
    assert thumbnails.of_parts([part], 9_000, 4, kept) == {}
