"""One document, five renderers: what is folded, brief or too much for a place is treated as declared."""

from __future__ import annotations

import re

from planted_scores import scores
from v2t_eval.report import github, junit, markdown, page, scoring, terminal
from v2t_eval.report.document import Banner, Card, Check, Document, Heat, Histogram, IntervalCell, Section, Table

FOLDED = Section(
    title="Secondary", tables=(Table(columns=("a", "b"), rows=tuple((f"row {i}", i) for i in range(300))),), folded=True
)


def _document(*sections: Section, tone: str = "bad") -> Document:
    return Document(title="T", banner=Banner(word="NO", sentence="why", tone=tone), sections=sections, data="d.json")


def test_a_terminal_shows_brief_lines_for_a_section_and_no_folded_one():
    text = terminal.render(_document(FOLDED, Section(title="Long", text=("prose",), brief=("in short",), folded=True)))
    assert text == "NO: why\n\nin short"


def test_a_wide_table_is_written_row_by_row_and_a_narrow_one_in_columns():
    narrow = Table(columns=("name", "x"), rows=(("a", 1), ("b", IntervalCell(value=0.5, low=0.41, high=0.59))))
    wide = Table(columns=("name", *"pqrst"), rows=(("m", None, *(Heat(text="y" * 30, level=1),) * 4),))
    text = terminal.render(_document(Section(title="N", tables=(narrow,)), Section(title="W", tables=(wide,))))
    assert re.search(r"\n  name  x\s*\n  a     1\n  b     0.50 \[0.41, 0.59\]\n", text)
    assert f"\n  m\n      q {'y' * 30} · r {'y' * 30}\n      s {'y' * 30} · t {'y' * 30}" in text
    assert max(map(len, text.split("\n"))) <= terminal.COLUMNS


def test_notes_stand_with_their_rows_and_text_beside_a_table_is_left_to_the_page():
    table = Table(columns=("name", "x"), rows=(("a", 1),), notes=(("said of a",),))
    document = _document(Section(title="S", text=("how to read it",), tables=(table,)))
    assert "a: said of a" in terminal.render(document) and "how to read it" not in terminal.render(document)
    assert "- **a**: said of a" in markdown.render(document) and "how to read it" in markdown.render(document)


def test_colours_only_where_they_are_asked_for():
    table = Table(columns=("m", "outcome"), rows=(("a", ("fail", "bad")),))
    document = _document(Section(title="S", tables=(table,)))
    assert "\x1b[" not in terminal.render(document)
    assert "\x1b[1;31mNO" in terminal.render(document, color=True)
    assert "| a | **fail** |" in markdown.render(document)


def test_markdown_loses_clips_and_folded_rows_first_and_counts_them():
    cards = Section(title="Clips", cards=tuple(Card(title=f"c{i}", lines=("x",)) for i in range(40)))
    kept = Section(title="Kept", tables=(Table(columns=("k",), rows=(("stays",),) * 30),))
    text = markdown.render(_document(cards, FOLDED, kept), max_bytes=1_500)
    assert len(text) <= 1_500 and text.count("stays") == 30 and text.startswith("# T: NO\n\n**why**")
    clips, rows = len(re.findall(r"^\| c\d", text, re.M)), len(re.findall(r"^\| row", text, re.M))
    assert 0 < clips == rows < 40
    assert f"\n{40 - clips} clips more: " in text and f"\n{300 - rows} rows more: " in text


def test_a_plain_result_is_no_verdict_in_the_heading():
    assert markdown.render(_document(tone="plain")) == "# T\n\n**NO** why\n"
    assert markdown.render(Document(title="T")) == "# T\n" and terminal.render(Document(title="T")) == ""


def test_the_page_counts_the_clips_it_has_no_room_for(tmp_path):
    cards = tuple(Card(title=str(i)) for i in range(page.MAX_CARDS + 2))
    shown = page.render(_document(Section(title="S", cards=cards), Section(title="Empty")), tmp_path).decode()
    assert shown.count("<article") == page.MAX_CARDS and ">2 clips more: " in shown
    assert "Empty" not in shown


def test_a_check_is_a_test_and_an_annotation_and_in_a_folded_section_neither():
    """Whatever the document is about: nothing in the renderers knows a gate."""
    table = Table(columns=("Room", "State"), rows=(("attic", Check("too warm", "bad", "31 degrees")),))
    odd = Table(columns=("Room", "State"), rows=(("roof", Check("shut", "invalid", "no key")),))
    document = _document(Section(title="Rooms", tables=(table,)), Section(title="Others", tables=(odd,), folded=True))
    xml = junit.render(document).decode()
    assert '<testcase classname="t.rooms" name="attic"' in xml
    assert '<failure message="31 degrees" type="too warm">' in xml
    assert '<skipped message="not part of the verdict; by itself it would be: shut"' in xml and 'failures="2"' in xml
    assert github.workflow_commands(document) == [
        "::error title=T%3A no::why",
        "::error title=attic%3A too warm::31 degrees",
    ]
    assert "too warm" in terminal.render(document) and "**too warm**" in markdown.render(document)


def test_the_page_of_scores_draws_how_the_values_of_clips_are_spread(tmp_path):
    """Each metric of single clips has its histogram on the page; text reports have none."""
    found = scores()
    document = scoring.document(found, tmp_path)
    table = next(one for one in document.sections if one.title == "Metrics").tables[0]
    drawn = {row[0]: row[2] for row in table.rows if isinstance(row[2], Histogram)}
    values = [item["value"] for item in found.result("sharpness").items]
    sharp = drawn["sharpness"]
    assert set(drawn) == {"sharpness", "temporal_flickering"} and sum(sharp.counts) == len(values)
    assert (sharp.low, sharp.high) == (min(values), max(values))
    assert sharp.counts[0] == sum((value - min(values)) * 20 < max(values) - min(values) for value in values)
    bars = page.render(document, tmp_path).decode().split('class="bars"')[1:]
    assert len(bars) == 2 and len(re.findall("<rect ", bars[0].split("</svg>")[0])) == sum(map(bool, sharp.counts))
    assert "Clips" in table.columns and "Clips" not in table.texts().columns
    for text in (markdown.render(document), terminal.render(document, whole=True)):
        assert "Every clip" not in text and "Histogram" not in text
