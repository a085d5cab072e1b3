"""One reader for all doors: hostile JSON, text and files end as an error that names the file, never as a crash."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cineloop import config
from cineloop.discovery import discover
from cineloop.documents import MAX_DEPTH, half_char, json_lines, open_file, parse_json, read_text
from cineloop.errors import CineloopError, UsageError
from cineloop.manifest import read_manifest
from t2v.data.layouts import read_items
from t2v.generate.prompts import plan
from t2v.generate.settings import GenerateConfig
from v2t.backends import choose
from v2t.backends.local import _read_json as model_file
from v2t.serve import served
from v2t_eval.audit.record import read_audit
from v2t_eval.core.scores import read_scores
from v2t_eval.core.tables import read_rows
from v2t_eval.extractors.hub import _read as hub_file
from v2t_eval.gate import baseline, sides
from v2t_eval.judge import calibration
from v2t_eval.text.ngrams import frequencies

# Door: how the file is called, and what reads it. Every file that a command takes has a row.
DOORS = {
    "manifest": ("m.jsonl", lambda path: list(read_manifest(path))),
    "manifest of clips": ("m.jsonl", lambda path: discover([str(path)])),
    "rows of a score": ("rows.jsonl", read_rows),
    "document of a score": ("rows.json", read_rows),
    "prompts": ("prompts.jsonl", lambda path: plan([], [str(path)], GenerateConfig())),
    "layout": ("metadata.jsonl", lambda path: read_items([path.parent])),
    "scores": ("scores.json", read_scores),
    "baseline": ("baseline.json", baseline.read),
    "either side of a gate": ("side.json", sides.read),
    "audit": ("audit.json", read_audit),
    "corpus": ("corpus.json", lambda path: frequencies(str(path))),
    "corpus lines": ("corpus.jsonl", lambda path: frequencies(str(path))),
    "calibration": ("judge.json", calibration.load),
    "recipe": ("c.yaml", config.read_yaml),
    "model": ("config.json", model_file),
    "model of a metric": ("config.json", hub_file),
    "adapter": ("adapter_config.json", lambda path: served.read_adapter(path.parent)),
}
LISTS = {
    "list of clips": ("list.txt", lambda path: discover([f"@{path}"])),
    "lines of prompts": ("prompts.txt", lambda path: plan([], [str(path)], GenerateConfig())),
    "lines of a score": ("prompts.txt", read_rows),
    "table of a score": ("prompts.csv", read_rows),
    "columns": ("videos.txt", lambda path: read_items([path])),
    "table of clips": ("metadata.csv", lambda path: read_items([path])),
}


def refused(door: str, folder: Path, content: bytes | None) -> CineloopError:
    name, read = (DOORS | LISTS)[door]
    path = folder / name
    if content is None:
        os.mkfifo(path)
        if name == "videos.txt":
            (folder / "prompts.txt").write_text("a\n")
    else:
        path.write_bytes(content)
    with pytest.raises(CineloopError) as caught:
        read(path)
    assert caught.value.exit_code in (2, 5), caught.value
    return caught.value


@pytest.mark.parametrize(
    "depth", [MAX_DEPTH + 1, *(pytest.param(depth, marks=pytest.mark.slow) for depth in (5_000, 100_000))]
)
@pytest.mark.parametrize("door", DOORS)
def test_deep_nesting_is_refused_with_the_file(door, depth, tmp_path):
    deep = '{"id": "a", "path": "a.mp4", "file_name": "a.mp4", "prompt": "p", "facts": ' + "[" * depth + "]" * depth
    error = refused(door, tmp_path, deep.encode() + b"}\n")
    assert DOORS[door][0] in str(error), error
    assert "deeper" in str(error), error


@pytest.mark.parametrize("where", ["id", "path", "prompt", "captions"])
@pytest.mark.parametrize("door", DOORS)
def test_half_a_character_is_refused_with_file_and_field(door, where, tmp_path):
    row = {"id": "a", "path": "a.mp4", "file_name": "a.mp4", "prompt": "p", "captions": ["c"]} | {where: "x\ud800y"}
    error = refused(door, tmp_path, json.dumps(row).encode() + b"\n")
    assert DOORS[door][0] in str(error), error
    assert where in str(error), error
    str(error).encode()


@pytest.mark.timeout(30)
@pytest.mark.parametrize("door", [door for door in DOORS | LISTS if door != "layout"])  # a folder passes it by
def test_a_named_pipe_is_refused_and_not_waited_for(door, tmp_path):
    error = refused(door, tmp_path, None)
    assert "regular file" in str(error), error


@pytest.mark.timeout(30)
def test_a_pipe_in_place_of_a_model_does_not_hold_up_the_choice_of_captioner(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    assert choose(str(tmp_path)) == "hf"


def test_a_descriptor_of_the_shell_is_read():
    reader, writer = os.pipe()
    os.write(writer, b"one\r\ntwo\n")
    os.close(writer)
    assert read_text(f"/dev/fd/{reader}") == "one\ntwo\n"
    os.close(reader)


def test_folders_and_devices_are_no_files(tmp_path):
    for path in (tmp_path, Path("/dev/zero")):
        with pytest.raises(OSError, match="not a regular file"):
            open_file(path)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("NaN", "not a JSON number"),
        ("[1e999]", "not finite"),
        ("-" + "1" * 101, "at most 100"),
        ('{"a": {"b": ["\\udfff"]}}', r"'a\.b\[0\]'"),
        ('{"\\ud800": 1}', "name of the field"),
        (b'\n"\xff"', "line 2"),
        ("{", "column 2"),
        ("{\n  x}", "line 2"),
    ],
)
def test_what_is_no_json_here(text, match):
    with pytest.raises(ValueError, match=match):
        parse_json(text)


def test_a_long_text_is_not_checked_character_by_character():
    class Long(str):
        """A text whose characters nobody may look at one by one: of 60 MiB that takes seconds."""

        def __iter__(self):
            raise AssertionError("looked at in Python")

    assert half_char({"content": [Long("é")]}) is None


def test_what_is_json():
    assert parse_json("9" * 100) == int("9" * 100)
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert json.dumps(parse_json(deep)) == deep
    assert parse_json('["\\ud83d\\ude00", 1e10, 12345678901234567890]') == ["😀", 1e10, 12345678901234567890]
    assert parse_json(b"\xef\xbb\xbf{}") == {}
    assert parse_json(json.dumps([[1]] * 10_000)) == [[1]] * 10_000


def test_lines_are_numbered_as_an_editor_does():
    assert list(json_lines(["\ufeff{}", "", '{"a": 1}'], "here")) == [(1, {}), (3, {"a": 1})]
    with pytest.raises(UsageError, match="here, line 2: expected a JSON object, got '3'"):
        list(json_lines(["{}", "3"], "here"))


def test_a_yaml_file_that_stands_for_billions_of_values(tmp_path):
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    (tmp_path / "c.yaml").write_text("\n".join(lines))
    with pytest.raises(UsageError, match=r"c\.yaml.*values"):
        config.read_yaml(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    "text", ["a: [1", "a: &a [*a]", "a: 2024-13-45", 'a: "\\ud800"', "a: \x00", "- 1", "? [1]\n: 2", "[" * 5000]
)
def test_yaml_errors_are_one_line_with_the_file(text, tmp_path):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"c\.yaml") as caught:
        config.read_yaml(tmp_path / "c.yaml")
    assert "\n" not in str(caught.value)
