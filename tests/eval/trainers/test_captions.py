"""Captions of every form: found by the clip they belong to, as a trainer would read them."""

from __future__ import annotations

import json

import pytest

from cineloop.errors import UsageError
from v2t_eval.trainers.captions import ANY, decoded_text, read_captions

PATHS = ["a.mp4", "b.mov", "sub/c.mp4"]


def read(folder, form, paths=PATHS, **more):
    return read_captions(folder, paths, (form,), ".txt", **more)


def texts(captions):
    return {path: each.texts for path, each in captions.by_path.items()}


def test_sidecars_and_those_without_a_clip(tmp_path):
    (tmp_path / "sub").mkdir()
    for name, text in {"a": " one \n", "sub/c": "three", "gone": "four"}.items():
        (tmp_path / f"{name}.txt").write_text(text)
    captions = read(tmp_path, "sidecar")
    assert texts(captions) == {"a.mp4": ("one",), "sub/c.mp4": ("three",)} and captions.orphans == ("gone.txt",)


def lines(*rows):
    return "\n".join(json.dumps(row) for row in rows) + "\n"


def named(key, text, *, of=("a.mp4", "sub/c.mp4", "gone.mp4")):
    """Rows of the three paths by the names of their columns."""
    return [{key: path, text: each} for path, each in zip(of, ("one", "three", "x"), strict=True)]


LISTS = {
    "captions-json": ("captions.json", json.dumps({"a.mp4": ["one", "uno"], "c.mp4": ["three"], "gone.mp4": ["x"]})),
    "musubi-jsonl": ("metadata.jsonl", lines(*named("video_path", "caption"))),
    "dataset-json": ("dataset.json", json.dumps(named("media_path", "caption"))),
    "dataset-csv": ("dataset.csv", 'caption,video\r\none,a.mp4\r\n"three",sub/c.mp4\r\nx,gone.mp4\r\n'),
    "metadata-jsonl": ("metadata.jsonl", lines(*named("file_name", "text"))),
    "manifest": ("manifest.jsonl", lines({"id": "a", "path": "a.mp4", "captions": {"short": ["one"]}},
                                         *named("path", "captions")[1:])),
}  # fmt: skip


@pytest.mark.parametrize("form", LISTS)
def test_lists(form, tmp_path):
    name, content = LISTS[form]
    (tmp_path / name).write_text(content)
    captions = read(tmp_path, form)
    assert {path: each[0] for path, each in texts(captions).items()} == {"a.mp4": "one", "sub/c.mp4": "three"}
    assert len(captions.orphans) == 1 and captions.by_path["a.mp4"].oddities == ()
    assert texts(captions)["a.mp4"] == (("one", "uno") if form == "captions-json" else ("one",))


def test_a_caption_that_a_person_rejected_is_none(tmp_path):
    row = {"path": "a.mp4", "status": "ok", "caption": "one"}
    for review, there in (("rejected", ()), ("accepted", ("one",))):
        (tmp_path / "captions.jsonl").write_text(lines({**row, "review": review}))
        assert texts(read(tmp_path, "records")).get("a.mp4", ()) == there


def test_two_files_line_by_line(tmp_path):
    (tmp_path / "videos.txt").write_text("a.mp4\nsub/c.mp4\n")
    (tmp_path / "prompts.txt").write_text("one\nthree\n")
    assert texts(read(tmp_path, "two-file")) == {"a.mp4": ("one",), "sub/c.mp4": ("three",)}
    (tmp_path / "prompts.txt").write_text("one\nwith a break\nthree\n")
    with pytest.raises(UsageError) as caught:
        read(tmp_path, "two-file")
    assert caught.value.code == "CAPTIONS"


def test_paths_that_are_absolute_and_a_list_elsewhere(tmp_path):
    clips, lists = tmp_path / "clips", tmp_path / "lists"
    clips.mkdir(), lists.mkdir()
    (lists / "dataset.json").write_text(json.dumps([{"video": str(clips / "a.mp4"), "caption": "one"},
                                                    {"video": "../clips/b.mov", "caption": "two"}]))  # fmt: skip
    assert texts(read(clips, "dataset-json", beside=lists / "dataset.json")) == {"a.mp4": ("one",), "b.mov": ("two",)}


def test_broken_lists_are_named(tmp_path):
    for content in ("{", "[1]", '[{"caption": "no path"}]'):
        (tmp_path / "dataset.json").write_text(content)
        with pytest.raises(UsageError) as caught:
            read(tmp_path, "dataset-json")
        assert caught.value.code == "CAPTIONS" and "dataset.json" in caught.value.message


def test_bytes_that_are_odd():
    assert decoded_text(b"\xef\xbb\xbfone\r\ntwo\r") == ("one\ntwo\n", ("BYTE_ORDER_MARK", "LINE_ENDINGS"))
    assert decoded_text("\u00e9".encode("latin-1"))[1] == ("NOT_UTF8",)
    assert decoded_text("one".encode("utf-16"))[0] == "one"
    assert decoded_text("naïve 猫".encode()) == ("naïve 猫", ())


def test_the_first_form_that_is_there_is_read(tmp_path):
    (tmp_path / "a.txt").write_text("beside")
    (tmp_path / "captions.json").write_text('{"a.mp4": ["listed"]}')
    assert read_captions(tmp_path, PATHS, ("captions-json", "sidecar"), ".txt").form == "captions-json"
    assert read_captions(tmp_path, PATHS, ("sidecar",), ".txt").form == "sidecar"
    assert read_captions(tmp_path, PATHS, ("two-file",), ".txt").form == ""
    assert read_captions(tmp_path, PATHS, ANY, ".txt").by_path
