"""Clips and the files that go with them: every form, every mismatch."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from cineloop.errors import NothingMatchedError, UsageError
from cineloop.manifest import write_manifest
from v2t_eval.core.inputs import read_inputs


def lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    for name in ("b.mp4", "a.mp4", "sub/c.webm", "übung.mp4", "notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """As `t2v generate` leaves it: two seeds of one prompt, another prompt, one clip that could not be made."""
    folder = tmp_path / "run"
    (folder / "clips").mkdir(parents=True)
    rows = [
        {"id": f"p{n}", "path": f"clips/{n}.mp4", "prompt": f"prompt {n // 2}", "seed": n, "facts": {"n": n}}
        for n in range(3)
    ]
    for row in rows:
        (folder / row["path"]).write_bytes(b"x")
    write_manifest(rows, folder / "manifest.jsonl")
    lines(
        folder / "failures.jsonl",
        [{"id": "p3", "prompt": "prompt 1", "error": {"code": "MODEL_ERROR", "message": "m"}}],
    )
    return folder


def test_a_folder_of_videos(videos: Path) -> None:
    found = read_inputs(videos)
    assert [sample.id for sample in found.samples] == ["a.mp4", "b.mp4", "sub/c.webm", "übung.mp4"]
    assert found.clips_root == videos and found.samples[2].clip.path == videos / "sub/c.webm"
    assert [sample.cluster for sample in found.samples] == [sample.id for sample in found.samples]
    assert [sample.id for sample in read_inputs(videos, limit=2).samples] == ["a.mp4", "b.mp4"]


def test_a_run_folder_and_its_manifest(run_folder: Path) -> None:
    found = read_inputs(run_folder)
    assert [(s.id, s.prompt, s.cluster) for s in found.samples] == [
        ("p0", "prompt 0", "prompt 0"), ("p1", "prompt 0", "prompt 0"),
        ("p2", "prompt 1", "prompt 1"), ("p3", "prompt 1", "prompt 1"),
    ]  # fmt: skip
    assert found.samples[3].clip is None and found.samples[3].row["error"]["code"] == "MODEL_ERROR"
    assert found.samples[1].row["facts"] == {"n": 1} and found.samples[0].clip.path == run_folder / "clips/0.mp4"
    alone = read_inputs(run_folder / "manifest.jsonl")
    assert [sample.id for sample in alone.samples] == ["p0", "p1", "p2"] and alone.clips_root == run_folder


def test_parts_of_one_file_are_one_cluster(tmp_path: Path) -> None:
    rows = [{"id": f"part{n}", "path": "film.mp4", "start_s": n, "end_s": n + 1} for n in range(2)]
    write_manifest([*rows, {"id": "other", "path": "b.mp4"}], tmp_path / "m.jsonl")
    found = read_inputs(tmp_path / "m.jsonl").samples
    assert [(s.id, s.cluster, s.clip.start_s) for s in found] == [
        ("other", "other", None), ("part0", "film.mp4", 0), ("part1", "film.mp4", 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "rows",
    [
        [{"id": "a.mp4", "prompt": "one"}, {"id": "sub/c.webm", "prompt": "three"}],
        [{"path": "a.mp4", "prompt": "one"}, {"path": "c.webm", "prompt": "three"}],
        [{"id": "a", "prompt": "one"}, {"id": "c", "prompt": "three"}],
        [{"video": "/elsewhere/a.mov", "caption": "one"}, {"file_name": "c.mp4", "captions": {"short": ["three"]}}],
    ],
)
def test_prompts_are_joined_by_id_path_or_stem(videos: Path, tmp_path: Path, rows: list[dict]) -> None:
    found = read_inputs(videos, prompts=lines(tmp_path / "p.jsonl", rows))
    assert [sample.prompt for sample in found.samples] == ["one", None, "three", None]
    assert found.counts == {"with_prompts": 2, "without_prompts": 2, "samples": 4}
    assert found.samples[0].cluster == "one"


def test_prompts_in_csv_text_and_json(videos: Path, tmp_path: Path) -> None:
    table = tmp_path / "p.csv"
    table.write_bytes('\ufeffid,prompt\r\na,"one, with ""quotes""\nand a line"\r\nb,two\r\n'.encode())
    assert [s.prompt for s in read_inputs(videos, prompts=table).samples][:2] == [
        'one, with "quotes"\nand a line',
        "two",
    ]
    table.write_text("id,prompt\na,one,more\n")
    with pytest.raises(UsageError, match="line 2"):
        read_inputs(videos, prompts=table)
    text = tmp_path / "p.txt"
    text.write_text("# mine\none\ntwo\u2028still two\n\n  \nthree\n #not this\nfour\n", encoding="utf-8")
    assert [s.prompt for s in read_inputs(videos, prompts=text).samples] == [
        "one",
        "two\u2028still two",
        "three",
        "four",
    ]
    text.write_text("one\ntwo\n")
    with pytest.raises(UsageError, match="2 prompts for 4 clips"):
        read_inputs(videos, prompts=text)
    mapping = tmp_path / "p.json"
    mapping.write_text(json.dumps({"a": "one", "b": ["two"]}))
    assert [s.prompt for s in read_inputs(videos, prompts=mapping).samples][:2] == ["one", "two"]


def test_unicode_names_of_two_forms_are_one(videos: Path, tmp_path: Path) -> None:
    prompts = lines(tmp_path / "p.jsonl", [{"id": "u\u0308bung", "prompt": "exercise"}])
    assert read_inputs(videos, prompts=prompts).samples[3].prompt == "exercise"


def test_ambiguous_names_are_refused(videos: Path, tmp_path: Path) -> None:
    (videos / "sub/a.mp4").write_bytes(b"")
    with pytest.raises(UsageError, match="matches several: 'a.mp4', 'sub/a.mp4'") as error:
        read_inputs(videos, prompts=lines(tmp_path / "p.jsonl", [{"id": "a", "prompt": "one"}]))
    assert error.value.code == "AMBIGUOUS"
    read_inputs(videos, prompts=lines(tmp_path / "p.jsonl", [{"id": "a.mp4", "prompt": "one"}]))  # an id is exact
    rows = [{"id": "x/b.mov", "prompt": "one"}, {"id": "y/b.mov", "prompt": "two"}]
    with pytest.raises(UsageError, match="both match b.mp4"):
        read_inputs(videos, prompts=lines(tmp_path / "p.jsonl", rows))
    rows = [{"id": "b.mp4", "prompt": "one"}, {"id": "b.mp4", "prompt": "two"}]
    with pytest.raises(UsageError, match="two prompts for b.mp4"):
        read_inputs(videos, prompts=lines(tmp_path / "p.jsonl", rows))


def test_what_has_no_partner_is_told_with_examples(
    videos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("cineloop").propagate = True
    caplog.set_level(logging.WARNING, "cineloop")
    rows = [{"id": "a", "prompt": "one"}, {"id": "zz", "prompt": "nobody's"}]
    found = read_inputs(videos, prompts=lines(tmp_path / "p.jsonl", rows))
    assert found.counts["prompts_unmatched"] == 1 and "'zz'" in caplog.text
    assert "3 of 4 samples have no prompts, for example 'b.mp4'" in caplog.text
    with pytest.raises(NothingMatchedError, match="look like 'a.mp4'.* there like 'q'"):
        read_inputs(videos, prompts=lines(tmp_path / "p.jsonl", [{"id": "q", "prompt": "one"}]))


def test_names_of_vbench(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    folder.mkdir()
    for name in ("a red car-0", "a red car-1", "a bird. and a cat-0"):
        (folder / f"{name}.mp4").write_bytes(b"x")
    info = tmp_path / "info.json"
    info.write_text(json.dumps([
        {"prompt_en": "a red car", "dimension": ["color"], "auxiliary_info": {"color": {"color": "red"}}},
        {"prompt_en": "a bird. and a cat", "dimension": ["multiple_objects"]},
        {"prompt_en": "never made", "dimension": ["scene"]},
    ]))  # fmt: skip
    bird, car, _ = read_inputs(folder, names="vbench", prompts=info).samples
    assert (bird.prompt, car.prompt, car.cluster) == ("a bird. and a cat", "a red car", "a red car")
    assert car.row["asked"] == {"color": "red"} and bird.row["dimension"] == ["multiple_objects"]
    (folder / "nameless.mp4").write_bytes(b"x")
    with pytest.raises(UsageError, match="nameless"):
        read_inputs(folder, names="vbench")
    with pytest.raises(UsageError, match="rows, vbench"):
        read_inputs(folder, names="vbnech")


def test_captions_of_clips(videos: Path, tmp_path: Path) -> None:
    records = [
        {"id": "a.mp4", "status": "ok", "caption": "first", "style": "short"},
        {"id": "a.mp4", "status": "ok", "caption": "again", "style": "timed", "segments": [{"start_s": 0, "end_s": 1}]},
        {"id": "b.mp4", "status": "failed", "caption": None, "error": {"code": "TRUNCATED", "message": "cut"}},
        {"id": "gone.mp4", "status": "ok", "caption": "?"},
    ]
    found = read_inputs(videos, captions=lines(tmp_path / "c.jsonl", records))
    a, b, c, _ = found.samples
    assert (a.caption, b.caption, c.caption) == ("again", None, None)
    assert a.row["style"] == "timed" and a.row["events"] == [{"start_s": 0, "end_s": 1}]
    assert b.row["error"]["code"] == "TRUNCATED"
    assert found.counts == {
        "captions_repeated": 1, "captions_failed": 1, "with_captions": 2, "without_captions": 2,
        "captions_unmatched": 1, "samples": 4,
    }  # fmt: skip
    with pytest.raises(UsageError, match="row 1: a caption record needs an id"):
        read_inputs(videos, captions=lines(tmp_path / "c.jsonl", [{"caption": "x"}]))


@pytest.mark.parametrize("with_clips", [True, False])
def test_clips_that_a_person_rejected_are_left_out_and_counted(videos: Path, tmp_path: Path, with_clips: bool) -> None:
    records = [{"id": f"{name}.mp4", "status": "ok", "caption": name} for name in "abc"]
    records[0]["review"], records[1]["review"] = "rejected", "accepted"
    given = read_inputs(videos if with_clips else None, captions=lines(tmp_path / "c.jsonl", records))
    assert "a.mp4" not in {sample.id for sample in given.samples}
    assert given.counts["captions_rejected"] == 1 and given.counts["with_captions"] == 2
    assert given.counts["samples"] == len(given.samples)
    assert {sample.caption for sample in given.samples} >= {"b", "c"}
    if with_clips:
        (tmp_path / "p.txt").write_text("one\ntwo\nthree\nfour\n")  # a line a clip, the rejected one too
        more = read_inputs(videos, captions=tmp_path / "c.jsonl", prompts=tmp_path / "p.txt")
        assert [sample.prompt for sample in more.samples] == ["two", "three", "four"]
    with pytest.raises(NothingMatchedError):
        read_inputs(captions=lines(tmp_path / "c.jsonl", records[:1]))


def test_captions_csv_as_it_is_written(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text('id,status,caption\r\na.mp4,ok,"\'=1+1 is two"\r\n', encoding="utf-8")
    assert read_inputs(videos, captions=tmp_path / "captions.csv").samples[0].caption == "=1+1 is two"


@pytest.mark.parametrize("form", ["manifest", "rows", "repeated", "coco", "csv", "mapping"])
def test_references_in_every_form(tmp_path: Path, form: str) -> None:
    records = lines(tmp_path / "c.jsonl", [{"id": "7", "caption": "x"}, {"id": "8", "caption": "y"}])
    file = tmp_path / {"coco": "r.json", "mapping": "r.json", "csv": "r.csv"}.get(form, "r.jsonl")
    want = {"7": ["one", "two"], "8": ["three"]}
    if form == "manifest":
        write_manifest([{"id": key, "path": f"{key}.mp4", "captions": value} for key, value in want.items()], file)
    elif form == "rows":
        lines(file, [{"id": key, "references": value} for key, value in want.items()])
    elif form == "repeated":
        lines(file, [{"id": key, "caption": text} for key, value in want.items() for text in value])
    elif form == "csv":
        file.write_text("id,caption\n7,one\n7,two\n8,three\n")
    elif form == "mapping":
        file.write_text(json.dumps(want))
    else:
        notes = [{"image_id": int(key), "caption": text} for key, value in want.items() for text in value]
        file.write_text(json.dumps({"images": [{"id": 7, "file_name": "7.jpg"}, {"id": 8}], "annotations": notes}))
    found = read_inputs(captions=records, references=file)
    assert {s.id: (s.caption, list(s.references)) for s in found.samples} == {
        "7": ("x", want["7"]),
        "8": ("y", want["8"]),
    }
    assert found.clips_root is None and found.sources == {"captions": "c.jsonl", "references": file.name}


def test_who_is_expected_without_clips(tmp_path: Path) -> None:
    records = lines(tmp_path / "c.jsonl", [{"id": "b", "caption": "x"}, {"id": "c", "caption": "y"}])
    references = lines(tmp_path / "r.jsonl", [{"id": "a", "references": ["1"]}, {"id": "b", "references": ["2"]}])
    assert [s.id for s in read_inputs(captions=records).samples] == ["b", "c"]
    found = read_inputs(captions=records, references=references)
    assert [(s.id, s.caption) for s in found.samples] == [("a", None), ("b", "x")]
    assert found.counts["without_captions"] == 1 and found.counts["captions_unmatched"] == 1
    write_manifest(
        [{"id": n, "path": f"{n}.mp4", "facts": {}, "captions": {"short": [n]}} for n in "abd"], tmp_path / "m.jsonl"
    )
    found = read_inputs(captions=records, truth=tmp_path / "m.jsonl")
    assert [(s.id, s.caption, s.references) for s in found.samples] == [
        ("a", None, ("a",)), ("b", "x", ("b",)), ("d", None, ("d",)),
    ]  # fmt: skip


def test_truth_of_clips_and_references_of_the_captions_style(run_folder: Path, tmp_path: Path) -> None:
    captions = {"short": ["s"], "timed": ["0.0-1.0s: one."], "detailed": ["d"]}
    rows = [{"id": f"p{n}", "path": f"other/{n}.mp4", "captions": captions, "facts": {"true": n}} for n in range(4)]
    write_manifest(rows, tmp_path / "m.jsonl")
    records = [
        {"id": "p0", "caption": "x", "style": "timed", "segments": [{"start_s": 0.0, "end_s": 1.0, "caption": "c"}]}
    ]
    found = read_inputs(run_folder, truth=tmp_path / "m.jsonl", captions=lines(tmp_path / "c.jsonl", records)).samples
    assert found[0].row["facts"] == {"true": 0} and found[0].row["path"] == "clips/0.mp4" and found[0].row["seed"] == 0
    assert found[0].references == ("0.0-1.0s: one.",) and found[1].references == ("s",)
    assert found[0].row["reference_events"] == [{"start_s": 0.0, "end_s": 1.0, "caption": "one."}]


def test_questions_are_samples_in_clusters_of_a_clip(tmp_path: Path) -> None:
    questions = [{"kind": "what", "question": f"q{n}", "answer": f"true {n}"} for n in range(3)]
    write_manifest([{"id": n, "path": f"{n}.mp4", "questions": questions} for n in "ab"], tmp_path / "m.jsonl")
    given = [("a", "q0", "one"), ("a", "q1", None), ("b", "q2", "two"), ("b", "other", "x")]
    said = [{"id": id, "question": question, "answer": answer} for id, question, answer in given]
    answers = lines(tmp_path / "a.jsonl", [*said, said[0]])
    found = read_inputs(answers=answers, truth=tmp_path / "m.jsonl")
    assert [(s.id, s.cluster, s.row["answer"], s.row["answers"]) for s in found.samples][:3] == [
        ("a#1", "a", "one", ["true 0"]), ("a#2", "a", None, ["true 1"]), ("a#3", "a", None, ["true 2"]),
    ]  # fmt: skip
    assert found.counts == {
        "answers_repeated": 1, "answers_failed": 1, "answered": 2, "unanswered": 3, "answers_unmatched": 1,
        "samples": 6,
    }  # fmt: skip
    rows = [{"id": "a", "kind": "what", "question": "q", "answer": "x", "reference": "y", "choices": ["x", "y"]}]
    (only,) = read_inputs(answers=lines(tmp_path / "a.jsonl", rows)).samples
    assert only.row["answers"] == ["y"] and only.row["choices"] == ["x", "y"] and only.get("kind") == "what"
    with pytest.raises(NothingMatchedError, match="no answer"):
        read_inputs(answers=answers.with_name("a.jsonl"), truth=tmp_path / "m.jsonl")
    with pytest.raises(UsageError, match="row 1"):
        read_inputs(answers=lines(tmp_path / "a.jsonl", [{"id": "a", "answer": "x"}]))
    with pytest.raises(UsageError, match="by themselves"):
        read_inputs(answers=answers, captions=answers)


def test_nothing_to_score(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for clips in (tmp_path / "empty", tmp_path / "absent"):
        with pytest.raises(NothingMatchedError) as raised:
            read_inputs(clips)
        assert "--include" not in f"{raised.value} {raised.value.hint}"  # no command of v2t-eval has that option
    assert "no file or folder" in str(raised.value)
    with pytest.raises(NothingMatchedError, match="nothing to score"):
        read_inputs()
    with pytest.raises(NothingMatchedError, match="has no row"):
        read_inputs(lines(tmp_path / "manifest.jsonl", []))


@pytest.mark.parametrize("content", [b"{", b"[1]", b'"x"', b"\xff\xfe", b'{"id": "a", "captions": NaN}'])
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    for name in ("r.json", "r.jsonl"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UsageError, match=name):
            read_inputs(references=tmp_path / name)
    with pytest.raises(UsageError, match="cannot read"):
        read_inputs(references=tmp_path / "absent.json")


def test_a_second_set_of_clips(videos: Path, run_folder: Path) -> None:
    found = read_inputs(videos, reference_clips=run_folder / "manifest.jsonl")
    assert [sample.id for sample in found.references] == ["p0", "p1", "p2"] and len(found.samples) == 4
