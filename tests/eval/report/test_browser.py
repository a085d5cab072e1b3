"""The report page in a real browser: sorts, filters, plays, runs nothing smuggled in, asks nobody, is quick."""

from __future__ import annotations

import numpy as np
import pytest

from cineloop.video.encode import encode
from page_driving import opened, unreadable, width
from v2t_eval.core.metric import Figure, MetricResult
from v2t_eval.core.scores import AbsentMetric, ItemScores, Scores
from v2t_eval.report import page as report_page
from v2t_eval.report.scoring import document

pytest.importorskip("playwright.sync_api", reason="playwright is not installed (a test tool, extra dev)")
pytestmark = pytest.mark.browser

NUM = 1000
EVIL = (
    "</script><script>window.hacked = 1</script><!-- <script>",
    "<img src=x onerror='window.hacked=1'><svg onload='window.hacked=1'>",
    "javascript:window.hacked=1 \u202e\u2028 \x00 {{7*7}} ' \" ` \U0001f600",
)
METRICS = {"clipscore": True, "frechet_part": False, "motion": None, "bleu": True}


def _scores() -> Scores:
    """A thousand clips; every hundredth failed, every fiftieth has no value for bleu, three hold hostile text."""
    clips, results = [], []
    for i in range(NUM):
        text = EVIL[i] if i < len(EVIL) else f"A {('red', 'green', 'blue')[i % 3]} ball rolls past house {i}."
        bad = i % 100 == 99
        error = {"code": "TRUNCATED", "message": EVIL[0], "hint": "make it again"} if bad else None
        clips.append(
            ItemScores(id=f"clip-{i:04}", cluster=text, path=f"clip-{i:04}.mp4", prompt=text, caption=text * 3,
                   references=(text,) * 3, status="failed" if bad else "ok", error=error)
        )  # fmt: skip
    for k, (name, up) in enumerate(METRICS.items()):
        values = np.random.default_rng(k).normal(0.5, 0.1, NUM)
        lacking = {c.id for i, c in enumerate(clips) if name == "bleu" and i % 50 == 7}
        items = [
            {"id": c.id, "value": float(v), "saw": EVIL[1]}
            for c, v in zip(clips, values, strict=True)
            if c.status == "ok" and c.id not in lacking
        ]
        failures = [{"id": c.id, "code": "TRUNCATED", "message": "ends"} for c in clips if c.status != "ok"]
        failures += [{"id": id, "code": "NO_FACTS", "message": EVIL[0]} for id in sorted(lacking)]
        results.append(
            MetricResult(
                name=name, headline="mean", figures={"mean": Figure(value=0.5, low=0.49, high=0.51, n=len(items))},
                n=NUM, coverage=len(items) / NUM, fingerprint={"definition": EVIL[0]}, items=items,
                failures=failures, notes=(EVIL[1],), higher_is_better=up, value_range=(0.0, 1.0),
            )
        )  # fmt: skip
    skipped = [AbsentMetric(metric=EVIL[1], reason=EVIL[0], hint=EVIL[2])]
    return Scores(sources={"clips": EVIL[0]}, clips=clips, results=results, skipped=skipped)


@pytest.fixture(scope="module")
def scores() -> Scores:
    return _scores()


@pytest.fixture(scope="module")
def path(scores, tmp_path_factory):
    """The page, beside the video of its worst clip and a file that is none."""
    folder = tmp_path_factory.mktemp("page")
    pixels = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    worst = _by(scores, "clipscore")
    encode(pixels, folder / f"{worst[0]}.mp4", fps=4)
    (folder / f"{worst[1]}.mp4").write_bytes(b"no video")
    data = report_page.render(document(scores, folder), folder)
    print(f"\npage of {NUM} clips: {len(data) / 1e6:.1f} MB")
    (folder / "report.html").write_bytes(data)
    return folder / "report.html"


@pytest.fixture
def page(browser, path):
    """The page, opened from disk; at its end: no error, nothing smuggled in has run, nobody was asked."""
    size, wanted = {"width": 1300, "height": 900}, ("gone.mp4", "ERR_FILE_NOT_FOUND")
    with opened(browser, path.as_uri(), near=path.parent.as_uri(), wanted=wanted, viewport=size) as page:
        yield page


def _ids(page, num: int = 10) -> list[str]:
    """Clips of the table that are shown, in order."""
    rows = "(rows) => rows.filter((row) => !row.hidden).map((row) => row.querySelector('th').textContent.trim())"
    return page.locator("table.searched tbody").evaluate_all(rows)[:num]


def _by(scores: Scores, name: str, *, down: bool = False) -> list[str]:
    items = sorted(scores.result(name).items, key=lambda item: item["value"], reverse=down)
    return [item["id"] for item in items]


def _open(page) -> None:
    page.locator("summary", has_text="Every clip").click()


def test_the_worst_clips_come_first_and_every_clip_can_be_sorted(page, scores):
    assert page.locator(".card h3").all_text_contents() == _by(scores, "clipscore")[:10]
    _open(page)
    failed = [clip.id for clip in scores.clips if clip.error]
    assert _ids(page, 20) == [*failed, *_by(scores, "clipscore")[:10]] and len(failed) == 10
    for down in (False, True):
        page.get_by_role("button", name="frechet_part").click()
        assert _ids(page) == _by(scores, "frechet_part", down=down)[:10]


@pytest.mark.long
def test_hostile_text_is_shown_as_it_is(page):
    _open(page)
    page.get_by_role("searchbox").fill("clip-0000")
    assert page.locator("table.searched tbody:visible td").first.inner_text().startswith("</script><script>")
    page.wait_for_function("document.readyState === 'complete'")  # smuggled code would have run; the fixture looks


@pytest.mark.long
def test_search_finds_rows_with_all_words(page, scores):
    _open(page)
    page.get_by_role("searchbox").fill("GREEN house 40")
    fitting = {clip.id for clip in scores.clips if "green" in clip.prompt and "40" in clip.prompt + clip.id}
    assert fitting <= set(_ids(page, 99)) and all("green" in scores.clips[int(id[5:])].prompt for id in _ids(page, 99))
    page.get_by_role("searchbox").fill("truncated")
    assert set(_ids(page, 99)) == {clip.id for clip in scores.clips if clip.status != "ok"}
    page.get_by_role("searchbox").fill("")
    assert len(_ids(page, NUM + 1)) == NUM


@pytest.mark.long
def test_a_clip_plays_or_says_that_it_cannot(page, scores):
    first, second = page.locator(".card").nth(0), page.locator(".card").nth(1)
    assert first.locator("video").get_attribute("src") == f"{_by(scores, 'clipscore')[0]}.mp4"
    second.locator(".unplayed", has_text="cannot play").wait_for()
    assert "is not here" in page.locator(".card").nth(2).inner_text()
    _open(page)
    assert page.locator("table.searched a").count() == 2  # files that are there


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone_and_text_can_be_read(page, scheme):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 360, "height": 740})
    assert width(page) <= 360
    page.set_viewport_size({"width": 1300, "height": 900})
    assert unreadable(page) == []
