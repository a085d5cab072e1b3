"""One document, three renderers: what is folded, brief or too much for a place is treated as declared."""

from __future__ import annotations

import re

from v2t_eval.report import markdown, page, terminal
from v2t_eval.report.document import Banner, Card, Document, Heat, Interval, Section, Table

FOLDED = Section(
    title="Secondary", tables=(Table(columns=("a", "b"), rows=tuple((f"row {i}", i) for i in range(300))),), folded=True
)


def _document(*sections: Section, tone: str = "bad") -> Document:
    return Document(title="T", banner=Banner(word="NO", sentence="why", tone=tone), sections=sections, data="d.json")


def test_a_terminal_shows_brief_lines_for_a_section_and_no_folded_one():
    text = terminal.render(_document(FOLDED, Section(title="Long", text=("prose",), brief=("in short",), folded=True)))
    assert text == "NO: why\n\nin short"


def test_a_wide_table_is_written_row_by_row_and_a_narrow_one_in_columns():
    narrow = Table(columns=("name", "x"), rows=(("a", 1), ("b", Interval(value=0.5, low=0.41, high=0.59))))
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
    assert f"{40 - clips} clips more: left out here, all stand in d.json." in text
    assert f"{300 - rows} rows more" in text


def test_a_plain_result_is_no_verdict_in_the_heading():
    assert markdown.render(_document(tone="plain")) == "# T\n\n**NO** why\n"
    assert markdown.render(Document(title="T")) == "# T\n" and terminal.render(Document(title="T")) == ""


def test_the_page_counts_the_clips_it_has_no_room_for(tmp_path):
    cards = tuple(Card(title=str(i)) for i in range(page.MAX_CARDS + 2))
    shown = page.render(_document(Section(title="S", cards=cards), Section(title="Empty")), tmp_path).decode()
    assert shown.count("<article") == page.MAX_CARDS and "2 clips more: left out here, all stand in d.json." in shown
    assert "Empty" not in shown
