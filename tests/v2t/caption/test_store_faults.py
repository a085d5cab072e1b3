"""A store that fails or is not there, what others leave on it, and what is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from object_store import CAPTIONER, OPTIONS, caption, forget_clients, journalled, rows_of
from v2t.cli import main

pytestmark = pytest.mark.slow

NUM_CLIPS = 12


@pytest.fixture(scope="module")
def clips(coloured_clips) -> Path:
    return coloured_clips(NUM_CLIPS, folders=2)


# ---- a store that fails


@pytest.mark.long
@pytest.mark.parametrize("fault", ["503", "drop", "lost", "hang"])
def test_failed_requests_are_repeated(clips, s3, fault, monkeypatch):
    import s3fs

    monkeypatch.setattr(s3fs.S3FileSystem, "read_timeout", 4)
    seen: Counter[str] = Counter()

    def two_of_each(method: str, key: str) -> str:
        seen[f"{method} {key}"] += 1
        if fault == "hang":  # until the client's timeout, which is why only once
            return fault if key.endswith("/journal/000002.jsonl") and seen[f"{method} {key}"] == 1 else ""
        is_ours = "/journal/" in key or key.endswith("captions.jsonl") or method == "GET"
        return fault if is_ours and seen[f"{method} {key}"] <= 2 else ""

    s3.fault = two_of_each
    assert caption(clips, f"{s3.url}/captions", "--limit", "4") == 0
    s3.fault = lambda method, key: ""
    numbers = s3.segments("captions/.v2t")
    assert numbers == [f"{i + 1:06}.jsonl" for i in range(len(numbers))]  # a repeated request takes no second number
    assert len(journalled(s3, "captions")) == len(set(journalled(s3, "captions"))) == 4
    assert len(rows_of(s3.objects()["captions/captions.jsonl"])) == 4


@pytest.mark.parametrize("fault", ["503", "drop"])
def test_a_store_that_stays_away_ends_the_run_with_one_line(clips, s3, fault, capsys):
    def after_four(method: str, key: str) -> str:
        return fault if method == "PUT" and len(s3.segments("captions/.v2t")) >= 4 else ""

    s3.fault = after_four
    assert caption(clips, f"{s3.url}/captions") == 5
    lines = capsys.readouterr().err.splitlines()
    (line,) = [line for line in lines if line.startswith("error")]
    assert "error STORE: cannot write s3://bucket/captions/.v2t/journal/000005.jsonl in 6 tries" in line
    assert "run the same command again" in line
    s3.fault = lambda method, key: ""
    before = journalled(s3, "captions")
    assert 0 < len(before) < NUM_CLIPS
    assert caption(clips, f"{s3.url}/captions") == 0
    rows = rows_of(s3.objects()["captions/captions.jsonl"])
    assert Counter(journalled(s3, "captions")) == Counter(row["id"] for row in rows) and len(rows) == NUM_CLIPS


def test_a_store_without_conditional_writes_is_refused(clips, s3, capsys):
    s3.fault = lambda method, key: "ignore"
    assert caption(clips, f"{s3.url}/captions") == 5
    assert "error STORE: " in capsys.readouterr().err and not journalled(s3, "captions")


def test_what_is_wrong_with_the_address_is_told_at_once(clips, s3, capsys, monkeypatch):
    def error(url: str, *more: str) -> tuple[int, str]:
        capsys.readouterr()
        code = caption(clips, url, *more)
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
        return code, line

    code, line = error("s3://nobody/captions")
    assert code == 5 and "cannot list s3://nobody/captions" in line and "make the bucket first" in line
    code, line = error("s3://Not A Bucket!/captions")
    assert code == 5 and "error STORE" in line and "tries" not in line
    code, line = error("s3:///captions")
    assert code == 2 and "names no bucket" in line
    for url in ("hf://datasets/me/captions", "https://example.org/captions", "ftp://host/x"):
        code, line = error(url)
        assert code == 2 and f"to a folder, s3:// or gs://, not to {url}" in line
    assert error("s3://me:secret@bucket/captions")[0] == 7
    code, line = error(f"{s3.url}/captions", "--format", "txt,jsonl,webdataset")
    assert code == 2 and "NOT_ON_A_STORE" in line and "txt, webdataset" in line
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    forget_clients()
    code, line = error(f"{s3.url}/other")
    assert code == 5 and "in 6 tries" in line and "http" not in line
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    forget_clients()
    code, line = error(f"{s3.url}/third")
    assert code == 5 and "check the credentials" in line
    assert not [key for method, key in s3.requests if method == "PUT" and "/journal/" in key]


def test_without_the_package_one_line_says_what_to_install(clips, s3, capsys, without_s3fs):
    assert caption(clips, f"{s3.url}/captions") == 5
    assert "pip install 'cineloop[remote]'" in capsys.readouterr().err


# ---- what others leave there


def test_a_cut_segment_a_lost_one_and_foreign_objects(clips, s3, capsys):
    url = f"{s3.url}/captions"
    assert caption(clips, url) == 0
    full = s3.objects()
    holding = [name for name in full if "/journal/" in name and b'"kind":"clip"' in full[name]]
    cut, lost = holding[1], holding[3]
    s3.put(cut, full[cut][:-20])
    s3.delete(lost)
    s3.put("captions/.v2t/journal/notes.txt", b"not a segment")
    s3.put("captions/.v2t/journal/000002.jsonl.bak", b"\xff" * 100)
    s3.put("captions/film.mp4", b"large")
    s3.put("captions/.v2t/other/journal/000001.jsonl", b"no entry\n")
    capsys.readouterr()
    assert caption(clips, url) == 0
    err = capsys.readouterr().err
    assert f"{url}/{cut.removeprefix('captions/')} is cut short" in err and "1 segment missing" in err
    assert "3 captioned" in err or "4 captioned" in err
    assert len(rows_of(s3.objects()["captions/captions.jsonl"])) == NUM_CLIPS
    assert s3.objects()["captions/film.mp4"] == b"large"
    assert not [key for method, key in s3.requests if method == "GET" and "film" in key]


def test_an_edited_file_of_the_whole_is_kept(clips, s3, capsys):
    url = f"{s3.url}/captions"
    assert caption(clips, url, "--limit", "4") == 0
    s3.put("captions/captions.jsonl", b'{"by": "hand"}\n')
    assert caption(clips, url) == 0
    objects = s3.objects()
    assert objects["captions/captions.by-hand.jsonl"] == b'{"by": "hand"}\n'
    assert len(rows_of(objects["captions/captions.jsonl"])) == NUM_CLIPS


def test_an_empty_place_is_no_output_of_a_run(s3, capsys, tmp_path):
    for words in (["cluster", "status", f"{s3.url}/none"], ["merge", f"{s3.url}/none", "-o", str(tmp_path)]):
        assert main(words) == 4
        assert "error NOTHING_MATCHED: " in capsys.readouterr().err


def test_other_settings_are_refused_and_a_dry_run_writes_nothing(clips, s3, capsys):
    url = f"{s3.url}/captions"
    assert caption(clips, url, "--limit", "2") == 0
    before = s3.objects()
    assert caption(clips, url, "--dry-run") == 0 and "10 would be captioned" in capsys.readouterr().err
    assert caption(clips, url, "--prompt", "Say more.") == 2
    assert "error OTHER_SETTINGS: " in capsys.readouterr().err
    assert s3.objects() == before


def test_folders_join_into_a_store(clips, s3, tmp_path):
    url = f"{s3.url}/captions"
    here = tmp_path / "here"
    assert main(["caption", str(clips), "-o", str(here), *OPTIONS]) == 0
    (here / "part0/clip 000.txt").write_text("A hand wrote this.\n")
    assert main(["caption", str(clips), "-o", str(here), *OPTIONS]) == 0
    assert caption(clips, url) == 0
    assert main(["merge", str(here), url, "-o", url]) == 0
    rows = {row["id"]: row for row in rows_of(s3.objects()["captions/captions.jsonl"])}
    assert rows["part0/clip 000.mp4"]["caption"] == "A hand wrote this." and len(rows) == NUM_CLIPS
    assert caption(clips, url) == 0  # and stays


def test_from_python(clips, s3):
    import cineloop

    options = {"model": "colours", "captioner": str(CAPTIONER), "workers": 1}
    records = cineloop.caption(clips, f"{s3.url}/captions", **options)
    assert len(records) == NUM_CLIPS and {row["status"] for row in records} == {"ok"}
