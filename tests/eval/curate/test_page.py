"""The page of a curation: codes and axes keep every limit exact, samples do not depend on limits, no film is opened."""

from __future__ import annotations

import base64
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from planted_films import shot, write
from v2t_eval.cli import main
from v2t_eval.curate import page
from v2t_eval.curate.clip import FilmClip
from v2t_eval.curate.page import UNMEASURED, axis, encode
from v2t_eval.curate.query import apply_limits
from v2t_eval.curate.recipe import read_plan
from v2t_eval.curate.run import Curation
from v2t_eval.curate.step import Work

opened: list[str] = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
RNG = np.random.default_rng(3)
COLUMNS = {
    "even": RNG.random(2000),
    "skewed": RNG.exponential(40, 2000) ** 2,
    "negative": RNG.normal(-3, 1, 300),
    "few": RNG.integers(0, 3, 500).astype(float),
    "one": np.full(50, 7.0),
    "large": RNG.random(100) * 1e9,
    "zeros": np.where(RNG.random(900) < 0.8, 0, RNG.random(900)),
    "holes": np.where(RNG.random(900) < 0.3, np.nan, RNG.random(900)),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_each_limit_keeps_the_clips_it_keeps_by_value(name):
    values = COLUMNS[name]
    inside = np.nanquantile(values, 0.1)
    for limits in ([], [inside], [inside, np.nanmax(values) + 5], [np.nanmin(values) - 1]):
        edges, places, bars = axis(values, limits)
        codes = encode(values, edges).astype(int)
        assert set(limits) <= set(edges.tolist()) and 2 * len(edges) < 254
        assert (np.diff(edges) > 0).all() and (np.diff(places) >= 0).all() and places.min() >= 0 and places.max() <= 1
        known = ~np.isnan(values)
        assert ((codes == UNMEASURED) == ~known).all()
        for n, edge in enumerate(edges):
            assert ((codes < 2 * n + 1) == (values < edge)).all()
            assert ((codes[known] > 2 * n + 1) == (values[known] > edge)).all()
        counted = [int(((codes >= first) & (codes < stop)).sum()) for first, stop, *_ in bars]
        assert sum(counted) == known.sum()  # each clip in one bar
        assert all(0 <= left < right <= 1 for *_, left, right in bars)


def test_a_column_without_a_value_has_an_axis():
    edges, _, bars = axis(np.full(3, np.nan), [])
    assert len(edges) == len(bars) == 1 and (encode(np.full(3, np.nan), edges) == UNMEASURED).all()


def data(folder):
    """What the page's script reads."""
    text = (folder / "report.html").read_text("utf-8")
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', text)[1])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("pile")
    write(place / "films" / "</script><b>ü.mp4", shot(1), shot(2))
    write(place / "films" / "one.mp4", shot(3))
    shutil.copy2(place / "films" / "one.mp4", place / "films" / "two.mp4")
    (place / "films" / "empty.mp4").write_bytes(b"")
    run(place, "limits.sharpness.least=q0.3")
    return place


def run(place, *sets):
    words = [word for each in sets for word in ("--set", each)]
    assert main(["curate", str(place / "films"), "-o", str(place / "set"), "--workers", "1", "--quiet", *words]) == 3


@pytest.mark.slow
def test_the_page_holds_every_clip_and_its_limits(made):
    run(made, "limits.sharpness.least=q0.3")
    found = data(made / "set")
    names = [column["name"] for column in found["columns"]]
    sharp = found["columns"][names.index("sharpness")]
    assert len(base64.b64decode(sharp["codes"])) == 4 and len(base64.b64decode(found["seconds"])) == 16
    assert sharp["asked"]["least"] == "q0.3" and sharp["most"] is None
    below = [code < 2 * sharp["least"] + 1 for code in base64.b64decode(sharp["codes"])]
    rows = [row for row in parquet.read_table(made / "set" / "clips.parquet").to_pylist() if row["error"] is None]
    assert below == ["sharpness.least" in [drop["rule"] for drop in row["drops"]] for row in rows] and any(below)
    assert any("blind to" in note.lower() for note in sharp["notes"]) and any("recall" in n for n in sharp["notes"])
    assert found["command"].endswith("--set limits.sharpness.least=q0.3")
    assert {one["id"].split("#")[0] for one in found["samples"]} >= {"one.mp4", "</script><b>ü.mp4"}
    assert all(one["strip"] and one["link"] for one in found["samples"])


@pytest.mark.slow
def test_a_changed_limit_opens_no_film_and_shows_the_same_samples(made):
    run(made, "limits.sharpness.least=q0.3")
    samples = data(made / "set")["samples"]
    before = len(opened)
    run(made, "limits.sharpness.least=q0.9", "limits.duration_s.most=2.4")
    assert [name for name in opened[before:] if str(made / "films") in name] == []
    assert data(made / "set")["samples"] == samples and samples[0]["strip"]


def test_the_clips_shown_of_columns_that_compare_clips_do_not_depend_on_limits():
    """Limits decide which clips have a value in such a column, and which are copies: not which clips are shown."""
    shown = []
    for most in (1e9, 300.0):
        plan = read_plan(None, ["steps=[shape, copies, text, balance]", f"limits.short_side.most={most}"])
        clips = [
            FilmClip(
                id=f"{n}.mp4#t=0.000,2.000",
                source=f"{n}.mp4",
                source_sha=f"{n % 350}",
                end_s=2.0,
                scores={"duration_s": 2.0, "short_side": float(n), "aspect": 1.0},
            )
            for n in range(400)
        ]
        values = np.random.default_rng(1).random((3, len(clips)))
        for step in plan.steps:
            names = [name for name in ("text_share", "overlay_share", "cluster") if name in step.columns]
            step.known = {name: dict(zip([clip.id for clip in clips], values[n], strict=True))
                          for n, name in enumerate(names)}  # fmt: skip
            step.work = Work(folder=None, file=None, evidence=None, clips=clips, steps=plan.steps)
        done = Curation(films=[], clips=clips, verdicts=apply_limits(plan, clips))
        document = page.as_document(done, plan, {}, "")
        cards = [card.title for section in document.sections for card in section.cards]
        shown.append(([one.id for one in document.sections[0].explorer.samples], cards))
    assert shown[0] == shown[1] and len(shown[0][0]) > 50 and len(shown[0][1]) > 12


def test_the_shipped_figures_are_those_of_the_docs():
    linked = Path(__file__).resolve().parents[3] / "docs" / "figures" / "curate.json"
    assert json.loads(linked.read_text("utf-8")) == page.figures()
    for one in page.figures()["faults"].values():
        assert {"precision", "recall", "limit"} <= set(one)
