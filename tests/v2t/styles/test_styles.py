"""Styles: what ships, what a user's file may say, and how answers are read."""

from __future__ import annotations

import pytest

from cineloop.errors import UsageError
from v2t import styles
from v2t.styles import structured, tags, timed


def test_every_style_that_ships_can_be_loaded():
    for name in ("short", "detailed", "timed", "structured", "tags"):
        style = styles.load(name)
        assert style.name == name and style.prompt and style.max_new_tokens >= 1
    assert styles.load("timed").segments is timed.segments and styles.load("timed").fields is None
    assert styles.load("structured").fields is structured.fields
    with pytest.raises(UsageError, match="choices: .*structured") as caught:
        styles.load("structred")
    assert "structured" in caught.value.hint


def test_a_user_adds_a_style_with_a_file(tmp_path):
    path = tmp_path / "my style.yaml"
    path.write_text("# mine\nprompt: |\n  Beschreibe das Video.\n  Kurz.\nread_as: timed\n", encoding="utf-8")
    style = styles.load(str(path))
    assert (style.name, style.prompt, style.max_new_tokens) == ("my style", "Beschreibe das Video.\nKurz.\n", 256)
    assert style.segments is timed.segments


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("promt: x\n", "did you mean 'prompt'"),
        ("prompt: '  '\n", "must say something"),
        ("max_new_tokens: 5\n", "lacks prompt"),
        ("prompt: x\nmax_new_tokens: 0\n", "at least 1"),
        ("prompt: [x]\n", "must be text"),
        ("prompt: !!python/object/apply:os.system ['touch hacked']\n", "not YAML"),
        ("prompt: x\nread_as: nothing\n", "no style is called"),
        ("prompt: x\nread_as: other.yaml\n", "not a file"),
        ("- a\n", "mapping"),
        ("prompt: " + "x" * 70000, "at most"),
    ],
)
def test_a_style_file_that_is_wrong_says_so_and_runs_nothing(tmp_path, monkeypatch, text, complaint):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.yaml").write_text(text)
    with pytest.raises(UsageError, match=complaint.replace("(", r"\(")):
        styles.load("my.yaml")
    assert [path.name for path in tmp_path.iterdir()] == ["my.yaml"]


def test_a_style_file_that_is_not_there_or_not_text(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        styles.load(str(tmp_path / "none.yaml"))
    (tmp_path / "bytes.yml").write_bytes(b"prompt: \xff\xfe")
    with pytest.raises(UsageError, match="UTF-8"):
        styles.load(str(tmp_path / "bytes.yml"))


@pytest.mark.parametrize(
    "answer",
    [
        "Subject: a brown dog\nAction: it runs, then jumps\nSetting: snow, noon\nCamera: static\nStyle: cartoon",
        "1. **Subject:** a brown dog\n2. **Action:** it runs,\nthen jumps\n3. **Setting:** snow, noon\n\n"
        "4. **Camera:** static\n5. **Style:** cartoon\n",
        "Here you go\n- subject - a brown dog\n- ACTION: it runs, then jumps\n* Setting: snow, noon\n"
        "• Camera: static\n### Style: cartoon",
    ],
)
def test_labelled_lines_are_read_back(answer):
    assert structured.fields(answer) == {
        "subject": "a brown dog",
        "action": "it runs, then jumps",
        "setting": "snow, noon",
        "camera": "static",
        "style": "cartoon",
    }


def test_an_answer_without_labels_has_no_fields():
    assert structured.fields("A dog: it runs. The style: cartoon") == {}
    assert structured.fields("Subject: a dog\nSubject: and a cat\nStyle:") == {"subject": "a dog and a cat"}
    assert structured.fields("Actionable: yes\nstyles - many") == {}


def test_tags_are_read_back():
    assert tags.fields("dog, running,  Snow ; static camera.") == {"tags": ["dog", "running", "Snow", "static camera"]}
    assert tags.fields("- dog\n- Dog\n2. 3d render\n• #snow\n, ,") == {"tags": ["dog", "3d render", "snow"]}
    assert tags.fields("") == {"tags": []}
