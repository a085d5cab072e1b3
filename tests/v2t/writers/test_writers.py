"""Every format, written by an output folder and read back with its consumers' own libraries."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from pathlib import Path

import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest
import srt
import webvtt

from cineloop.discovery import discover
from cineloop.errors import ItemError, MissingDependencyError, UsageError
from clip_files import clips_in
from v2t import writers
from v2t.caption.outputs import CaptionFolder
from v2t.long.items import WorkItem
from v2t.writers import two_file, vtt

HOSTILE = {
    "newline": "A dog runs.\nIt jumps.",
    "blank-line": "A dog runs.\n\nIt jumps.\n",
    "crlf": "A dog\r\nruns.\rIt jumps.",
    "u2028": "A dog\u2028runs.\u2029It jumps.",
    "u0085": "A dog\x85runs\x0bhere\x0cand\x1cthere\x1d.\x1e",
    "quotes": 'A sign says "dog""s, \'run\', \\"',
    "commas": "dog, snow;tab\there,",
    "formula": "=cmd|' /C calc'!A0",
    "formulas": "'@SUM(1+1)*cmd|' /C calc'!A0",
    "rtl": "A \u202edog\u202c \u2066runs\u2069 \u200f.",
    "nul": "A dog\0runs.",
    "script": "A dog </script><script>alert(1)</script> & <b>runs</b> &amp;",
    "1mb": "A dog runs, and \u00e9. " * 50_000,
    "surrogates": "A dog \\ud800 runs \\udfff.",
    "emoji": "A \U0001f415\u200d\U0001f9ba runs \U0001f1e9\U0001f1ea.",
    "combining": "A dog e\u0301\u0327\u20dd runs \u1112\u1161\u11ab.",
    "spaces": " \t A dog runs. \u00a0 ",
    "arrow": "00:00:01.000 --> 00:00:02.000",
    "webvtt": "WEBVTT\n\nNOTE dog\n\n1\n00:00:00,000 --> 00:00:09,000\nruns",
    "braces": "{template} {{ ''.__class__ }} %s {0} ${HOME} {\\an8}",
    "bom": "\ufeffA dog runs.\ufeff",
    "null-word": "null",
    "number": "0012",
    "path": "../../etc/passwd",
    "ansi": "\x1b[31mA dog\x07 runs.\x7f",
}
BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
SEGMENTS = [
    {"start_s": 1.0, "end_s": 2.5, "caption": "it jumps --> & <b>\n\nhigh."},
    {"start_s": 0.0, "end_s": 1.0, "caption": "a dog runs."},
    {"start_s": 2.5, "end_s": 2.5, "caption": "it stops."},
]


def fill(source: Path, out: Path, captions: dict[str, str | None]) -> None:
    """Caption the clips of a folder, as a run does; None is a clip that fails."""
    with CaptionFolder(out, ("all",)) as folder:
        clips = discover([str(source)])
        folder.register(clips)
        results = []
        for clip in clips:
            if clip.id not in captions or folder.status(clip, "key") == "done":
                continue
            caption = captions[clip.id]
            row = {"id": clip.id, "path": clip.path, "status": "ok", "caption": caption, "segments": [], "error": None}
            row |= {
                "duration_s": 2.5,
                "tokens": 7,
                "seconds": 0.25,
                "warnings": [{"code": "CUT", "message": "-"}],
                "model": "=m",
            }
            if caption is None:
                row |= {"status": "failed", "error": {"code": "NOT_MEDIA", "message": "no video", "hint": ""}}
            results.append(WorkItem(clip, answer=row))
        folder.write(results, "key")
        folder.close()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """All formats of a folder with every hostile caption, plain clips between them, and one that failed."""
    base = tmp_path_factory.mktemp("hostile")
    captions: dict[str, str | None] = {}
    for number, (name, text) in enumerate(HOSTILE.items()):
        captions[f"{number:02}a-plain.mp4"] = f"Plain {number}."
        captions[f"{number:02}b-{name}.mp4"] = text
    captions["zz-failed.mp4"] = None
    fill(clips_in(base / "clips", *captions), base / "out", captions)
    return base / "out", captions


def ok(captions: dict) -> dict[str, str]:
    return {clip_id: text for clip_id, text in captions.items() if text is not None}


def one_line(text: str) -> str:
    return two_file.one_line(text)


def without_breaks(text: str) -> list[str]:
    return "".join("\n" if c in BREAKS else c for c in text).split()


# ---- hostile captions, format by format


@pytest.mark.slow
def test_all_means_every_format():
    known = set(writers.names())
    assert known == set("coco csv html jsonl parquet srt two_file txt videofolder vtt webdataset".split())
    assert set(writers.load(("txt", "all", "txt"))) == known
    with pytest.raises(UsageError, match="choices: coco, csv") as caught:
        writers.load(("parket",))
    assert "parquet" in caught.value.hint


@pytest.mark.slow
def test_txt_holds_every_caption_as_it_is(hostile):
    out, captions = hostile
    for clip_id, text in ok(captions).items():
        assert (out / clip_id).with_suffix(".txt").read_bytes() == text.encode() + b"\n"
    assert not (out / "zz-failed.txt").exists()


@pytest.mark.slow
def test_jsonl_holds_every_caption_as_it_is_one_a_line(hostile):
    from datasets import load_dataset

    out, captions = hostile
    data = (out / "captions.jsonl").read_text(encoding="utf-8")
    assert len(data.splitlines()) == len(data.split("\n")) - 1 == len(captions)
    assert {row["id"]: row["caption"] for row in map(json.loads, data.splitlines())} == captions
    table = load_dataset("json", data_files=str(out / "captions.jsonl"), split="train", cache_dir=str(out.parent / "c"))
    assert dict(zip(table["id"], table["caption"], strict=True)) == captions


def expected_cell(text: str) -> str:
    text = text.replace("\0", "\ufffd")
    return "'" + text if text.lstrip("'")[:1] in set("=+-@\t\r") else text


@pytest.mark.slow
def test_csv_rows_stay_apart_and_formulas_do_not_run(hostile):
    from datasets import load_dataset

    out, captions = hostile
    path = out / "captions.csv"
    expected = {clip_id: expected_cell(text) for clip_id, text in ok(captions).items()}
    assert expected["07b-formula.mp4"] == "'" + HOSTILE["formula"]
    assert expected["08b-formulas.mp4"] == "'" + HOSTILE["formulas"]
    limit = csv.field_size_limit(1 << 30)
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, strict=True))
    csv.field_size_limit(limit)
    assert {len(row) for row in rows} == {len(rows[0])} and len(rows) == len(captions) + 1
    for row in rows[1:]:
        assert not any(cell and cell[0] in "=+-@\t\r" for cell in row)
    named = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    assert {row["id"]: row["caption"] for row in named if row["status"] == "ok"} == expected
    failed = named[-1]
    assert (failed["status"], failed["error_code"], failed["caption"]) == ("failed", "NOT_MEDIA", "")
    assert named[0]["model"] == "'=m" and json.loads(named[0]["warnings"]) == [{"code": "CUT", "message": "-"}]

    strict = pyarrow.csv.ConvertOptions(column_types={"caption": pyarrow.string()})
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    read = pyarrow.csv.ReadOptions(block_size=8 << 20)
    table = pyarrow.csv.read_csv(path, read_options=read, parse_options=parse, convert_options=strict).to_pylist()
    assert {row["id"]: row["caption"] for row in table if row["status"] == "ok"} == expected
    table = load_dataset(
        "csv", data_files=str(path), split="train", cache_dir=str(out.parent / "c"), keep_default_na=False
    )
    seen = {row["id"]: row["caption"] for row in table if row["status"] == "ok"}
    assert seen == {k: v for k, v in expected.items()}


@pytest.mark.slow
def test_parquet_holds_every_caption_as_it_is_and_its_types(hostile):
    from datasets import load_dataset

    out, captions = hostile
    path = str(out / "captions.parquet")
    rows = pyarrow.parquet.read_table(path).to_pylist()
    assert {row["id"]: row["caption"] for row in rows} == captions
    assert (rows[0]["tokens"], rows[0]["seconds"], rows[0]["warnings"]) == (7, 0.25, [{"code": "CUT", "message": "-"}])
    assert (rows[-1]["status"], rows[-1]["error_code"], rows[-1]["error_message"]) == (
        "failed",
        "NOT_MEDIA",
        "no video",
    )
    table = load_dataset("parquet", data_files=path, split="train", cache_dir=str(out.parent / "c"))
    assert dict(zip(table["id"], table["caption"], strict=True)) == captions


@pytest.mark.slow
def test_subtitles_are_one_cue_and_show_the_text(hostile):
    out, captions = hostile
    for clip_id, text in ok(captions).items():
        kept = (c for c in text.replace("\0", "\ufffd") if c in BREAKS + "\t" or c >= " " and c != "\x7f")
        expected = without_breaks("".join(kept))
        path = (out / clip_id).with_suffix(".vtt")
        assert path.read_bytes().startswith(b"WEBVTT\n\n00:00:00.000 --> 00:00:02.500\n")
        (cue,) = webvtt.read(str(path)).captions
        raw = "\n".join(cue.lines)
        assert "-->" not in raw and "<" not in raw and not set(raw) & set(BREAKS.replace("\n", ""))
        shown = raw.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        assert without_breaks(shown) == expected
        (subtitle,) = srt.parse((out / clip_id).with_suffix(".srt").read_text(encoding="utf-8"), ignore_errors=False)
        assert subtitle.index == 1 and subtitle.end.total_seconds() == 2.5
        assert without_breaks(subtitle.content) == without_breaks(" ".join(expected).replace("-->", "\u2192"))


@pytest.mark.slow
def test_webdataset_holds_video_caption_and_record(hostile):
    import webdataset
    from datasets import load_dataset

    out, captions = hostile
    samples = list(webdataset.WebDataset(str(out / "webdataset" / "000000.tar"), shardshuffle=False))
    assert len(samples) == len(ok(captions))
    for sample, (clip_id, text) in zip(samples, ok(captions).items(), strict=True):
        assert sample["txt"] == text.encode() and sample["mp4"] == b"video of " + clip_id.encode()
        record = json.loads(sample["json"])
        assert (record["id"], record["caption"]) == (clip_id, text)
    table = load_dataset("webdataset", data_dir=str(out / "webdataset"), split="train", streaming=True)
    seen = {row["json"]["id"]: row["txt"] for row in _undecoded(table)}
    assert seen == ok(captions)


def _undecoded(table):
    from datasets import Video

    for name in ("mp4", "video"):
        if table.features and name in table.features:
            table = table.cast_column(name, Video(decode=False))
    return table


@pytest.mark.slow
def test_videofolder_opens_with_datasets(hostile):
    from datasets import load_dataset

    out, captions = hostile
    table = load_dataset(
        "videofolder", data_dir=str(out / "videofolder"), split="train", cache_dir=str(out.parent / "c")
    )
    assert table.column_names == ["video", "text", "id", "path"]
    assert dict(zip(table["id"], table["text"], strict=True)) == ok(captions)
    for row in _undecoded(table):
        assert Path(row["video"]["path"]).read_bytes() == b"video of " + row["id"].encode()


@pytest.mark.slow
def test_two_files_never_lose_step(hostile):
    out, captions = hostile
    videos = (out / "two_file" / "videos.txt").read_text(encoding="utf-8")
    prompts = (out / "two_file" / "prompts.txt").read_text(encoding="utf-8")
    for split in (str.splitlines, lambda text: text.split("\n")[:-1]):
        pairs = dict(zip(split(videos), split(prompts), strict=True))
        expected = {
            f"../../clips/{clip_id}": " ".join("".join(" " if c in BREAKS else c for c in text).split(" "))
            for clip_id, text in ok(captions).items()
            if "\0" not in text
        }
        assert list(pairs) == list(expected) and len(pairs) == len(ok(captions)) - 1
        for path, text in expected.items():
            assert pairs[path].split() == text.split() and (out / "two_file" / path).resolve().is_file()
    assert one_line("  A dog\r\n\u2028 runs,\tquick \x85") == "A dog runs,\tquick"
    for text, why in (("a\0b", "holds a NUL"), (" \u2028\n", "has no caption"), ("", "has no caption")):
        with pytest.raises(ItemError, match=why):
            one_line(text)


@pytest.mark.slow
def test_coco_results_are_read_by_cocos_own_reader(hostile, capsys):
    from pycocotools.coco import COCO

    out, captions = hostile
    images = json.loads((out / "coco" / "images.json").read_text(encoding="utf-8"))
    clip_of = {image["id"]: image["clip"] for image in images["images"]}
    reference = COCO()
    reference.dataset = {**images, "annotations": [], "type": "captions", "info": {}, "licenses": []}
    reference.createIndex()
    loaded = reference.loadRes(str(out / "coco" / "results.json"))
    seen = {clip_of[entry["image_id"]]: entry["caption"] for entry in loaded.loadAnns(loaded.getAnnIds())}
    assert seen == ok(captions)
    assert writers.load(["coco"])["coco"].image_id("139") == 139
    assert 2**31 <= writers.load(["coco"])["coco"].image_id("0139") < 2**52


# ---- what each format is made of


@pytest.mark.slow
def test_subtitles_have_a_cue_for_each_segment_in_order():
    record = {"caption": "whole", "segments": SEGMENTS, "duration_s": 2.5}
    loaded = writers.load(["vtt", "srt"])
    found = webvtt.from_buffer(io.StringIO(loaded["vtt"].render(record).decode())).captions
    assert [(c.start, c.end, c.text) for c in found] == [
        ("00:00:00.000", "00:00:01.000", "a dog runs."),
        ("00:00:01.000", "00:00:02.500", "it jumps --&gt; &amp; &lt;b&gt;\nhigh."),
        ("00:00:02.500", "00:00:02.501", "it stops."),
    ]
    subtitles = list(srt.parse(loaded["srt"].render(record).decode(), ignore_errors=False))
    assert [(s.index, s.start.total_seconds(), s.content) for s in subtitles] == [
        (1, 0.0, "a dog runs."),
        (2, 1.0, "it jumps \u2192 & <b> high."),
        (3, 2.5, "it stops."),
    ]
    part = {"caption": "A dog.", "start_s": 3600.0, "end_s": 3723.4567}
    assert loaded["srt"].render(part) == b"1\n01:00:00,000 --> 01:02:03,457\nA dog.\n"
    assert loaded["vtt"].render({"caption": "A dog."}) == b"WEBVTT\n\n00:00:00.000 --> 99:59:59.000\nA dog.\n"
    assert vtt.clock(59.9996, ".") == "00:01:00.000" and vtt.clock(400_000, ".") == "111:06:40.000"


@pytest.mark.slow
def test_a_missing_package_is_named_before_any_work(monkeypatch):
    import sys

    monkeypatch.delitem(sys.modules, "v2t.writers.parquet", raising=False)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match=r"cineloop\[formats\]"):
        writers.load(["parquet"])


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_records(tmp_path):
    def peak(num: int, name: str) -> int:
        records = (
            {"id": f"{i:06}.mp4", "path": "a.mp4", "status": "ok", "caption": f"{i} dog " * 250} for i in range(num)
        )
        rows = writers.Rows(lambda: records, lambda record: Path(__file__))
        tracemalloc.start()
        writers.load([name])[name].write(rows, tmp_path / f"{name}{num}", tmp_path / name)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    for name in ("jsonl", "csv", "two_file", "coco"):
        small, large = peak(500, name), peak(5000, name)  # 10 MB of captions
        assert large < small + 1_500_000, (name, small, large)
