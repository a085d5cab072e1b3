"""Checkers of dialects: twenty good captions each pass without a word, twenty with one planted fault each are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from v2t import styles
from v2t.caption.wording import strip_preamble
from v2t.styles.dialect import ERRORS, Draft, is_error

TABLES = {
    path.stem: yaml.safe_load(path.read_text("utf-8")) for path in sorted(Path(__file__).parent.glob("dialects/*.yaml"))
}


def codes(name: str, text: str) -> set[str]:
    dialect = styles.load(name).dialect
    assert dialect is not None
    return {o.code for o in dialect.objections(Draft(text=text, duration_s=TABLES[name].get("duration_s")))}


def planted(name: str, fault: dict[str, Any]) -> str:
    """A good caption with one fault."""
    text: str = TABLES[name]["good"][fault["of"]]
    if fault.get("empty"):
        return " \n"
    if "keep" in fault:
        return " ".join(text.split()[: fault["keep"]]) + "."
    if "times" in fault:
        return " ".join([text] * fault["times"])
    for old, new in [(fault["old"], fault["new"]), *([fault["then"]] if "then" in fault else [])]:
        assert text.count(old) == 1, (name, old)
        text = text.replace(old, new)
    return text


def cases(kind: str) -> list[Any]:
    return [
        pytest.param(name, each, id=f"{name}-{number}")
        for name, table in TABLES.items()
        for number, each in enumerate(table[kind])
    ]


def test_the_tables_hold_twenty_captions_of_each_kind_for_each_dialect():
    assert list(TABLES) == styles.dialects() == ["cogvideox", "h3", "hunyuan", "ltx2", "wan"]
    for name, table in TABLES.items():
        assert len(set(table["good"])) == 20 and len({planted(name, fault) for fault in table["bad"]}) >= 20, name
        errors = [fault for fault in table["bad"] if fault["code"] in ERRORS]
        assert len(errors) >= 12, name


@pytest.mark.parametrize(("name", "text"), cases("good"))
def test_a_caption_in_the_dialects_form_passes(name, text):
    assert codes(name, text) == set()
    assert strip_preamble(text) == text


@pytest.mark.parametrize(("name", "fault"), cases("bad"))
def test_a_planted_fault_is_named_and_nothing_else(name, fault):
    assert codes(name, planted(name, fault)) == {fault["code"], *fault.get("also", ())}


def test_a_dialect_asks_for_the_form_that_it_checks():
    for name in styles.dialects():
        style = styles.load(name)
        assert style.dialect is not None and "caption" in style.prompt or "exactly this form" in style.prompt
        assert 100 < len(style.prompt) < 1200 and style.max_new_tokens >= 300


def test_sounds_are_not_missed_in_a_caption_of_somebody_who_heard_nothing():
    text = (
        TABLES["ltx2"]["good"][11]
        .replace(
            "The wheels beat a regular rhythm on the rails while music plays faintly from his headphones.",
            "He is talking to somebody.",
        )
        .replace(" and the noise grows hollow", "")
    )
    ltx2 = styles.load("ltx2").dialect
    heard = {o.code for o in ltx2.objections(Draft(text=text))}
    assert heard == {"DIALECT_SPEECH", "DIALECT_SOUND"}
    assert ltx2.objections(Draft(text=text, is_heard=False)) == []


def test_errors_come_before_advice():
    objections = styles.load("wan").dialect.objections(Draft(text="Sure! A cat."))
    assert [is_error(o) for o in objections] == sorted([is_error(o) for o in objections], reverse=True)
    assert objections[0].code == "DIALECT_PREFACE" and len(objections) > 1


def test_a_style_file_that_is_read_as_a_dialect_has_its_rules(tmp_path):
    (tmp_path / "mine.yaml").write_text("prompt: Describe it for Wan.\nread_as: wan\n")
    mine = styles.load(str(tmp_path / "mine.yaml"))
    assert mine.dialect == styles.load("wan").dialect and mine.prompt == "Describe it for Wan."
    assert styles.load("short").dialect is None
