"""Layouts: each is read as its trainers mean it, ambiguity is asked about, every fault is named."""

from __future__ import annotations

import json

import pytest

from cineloop.errors import NothingMatchedError, UsageError
from clip_files import clips_in
from t2v.data.layouts import read_items


@pytest.fixture
def clips(tmp_path):
    return clips_in(tmp_path / "clips", "a.mp4", "b.MOV", "more/c.png")


def lines(path, *texts):
    path.write_text("".join(text + "\n" for text in texts), encoding="utf-8")


def rows(path, *rows):
    lines(path, *(json.dumps(row) for row in rows))


def test_two_file(clips):
    lines(clips / "videos.txt", "a.mp4", "more/c.png")
    lines(clips / "prompts.txt", "a red ball", "  a  drawing ")
    items = read_items([clips])
    assert [(item.path, item.prompts) for item in items] == [
        (clips / "a.mp4", ("a red ball",)),
        (clips / "more/c.png", ("a drawing",)),
    ]
    assert read_items([clips / "videos.txt"]) == items
    lines(clips / "prompts.txt", "a red ball")
    with pytest.raises(UsageError, match="videos.txt has 2 lines, prompts.txt 1"):
        read_items([clips])
    (clips / "prompts.txt").unlink()
    with pytest.raises(UsageError, match="lacks prompts.txt"):
        read_items([clips])


def test_sidecars_beside_the_clips_or_in_a_folder_of_their_own(clips, tmp_path):
    for name in ("a.txt", "b.txt", "more/c.txt"):
        (clips / name).write_text("\ufeffwords\nof " + name, encoding="utf-8")
    (clips / "README.txt").write_text("not a caption")
    items = read_items([clips])
    assert [item.id for item in items] == ["a.mp4", "b.MOV", "more/c.png"]
    assert items[0].prompts == ("words of a.txt",)
    apart = tmp_path / "captions"
    (apart / "more").mkdir(parents=True)
    for name in ("a.txt", "b.txt", "more/c.txt"):
        (clips / name).rename(apart / name)
    assert [item.path for item in read_items([apart], root=clips)] == [item.path for item in items]


def test_manifest_and_caption_records(clips):
    rows(
        clips / "manifest.jsonl",
        {"id": "one", "path": "a.mp4", "start_s": 1, "end_s": 2, "captions": {"short": "s", "detailed": ["d1", "d2"]}},
        {"id": "two", "path": "b.MOV", "prompt": "p", "captions": ["c"]},
        {"id": "three", "path": "more/c.png", "prompt": "p"},
    )
    items = read_items([clips])
    assert [item.prompts for item in items] == [("s", "d1", "d2"), ("c",), ("p",)]
    assert (items[0].id, items[0].start_s, items[0].end_s) == ("one", 1, 2)
    rows(clips / "captions.jsonl", {"id": "a", "path": "a.mp4", "status": "failed", "error": {"code": "NOT_MEDIA"}})
    with pytest.raises(UsageError, match=r"its captioning failed \(1\): a"):
        read_items([clips / "captions.jsonl"])
    ok = {"status": "ok", "caption": "c"}
    rejected = {"id": "a", "path": "a.mp4", **ok, "review": "rejected"}
    rows(clips / "captions.jsonl", rejected, {"id": "b", "path": "b.MOV", **ok, "review": "accepted"})
    assert [item.id for item in read_items([clips / "captions.jsonl"])] == ["b"]


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_videofolder(clips, name):
    if name.endswith("csv"):
        lines(clips / name, "file_name,text", 'a.mp4,"one, two"', "more/c.png,three")
    else:
        rows(clips / name, {"video": "a.mp4", "caption": "one, two"}, {"image": "more/c.png", "prompt": "three"})
    assert [item.prompts[0] for item in read_items([clips])] == ["one, two", "three"]
    assert read_items([clips / name]) == read_items([clips])


def test_every_fault_is_named(clips):
    (clips / "empty.mp4").touch()
    lines(clips / "videos.txt", "a.mp4", "gone.mp4", "empty.mp4", "", "b.MOV", *[f"no{n}.mp4" for n in range(30)])
    lines(clips / "prompts.txt", "words", "w", "w", "w", " ", *["w"] * 30)
    with pytest.raises(UsageError) as caught:
        read_items([clips])
    text = str(caught.value)
    assert text.startswith("data: 34 faults")
    for part in ("no such file (31): ", "gone.mp4", "and 11 more", "empty file (1): ", "empty line (1): ", "line 4",
                 "empty prompt (1): b.MOV"):  # fmt: skip
        assert part in text
    assert [item.id for item in read_items([clips], on_bad="skip")] == ["a.mp4"]


def test_sidecars_that_lack_or_are_no_text(clips):
    (clips / "a.txt").write_bytes(b"\xff\xfe\xff")
    (clips / "b.txt").write_text("fine")
    with pytest.raises(UsageError, match=r"text is not UTF-8 \(1\): .*a.txt; no text beside the clip \(1\): .*c.png"):
        read_items([clips])


def test_several_layouts_are_asked_about(clips):
    rows(clips / "metadata.jsonl", {"file_name": "a.mp4", "text": "from metadata"})
    (clips / "a.txt").write_text("from the sidecar")
    with pytest.raises(UsageError, match="holds the layouts metadata, sidecar; asked for: auto"):
        read_items([clips])
    assert read_items([clips], layout="metadata")[0].prompts == ("from metadata",)
    with pytest.raises(UsageError, match="asked for: two_file"):
        read_items([clips], layout="two_file")
    assert read_items([clips], layout="sidecar", on_bad="skip")[0].prompts == ("from the sidecar",)


def test_a_clip_named_twice_is_one_item_and_ids_are_unique(clips, tmp_path):
    lines(clips / "videos.txt", "a.mp4", "a.mp4")
    lines(clips / "prompts.txt", "one", "two")
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.mp4").write_bytes(b"y")
    (other / "a.txt").write_text("three")
    items = read_items([clips, other])
    assert [(item.id, item.prompts) for item in items] == [("a.mp4", ("one", "two")), ("a.mp4#2", ("three",))]


def test_nothing_there(tmp_path):
    with pytest.raises(NothingMatchedError):
        read_items([tmp_path])
    with pytest.raises(UsageError, match="no such file or folder"):
        read_items([tmp_path / "gone"])
    (tmp_path / "x.mp4").write_bytes(b"x")
    with pytest.raises(UsageError, match="is no layout"):
        read_items([tmp_path / "x.mp4"])


@pytest.mark.parametrize(("form", "file"), [("Lance", "_versions/1.manifest"), ("WebDataset", "000000.tar")])
def test_forms_that_are_not_read_are_named_with_one_that_is(tmp_path, form, file):
    (tmp_path / "set" / file).parent.mkdir(parents=True)
    (tmp_path / "set" / file).write_bytes(b"x")
    for place in (tmp_path / "set", tmp_path / "set" / file)[: 1 if form == "Lance" else 2]:
        with pytest.raises(UsageError, match=f"is a {form} set, which is not read here.*--write videofolder"):
            read_items([place])
    (tmp_path / "set" / "a.mp4").write_bytes(b"x")
    lines(tmp_path / "set" / "videos.txt", "a.mp4")
    lines(tmp_path / "set" / "prompts.txt", "a ball")
    assert len(read_items([tmp_path / "set"])) == 1  # beside a form that is read it does no harm


def test_clips_without_words_are_sent_to_the_captioner_and_the_setting_is_named(clips):
    rows(clips / "metadata.jsonl", {"file_name": "a.mp4"})
    with pytest.raises(UsageError) as caught:
        read_items([clips], setting="eval_data")
    assert "\n" not in str(caught.value) and "eval_data: 1 faults" in caught.value.message
    assert f"v2t caption {clips} -o {clips} " in caught.value.hint
    assert f'--set "eval_data=[{clips}/captions.jsonl]"' in caught.value.hint
    (clips.parent / "manifest.jsonl").touch()  # of a curated set, whose folders of formats hold links
    with pytest.raises(
        UsageError, match=f"v2t caption {clips.parent}/manifest.jsonl -o {clips.parent} .*captions.jsonl"
    ):
        read_items([clips])
    with pytest.raises(UsageError, match='eval_data: no such file or folder.*--set "eval_data=.FOLDER.'):
        read_items([clips / "none"], setting="eval_data")
