"""Reports of scores: nothing is lost, hostile text stays text, the page is one bounded file and needs nobody."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cineloop.errors import ItemError
from cineloop.video.encode import encode
from v2t_eval import report
from v2t_eval.core.metric import Figure, MetricResult
from v2t_eval.core.scores import AbsentMetric, ItemScores, Scores, read_scores, render_scores
from v2t_eval.report import cells, markdown, page, parquet, summary, thumbnails
from v2t_eval.report.scoring import document

HOSTILE = [
    "</script><script>window.hacked = 1</script>",
    "<!-- <script> --!> ]]> <![CDATA[ &lt; &amp;amp; &#0;",
    "<img src=x onerror='window.hacked=1'> <a href=\"javascript:alert(1)\">x</a>",
    "line\none\r\ntwo\x85three\u2028four\u2029five\ttab",
    "\u202eright to left\u202c \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "\U0001f469\u200d\U0001f680 \U0001f1fa\U0001f1f3 e\u0301 \ufffe",
    "control \x00 \x07 \x1b[31m \x7f end",
    "| a | b |\n| --- | --- | `code` ```fence``` **bold** _it_ [l](http://x.org) @someone #12 $x$ ~~s~~ www.x.org",
    "{{ 7 * 7 }} {% raw %} ${x} %s {0} '; DROP TABLE clips; --",
    "\udc80 a file name that is no UTF-8",
    "x" * 10_000,
    "<&>" * 3_000,
    "\U0001f600" * 5_000,
]
ROOT = Path(__file__).resolve().parents[3]
MARKED = st.text(max_size=60) | st.text(alphabet="<>&\u2028\u2029\n\r\"'\\`|*_[]()~$#@!-/1.a ", max_size=60)
NAMES = ("clipscore", "facts", "cider", "temporal_flickering", "motion")


def _result(
    name: str, clips: list[ItemScores], *, up: bool | None = True, top: float = 1.0, seed: int = 0, every: int = 9
):
    """A metric that cannot score every ninth clip and shares most values with others."""
    rng = np.random.default_rng(seed)
    items, failures = [], []
    for i, clip in enumerate(clips):
        if clip.status != "ok":
            failures.append({"id": clip.id, "code": clip.error["code"], "message": clip.error["message"]})
        elif every and i % every == 5:
            failures.append({"id": clip.id, "code": "NO_CAPTION", "message": f"{clip.id} has no caption"})
        else:
            items.append({"id": clip.id, "value": float(rng.random()), "missed": ["colour"], "seen": clip.caption})
    values = [item["value"] for item in items]
    figure = Figure(value=float(np.mean(values)), low=min(values), high=max(values), n=len(items))
    return MetricResult(
        name=name, headline="mean", figures={"mean": figure, "best": replace(figure, detail={"right": 3})},
        n=len(clips), coverage=len(items) / len(clips), items=items, failures=failures,
        fingerprint={"definition": f"{name}/1", "model": "ViT-B-32 sha256:00ff"},
        notes=("Long texts were cut.",), higher_is_better=up, value_range=(0.0, top),
    )  # fmt: skip


def _scores(num: int = 30, texts: list[str] | None = None) -> Scores:
    clips = []
    for i in range(num):
        text = texts[i % len(texts)] if texts else f"A {('red', 'green')[i % 2]} ball rolls past house {i}."
        bad = i % 10 == 3
        error = {"code": "TRUNCATED", "message": f"clip ends early: {text[:300]}", "hint": "make it again"}
        clips.append(
            ItemScores(
                id=f"clip {i:04}", cluster=text, path=f"clips/clip {i:04}.mp4", content=f"sha256:{i}", prompt=text,
                caption=None if bad else text[::-1], references=(text, "a ball"), duration_s=2.0, fps=8.0,
                size=(48, 64), status="failed" if bad else "ok", error=error if bad else None,
            )
        )  # fmt: skip
    results = [_result(name, clips, seed=i, top=(1.0, math.inf)[i == 2]) for i, name in enumerate(NAMES[:4])]
    results.append(_result("motion", clips, up=None, seed=9))
    whole = Figure(value=812.4, low=790.0, high=861.0, n=num)
    results.append(
        MetricResult(
            name="frechet[feature=starter]", headline="d", figures={"d": whole}, n=num, coverage=1.0,
            fingerprint={"estimator": "n - 1"}, higher_is_better=False, value_range=(0.0, math.inf),
        )
    )  # fmt: skip
    results.append(MetricResult(name="emscore", headline="f", figures={}, n=num, coverage=0.0, fingerprint={}))
    return Scores(
        sources={"clips": "clips/", "prompts": texts[0] if texts else "prompts.jsonl"},
        clips=clips,
        results=results,
        skipped=[AbsentMetric(metric="spice", reason=texts[0] if texts else "no models", hint="get them")],
        counts={"samples": num},
        environment={"cineloop": "0.1.0", "date": "2026-01-01"},
    )


class _Reader(HTMLParser):
    """Elements with attributes, and the text of scripts and styles, as a browser's parser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[dict[str, str | None], str]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.raw.append((dict(attrs), ""))

    def handle_data(self, data):
        if self.cdata_elem:
            attrs, text = self.raw[-1]
            self.raw[-1] = (attrs, text + data)
        else:
            self.words.append(data)


# --- JSON


def test_json_is_read_back_equal(tmp_path):
    for scores in (_scores(), _scores(len(HOSTILE), HOSTILE)):
        data = render_scores(scores)
        (tmp_path / "scores.json").write_bytes(data)
        assert render_scores(read := read_scores(tmp_path / "scores.json")) == data
        assert read == scores or "\ufffd" in data.decode()
        assert json.loads(data)["schema"] == 1 and b"NaN" not in data and b"Infinity" not in data


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_number_that_is_not_finite_is_refused_by_name(number):
    scores = _scores(3)
    scores.results[1].items[0]["value"] = number
    with pytest.raises(ValueError, match=r"facts.*clip 0000.*value is (nan|inf)"):
        render_scores(scores)


# --- what all reports say


def test_worst_clips_come_first_whichever_end_is_good():
    result = _result("facts", _scores().clips)
    values = {item["id"]: item["value"] for item in result.items}
    for up, pick in ((True, min), (False, max), (None, max)):
        row = summary.rows(replace(_scores(), results=[replace(result, higher_is_better=up)]))[0]
        first = summary.worst_first(row)[0]
        assert values[first] == pick(values.values())
        assert len(summary.worst_first(row)) == len(values)
        assert summary.fifths(row)[first] == (2 if up is None else 0)


def test_equal_values_have_one_rank_and_fifths_are_fifths():
    clips = [ItemScores(id=str(i), cluster="") for i in range(100)]
    result = _result("facts", clips, every=0)
    row = summary.rows(Scores(sources={}, clips=clips, results=[result]))[0]
    classes = list(summary.fifths(row).values())
    assert [classes.count(i) for i in range(5)] == [20] * 5
    assert set(summary.fifths(replace(row, values=dict.fromkeys(row.values, 0.5))).values()) == {2}


def test_failures_are_told_once_with_the_reason():
    found = summary.problems(_scores(30))
    by_code = {problem.code: problem for problem in found}
    assert set(by_code) == {"TRUNCATED", "NO_CAPTION"}
    assert (len(by_code["TRUNCATED"].ids), by_code["TRUNCATED"].metrics) == (3, [])
    assert by_code["NO_CAPTION"].metrics == list(NAMES)
    skipped = [AbsentMetric(metric="bleu", reason="r", code="NO_CAPTION")]
    whole = replace(_scores(), clips=[], results=[], skipped=skipped)
    assert document(whole).banner.tone == "plain" and document(_scores(30)).banner.tone == "unsure"


def test_numbers_show_what_the_interval_supports():
    assert summary.figure_texts(Figure(value=0.70123, low=0.68, high=0.72, n=9)) == ("0.701", "0.680", "0.720")
    assert summary.figure_texts(Figure(value=812.44, low=790, high=861, n=9)) == ("812", "790", "861")
    assert summary.figure_texts(Figure(value=1.0, low=1.0, high=1.0, n=9))[0] == "1.0"
    assert cells.number(-1e-20, 2) == "0.00" and cells.number(3e-5, 2) == "3e-05"
    assert [cells.percent(share) for share in (0, 1e-9, 0.5, 0.99999, 1)] == [
        "0 %",
        "0.1 %",
        "50.0 %",
        "99.9 %",
        "100 %",
    ]


# --- Markdown


def _cells(line: str) -> list[str]:
    return re.split(r"(?<!\\)\|", line.strip())[1:-1]


def test_markdown_tables_keep_their_shape_under_hostile_text():
    text = markdown.render(document(_scores(26, HOSTILE)))
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 6  # the first figures, clips, metrics, what could not run, reasons, definitions
    for table in tables:
        assert len({len(_cells(line)) for line in table}) == 1
    assert len(tables[1]) == 2 + 10
    assert not re.search(
        r"<|(?<!\\)`|@\w|#\d|://(?!\u200b)|\x1b|\x00|\u2028|\u202e",
        text.replace("\\`", "").replace("&#8203;", "\u200b"),
    )
    assert len(text.encode()) < 40_000 and re.search(r"\d+ of \d+ clips have a fact wrong", text)


@pytest.mark.slow
def test_markdown_is_cut_at_a_line_when_it_grows_too_long():
    scores = _scores()
    scores.results[:] = [replace(scores.results[0], name=f"metric_{i}" * 20) for i in range(200)]
    text = markdown.render(document(scores), max_bytes=20_000)
    assert len(text.encode()) <= 20_000
    assert text.splitlines()[-1].startswith("Cut here: ")


@given(MARKED)
def test_markdown_text_is_one_line_and_no_markup(text):
    made = markdown.plain(text)
    assert "\n" not in made and "<" not in made
    assert not re.search(r"(?<!\\)(?:\\\\)*[|`*_\[\]$~]", made)


# --- the page


def _page(scores: Scores, folder: Path) -> str:
    return page.render(document(scores, folder, [folder / "scores.json"]), folder).decode("utf-8")


def test_page_shows_hostile_text_as_text_and_runs_nothing(tmp_path):
    text = _page(_scores(26, HOSTILE), tmp_path)
    reader = _Reader(text)
    assert [attrs.get("type") for attrs, _ in reader.raw] == [None, None]  # one style, one script
    assert not [tag for tag, _ in reader.tags if tag in ("img", "iframe", "object", "embed", "link", "base")]
    assert not [name for _, attrs in reader.tags for name in attrs if name.startswith("on") or name == "style"]
    assert HOSTILE[0] in "".join(reader.words)
    assert not re.search(r"[\x00-\x08\x0e-\x1f]", text)


def test_page_says_what_was_and_was_not_scored(tmp_path):
    words = " ".join(" ".join(_Reader(_page(_scores(), tmp_path)).words).split())
    for said in (
        "30 clips, 7 metrics", "1 metric could not run", "no models", "get them", "clip ends early", "make it again",
        "nothing could be scored", "lower is better", "no preferred direction", "ViT-B-32", "misses",
        "Long texts were cut.", "[790, 861]", "of 30", "never as zero", "scores.json",
        "missed colour", "from the worst fifth",
    ):  # fmt: skip
        assert said in words, said


def test_every_clip_stands_in_a_table_failures_first_then_the_worst():
    scores = _scores(40)
    table = next(one for one in document(scores, Path()).sections if one.title == "Every clip").tables[0]
    values = {item["id"]: item["value"] for item in scores.result("facts").items}
    ids = [row[0].text for row in table.rows]
    assert len(ids) == 40 and ids[:4] == [clip.id for clip in scores.clips if clip.error]
    assert ids[-len(values) :] == sorted(values, key=values.get)
    assert table.columns == ("Clip", "Prompt", *NAMES, "Status") and table.rows[0][-1] == ("TRUNCATED", "bad")
    status = {row[0].text: row[-1] for row in table.rows}  # names why a metric did not score a clip
    assert status["clip 0005"] == ("not scored: NO_CAPTION", "unsure") and status["clip 0000"] == ("ok", "plain")
    assert table.rows[-len(values)][2 + NAMES.index("facts")].level == 0


def test_a_card_gives_evidence_in_words():
    """No JSON, no digits beyond those of a value, no flag that is false, no text that stands there already."""
    scores = _scores(6)
    asked = {
        "question": "Is there a dog?",
        "wanted": "yes",
        "answer": "no",
        "decision": "no (chance of 'yes' 0.01)",
        "lost": 0,
        "right": False,
    }
    prompts = {clip.id: clip.prompt for clip in scores.clips}
    for item in scores.result("clipscore").items:
        item |= {
            "seen": "",
            "missed": [],
            "frozen": False,
            "cut": True,
            "strength": 0.7157289024304676,
            "pairs": 16,
            "text": prompts[item["id"]],
            "chances": {"Is it red?": 0.41549577},
            "questions": [asked],
        }
    (worst,) = [one for one in document(scores, Path()).sections if one.title.endswith("have a fact wrong")]
    lines = worst.cards[0].lines
    assert "✗ Is there a dog? no (asked for: yes)" in lines
    said = "clipscore: cut, strength 0.7157, pairs 16, chances (Is it red? 0.4155)"
    assert next(line for line in lines if line.startswith("clipscore:")) == said


@pytest.mark.slow
def test_the_page_of_many_clips_is_bounded(tmp_path):
    """The worst case on purpose: 10 kB texts of what takes most room, 16 metrics."""
    scores = _scores(3000, HOSTILE[-3:])
    scores.results.extend(_result(f"metric_{i}", scores.clips, seed=i) for i in range(10))
    text = _page(scores, tmp_path)
    assert len(text) < 8_000_000 and "The other 1,000 are in scores.json." in text


# --- strips, files, Parquet


def _real(tmp_path) -> Scores:
    """Three clips of moving light (one called like a hostile address, one a part of its file), one failed, one gone."""
    names = ["a.mp4", "java:script%3A#1 \u00e9.mp4", "part.mp4", "failed.mp4", "gone.mp4"]
    (tmp_path / "clips").mkdir()
    for k, name in enumerate(names[:3]):
        pixels = np.zeros((16, 40, 80, 3), np.uint8)
        for t in range(16):
            pixels[t, :, :, k] = 16 * t
        encode(pixels, tmp_path / "clips" / name, fps=8)
    (tmp_path / "clips" / names[3]).write_bytes(b"no video")
    clips = [ItemScores(id=name.split(".")[0], cluster="c", path=f"clips/{name}", prompt="p") for name in names]
    clips[2] = replace(clips[2], start_s=1.5)
    clips[3] = replace(clips[3], status="failed", error={"code": "NOT_MEDIA", "message": "no video in it"})
    return Scores(sources={}, clips=clips, results=[_result("facts", clips, every=0)])


@pytest.mark.slow
def test_write_makes_every_report_whole_and_the_page_shows_the_clips(tmp_path):
    scores, deep = _real(tmp_path), tmp_path / "out" / "deep"
    paths = report.write(scores, report.document_of(scores, deep, tmp_path), deep)
    assert [path.name for path in paths] == list(report.NAMES) and sorted(deep.iterdir()) == sorted(paths)
    text = paths[2].read_text("utf-8")
    tags = _Reader(text).tags
    cards = text.split('<article class="card">')[1:]
    part, whole = (next(card for card in cards if f"<h3>{id}</h3>" in card) for id in ("part", "a"))
    pictures = {}
    for id, card in (("part", part), ("a", whole)):
        data = base64.b64decode(re.search(r"base64,([^\"]+)", card).group(1))
        pictures[id] = Image.open(io.BytesIO(data)).convert("RGB")
    assert pictures["a"].size == (8 * 80 + 7 * 2, 40)
    reds = [pictures["a"].getpixel((40 + 82 * i, 20))[0] for i in range(8)]
    assert reds == sorted(reds) and reds[0] < 20 and reds[7] > 220  # first frame to last
    assert pictures["part"].getpixel((40, 20))[2] > 150  # begins where the part begins
    videos = [attrs["src"] for tag, attrs in tags if tag == "video"]
    assert set(videos) == {"../../clips/a.mp4", "../../clips/java%3Ascript%253A%231%20%C3%A9.mp4",
                           "../../clips/part.mp4#t=1.5"}  # fmt: skip
    assert "The file gone.mp4 is not here." in text and "NOT_MEDIA" in text and str(tmp_path) not in text
    assert {"scores.json", "clips.parquet", "../../clips/a.mp4"} <= {a["href"] for t, a in tags if t == "a"}


def test_a_strip_fits_its_box_and_its_bytes():
    assert thumbnails.strip_size(1920, 1080) == (72, 128)
    assert thumbnails.strip_size(1080, 1920) == (96, 54)
    assert thumbnails.strip_size(720, 576, 16 / 15) == (96, 128)
    assert thumbnails.strip_size(20, 10) == (10, 20)
    noise = np.random.default_rng(0).integers(0, 255, (4, 96, 128, 3), dtype=np.uint8)
    strip = thumbnails.encode(noise, 2_000)
    assert len(strip.data) <= 2_000 and (strip.width, strip.height) == (518, 96)
    with pytest.raises(ItemError, match="fits into 10 bytes"):
        thumbnails.encode(noise, 10)


def test_parquet_has_a_row_a_clip_and_null_for_what_was_not_scored():
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pyarrow.parquet as reading

    scores = _scores(26, HOSTILE)
    table = reading.read_table(io.BytesIO(parquet.render(scores)))
    assert table.column_names[:7] == ["id", "path", "cluster", "prompt", "caption", "status", "error"]
    assert table.column_names[7:] == list(NAMES)
    assert {table.schema.field(name).type for name in NAMES} == {pyarrow.float64()}
    values = {item["id"]: item["value"] for item in scores.result("facts").items}
    assert table["facts"].to_pylist() == [values.get(clip.id) for clip in scores.clips]
    assert table["facts"].null_count == len(scores.clips) - len(values) > 0
    assert table["prompt"].to_pylist()[0] == HOSTILE[0] and table["error"].to_pylist()[3] == "TRUNCATED"
    kept = json.loads(table.schema.metadata[parquet.METADATA])
    assert kept["schema"] == 1 and kept["results"][0]["fingerprint"]["definition"] == "clipscore/1"


def test_without_pyarrow_parquet_is_left_out(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(parquet, "find_spec", lambda name: None)
    with caplog.at_level("INFO", logger="cineloop"):
        paths = report.write(
            none := Scores(sources={}, clips=[], results=[]), report.document_of(none, tmp_path), tmp_path
        )
    assert [path.name for path in paths] == ["scores.json", "report.md", "report.html"]
    assert "clips.parquet is left out" in caplog.text and "pip install 'cineloop[formats]'" in caplog.text


def test_the_wheel_holds_the_files_of_the_page():
    from hatchling.builders.wheel import WheelBuilder

    held = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert {f"v2t_eval/report/page.{kind}" for kind in ("html", "css", "js")} <= held
