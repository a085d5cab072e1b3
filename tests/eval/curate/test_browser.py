"""The page of a curation in a browser: a moved limit applies all limits to all clips, as the command does."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from page_driving import opened, unreadable, width
from planted_films import shot, write
from v2t_eval.cli import main
from v2t_eval.curate.clip import FilmClip
from v2t_eval.curate.page import as_document
from v2t_eval.curate.query import apply_limits
from v2t_eval.curate.recipe import read_plan
from v2t_eval.curate.run import Curation
from v2t_eval.curate.step import load_step
from v2t_eval.report import page as pages

pytest.importorskip("playwright.sync_api", reason="playwright is not installed (a test tool, extra dev)")
pytestmark = pytest.mark.browser
SETS = ("limits.sharpness.least=q0.2", "limits.still_share.most=0.5", "limits.duration_s.least=2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A set of four films and a copy, one of them frozen."""
    place = tmp_path_factory.mktemp("pile")
    for n in range(3):
        write(place / "films" / f"{n}.mp4", shot(2 * n), shot(2 * n + 1))
    write(place / "films" / "<b>still ü.mp4", np.repeat(shot(9)[:1], 60, 0))
    shutil.copy2(place / "films" / "0.mp4", place / "films" / "copy.mp4")
    words = [word for each in SETS for word in ("--set", each)]
    assert main(["curate", str(place / "films"), "-o", str(place / "set"), "--workers", "1", "--quiet", *words]) == 0
    return place


@pytest.fixture
def page(browser, folder):
    url = (folder / "set" / "report.html").as_uri()
    with opened(browser, url, near=folder.as_uri(), viewport={"width": 1300, "height": 900}) as page:
        page.locator(".kept").wait_for()
        yield page


def funnel(page) -> list[list[str]]:
    return page.locator("#part-1 table tbody tr").evaluate_all(
        "(rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent))"
    )


def by_command(folder, capsys, *sets) -> dict:
    words = [word for each in sets for word in ("--set", each)]
    films, out = str(folder / "films"), str(folder / "again")
    if not (folder / "again").exists():
        shutil.copytree(folder / "set", folder / "again")
    assert main(["curate", films, "-o", out, "--workers", "1", "--quiet", "--json", *words]) == 0
    return json.loads(capsys.readouterr().out)


def agree(shown: list[list[str]], found: dict) -> None:
    """The page's funnel is the command's."""
    assert int(shown[0][5]) == found["clips"]
    rows = [[r[0], *map(int, (r[2], r[4], r[5])), float(r[3]), float(r[6])] for r in shown[1:]]
    expected = [
        [
            one["rule"],
            one["clips"],
            one["alone"],
            one["clips_left"],
            round(one["hours"], 3),
            round(one["hours_left"], 3),
        ]
        for one in found["funnel"]
    ]
    assert rows == expected


def move(page, name: str, share: float) -> None:
    """A slider, by its name, to a share of its axis."""
    page.get_by_role("slider", name=name, exact=True).evaluate(
        "(slider, at) => { slider.value = at * 1000; slider.dispatchEvent(new Event('input')); }", share
    )


def test_the_page_says_what_the_command_says_also_after_limits_were_moved(page, folder, capsys):
    agree(funnel(page), by_command(folder, capsys, *SETS))
    before = page.locator(".kept").inner_text()
    move(page, "sharpness at least", 0.8)
    page.locator("summary", has_text="Scores without a limit").click()
    move(page, "camera_motion at most", 0.4)
    page.get_by_role("button", name="No limit: still_share at most").click()
    command = page.locator(".command code")
    page.wait_for_function("() => document.querySelectorAll('#part-1 tbody').length === 4")
    moved = [word.strip() for word in command.inner_text().split("--set ")[1:]]
    assert "limits.still_share.most=null" in moved and len(moved) == 6
    agree(funnel(page), by_command(folder, capsys, *moved))
    page.get_by_role("button", name="Back to the recipe").click()
    page.wait_for_function("(text) => document.querySelector('.kept').textContent === text", arg=before)


@pytest.mark.long
def test_clips_stand_on_both_sides_of_a_limit(page):
    panel = page.locator(".limits", has=page.get_by_role("heading", name="sharpness", exact=True))
    sides = panel.locator(".at-limit").first.locator(".one-side")
    values = [[float(text) for text in side.locator("b").all_text_contents()] for side in sides.all()]
    limit = float(panel.locator(".limit-value").first.inner_text().split("= ")[1])
    assert values[0] and values[1] and max(values[0]) <= limit <= min(values[1])
    assert sides.nth(0).locator(".side-name").inner_text().startswith("out: below")
    image = sides.nth(1).locator("img").first
    image.scroll_into_view_if_needed()
    page.wait_for_function("(image) => image.complete && image.naturalWidth > 0", arg=image.element_handle())
    assert sides.nth(1).locator("a").first.get_attribute("href").startswith("../films/")


@pytest.mark.long
def test_the_histogram_counts_all_clips_and_those_in_the_set(page):
    panel = page.locator(".limits", has=page.get_by_role("heading", name="still_share", exact=True))
    heights = "(bars) => bars.map((bar) => Number(bar.getAttribute('height')))"
    whole, inside = (panel.locator(f".limits-bars .{name}").evaluate_all(heights) for name in ("all", "in"))
    assert max(whole) == 80 and inside[-1] == 0 < whole[-1]  # the frozen film is out
    assert panel.locator("line.limit[visibility=visible]").count() == 1
    assert "recall" in panel.inner_text() and "Blind to" in panel.inner_text()


@pytest.mark.long
def test_copies_stand_side_by_side(page):
    card = page.locator("section", has=page.get_by_role("heading", name="Copies")).locator(".card").first
    assert card.locator("h3").inner_text().startswith("copy.mp4#t=")
    assert card.locator(".strips img").count() == 2 and "a copy of 0.mp4#t=" in card.inner_text()


@pytest.mark.long
def test_the_page_of_a_written_set_counts_its_clips_and_shows_them(browser, folder):
    films, written = str(folder / "films"), folder / "written"
    shutil.copytree(folder / "set", written)
    words = [word for each in SETS for word in ("--set", each)]
    assert (
        main(["curate", films, "-o", str(written), "--write", "videofolder", "--workers", "1", "--quiet", *words]) == 0
    )
    num_written = len(list((written / "videofolder" / "videos").iterdir()))
    with opened(browser, (written / "report.html").as_uri(), near=folder.as_uri()) as page:
        page.locator(".kept", has_text=f"{num_written} of ").wait_for()
        image = page.locator("#part-1 img").first
        image.scroll_into_view_if_needed()
        page.wait_for_function("(image) => image.complete && image.naturalWidth > 0", arg=image.element_handle())
        move(page, "sharpness at least", 0)
        page.wait_for_function(
            "(num) => !document.querySelector('.kept').textContent.startsWith(num)", arg=f"{num_written} "
        )


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone_and_text_can_be_read(page, scheme):
    page.emulate_media(color_scheme=scheme)
    page.locator("summary", has_text="Scores without a limit").click()
    page.set_viewport_size({"width": 360, "height": 740})
    assert width(page) <= 360
    page.set_viewport_size({"width": 1300, "height": 900})
    assert unreadable(page) == []


@pytest.mark.long
def test_a_hundred_thousand_clips_stay_a_page(browser, tmp_path):
    plan, rng = read_plan(None, ["limits.sharpness.least=q0.1"]), np.random.default_rng(0)
    names = list(plan.columns)
    clips = [
        FilmClip(
            id=f"{n // 20}.mp4#t={n % 20}",
            source=f"{n // 20}.mp4",
            end_s=4.0,
            source_sha=f"{n:064x}",
            scores=dict(zip(names, values.tolist(), strict=True)) | {"cluster": float(n % 7)},
        )
        for n, values in enumerate(rng.random((100_000, len(names))))
    ]
    plan.steps.append(load_step("balance")())
    plan.steps[-1].known["cluster"] = {clip.id: clip.scores["cluster"] for clip in clips}  # of all, as examined
    found = Curation(films=[], clips=clips, verdicts=apply_limits(plan, clips))
    data = pages.render(as_document(found, plan, {}, "v2t-eval curate films -o set"), tmp_path)
    assert len(data) < 4_000_000
    (tmp_path / "report.html").write_bytes(data)
    with opened(browser, (tmp_path / "report.html").as_uri()) as page:
        page.locator(".kept", has_text="90,000 of 100,000 clips are in").wait_for()
        move(page, "sharpness at least", 0.5)
        page.wait_for_function("() => !document.querySelector('.kept').textContent.startsWith('90,000')")
        assert page.locator("#part-2 tbody tr").count() == 7  # clusters
