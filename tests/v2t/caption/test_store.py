"""Captions on an object store: segments that are only ever created, runs that die and go on, writers that meet."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("moto", reason="the stand-in for S3, moto, is not installed")
pytest.importorskip("s3fs", reason="the client of S3, s3fs, is not installed: pip install 'cineloop[remote]'")
pytest.importorskip("flask", reason="the stand-in for S3 serves with flask, which is not installed")

from cineloop import store as stores
from cineloop.cluster.settings import ClusterConfig
from cineloop.journal import decode_entry
from coloured_captions import ENV
from decoder_here import Pool
from object_store import Bucket, bucket
from v2t.caption import job, run
from v2t.caption.settings import CaptionConfig
from v2t.cli import main

NUM_CLIPS = 12
CAPTIONER = Path(__file__).parents[2] / "support/placed_captioner.py"
OPTIONS = ["--model", "colours", "--captioner", str(CAPTIONER), "--batch-size", "2", "--workers", "1"]


@pytest.fixture(scope="module")
def clips(coloured_clips) -> Path:
    return coloured_clips(NUM_CLIPS, folders=2)


@pytest.fixture
def s3(monkeypatch):
    import s3fs

    monkeypatch.setattr(stores, "_PAUSE_S", 0.001)
    monkeypatch.setattr(job, "DecoderPool", Pool)  # no child process for each run
    s3fs.S3FileSystem.clear_instance_cache()
    with bucket("bucket") as place:
        yield place
    s3fs.S3FileSystem.clear_instance_cache()


def caption(clips: Path, url: str, *more: str) -> int:
    return main(["caption", str(clips), "-o", url, *OPTIONS, *more])


def rows_of(data: bytes) -> list[dict]:
    return [json.loads(line) for line in data.splitlines()]


def journalled(s3: Bucket, folder: str) -> list[str]:
    """Ids of the records in all segments of an output folder."""
    start = f"{folder}/.v2t/" if folder else ".v2t/"
    found = [data for name, data in s3.objects().items() if name.startswith(start) and "/journal/" in name]
    lines = [line for data in found for line in data.splitlines()]
    return [entry["record"]["id"] for entry in map(decode_entry, lines) if entry["kind"] == "clip"]


def in_background(clips: Path, url: str, hold: Path, *more: str) -> subprocess.Popen:
    words = ["caption", str(clips), "-o", url, *OPTIONS, *more]
    env = ENV | os.environ | {"PYTHONPATH": ENV["PYTHONPATH"], "HOLD_CAPTIONS": str(hold)}
    return subprocess.Popen([sys.executable, "-m", "v2t", *words], env=env)


def wait_for(is_true, process: subprocess.Popen) -> None:
    while not is_true():
        assert process.poll() is None, "it ended before"
        time.sleep(0.02)


# ---- what a run writes


def test_a_run_writes_one_segment_a_batch_and_the_file_of_the_whole(clips, s3, tmp_path):
    here = tmp_path / "here"
    assert main(["caption", str(clips), "-o", str(here), *OPTIONS]) == 0
    assert caption(clips, f"{s3.url}/captions") == 0
    objects = s3.objects()
    assert set(objects) - {f"captions/.v2t/journal/{n}" for n in s3.segments("captions/.v2t")} == {
        "captions/captions.jsonl", "captions/.v2t/config.yaml", "captions/.v2t/run.json", "captions/.v2t/sets.json",
        "captions/.v2t/create-only",
    }  # fmt: skip
    numbers = s3.segments("captions/.v2t")
    assert numbers == [f"{i + 1:06}.jsonl" for i in range(len(numbers))]
    batches = [data for name, data in objects.items() if "/journal/" in name and b'"kind":"clip"' in data]
    assert len(batches) == NUM_CLIPS / 2 and all(data.count(b'"kind":"clip"') == 2 for data in batches)
    same = [{**row, "seconds": 0} for row in rows_of((here / "captions.jsonl").read_bytes())]
    assert [{**row, "seconds": 0} for row in rows_of(objects["captions/captions.jsonl"])] == same
    puts = [key for method, key in s3.requests if method == "PUT" and "/journal/" in key]
    assert len(puts) == len(set(puts))


def test_a_second_run_does_nothing_and_writes_nothing(clips, s3, capsys):
    assert caption(clips, f"{s3.url}/captions") == 0
    before = s3.objects()
    assert caption(clips, f"{s3.url}/captions/") == 0
    assert "12 done before" in capsys.readouterr().err and s3.objects() == before


@pytest.mark.parametrize("prefix", ["", "/a b/ünïcode [1]*?#%20", "/deep/er//double"])
def test_any_prefix(clips, s3, prefix):
    assert caption(clips, s3.url + prefix, "--limit", "2") == 0
    assert caption(clips, s3.url + prefix) == 0
    key = f"{prefix[1:]}/captions.jsonl".lstrip("/")
    assert len(rows_of(s3.objects()[key])) == len(set(journalled(s3, prefix[1:]))) == NUM_CLIPS


def test_input_and_output_on_the_store(clips, s3, tmp_path):
    for path in clips.rglob("*.mp4"):
        s3.put(f"clips/{path.relative_to(clips)}", path.read_bytes())
    assert main(["caption", f"{s3.url}/clips", "-o", f"{s3.url}/clips", *OPTIONS]) == 0
    assert main(["caption", f"{s3.url}/clips", "-o", f"{s3.url}/clips", *OPTIONS]) == 0
    assert Counter(journalled(s3, "clips")).most_common(1)[0][1] == 1
    assert {row["status"] for row in rows_of(s3.objects()["clips/captions.jsonl"])} == {"ok"}


# ---- runs that die, writers that meet


def test_a_killed_run_goes_on(clips, s3, tmp_path):
    url, hold = f"{s3.url}/captions", tmp_path / "hold"
    hold.touch()
    for num_done in (4, 8):  # the batch in hand is the third each time
        process = in_background(clips, url, hold)
        wait_for(lambda num_done=num_done: len(journalled(s3, "captions")) >= num_done, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert caption(clips, url) == 0
    ids = journalled(s3, "captions")
    assert len(ids) == len(set(ids)) == NUM_CLIPS  # what was written is never done again
    assert len(rows_of(s3.objects()["captions/captions.jsonl"])) == NUM_CLIPS


def test_two_writers_of_one_name_lose_nothing(s3):
    store = stores.Store(f"{s3.url}/x")
    writers = [stores.Segments(store, ".v2t/journal") for _ in range(2)]

    def write(i: int) -> None:
        for j in range(10):
            writers[i].add(b"%d %d\n" % (i, j))

    threads = [threading.Thread(target=write, args=[i]) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    data = [value for name, value in s3.objects().items() if "journal" in name]
    assert sorted(data) == sorted(b"%d %d\n" % (i, j) for i in range(2) for j in range(10))
    for i in range(2):  # each in the order in which it wrote
        assert [line for line in data if line.startswith(b"%d " % i)] == [b"%d %d\n" % (i, j) for j in range(10)]


def test_two_runs_at_once_give_one_record_each(clips, s3, tmp_path):
    url, hold = f"{s3.url}/captions", tmp_path / "hold"
    hold.touch()
    first = in_background(clips, url, hold)
    wait_for(lambda: len(journalled(s3, "captions")) >= 4, first)
    assert caption(clips, url) == 0  # takes the numbers that the first one expects to take
    hold.unlink()
    assert first.wait() == 0
    numbers = s3.segments("captions/.v2t")
    assert numbers == [f"{i + 1:06}.jsonl" for i in range(len(numbers))]
    ids = Counter(journalled(s3, "captions"))
    assert len(ids) == NUM_CLIPS and set(ids.values()) == {1, 2}
    assert caption(clips, url) == 0
    assert len(rows_of(s3.objects()["captions/captions.jsonl"])) == NUM_CLIPS


def test_shards_status_and_merge(clips, s3, tmp_path, capsys):
    url = f"{s3.url}/captions"

    def status() -> dict:
        capsys.readouterr()
        assert main(["cluster", "status", url, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    assert caption(clips, url, "--shard", "1/2") == 0
    shown = status()
    assert [shard["state"] for shard in shown["shards"]] == ["finished", "waiting"] and shown["clips"] == NUM_CLIPS
    hold = tmp_path / "hold"
    hold.touch()
    process = in_background(clips, url, hold, "--shard", "2/2")
    wait_for(lambda: len(journalled(s3, "captions")) >= 5 + 2, process)
    assert [shard["state"] for shard in status()["shards"]] == ["finished", "running"]
    process.send_signal(signal.SIGTERM)
    hold.unlink()
    assert process.wait() == 130
    assert [shard["state"] for shard in status()["shards"]] == ["finished", "stopped"]
    assert caption(clips, url) == 2 and "UNMERGED" in capsys.readouterr().err
    assert caption(clips, url, "--shard", "2/2") == 0
    assert f"all 2 shards are done; v2t merge {url} joins them" in capsys.readouterr().err
    assert main(["merge", url]) == 0
    assert "12 captioned" in capsys.readouterr().out
    before = s3.objects()
    assert len(rows_of(before["captions/captions.jsonl"])) == NUM_CLIPS
    assert main(["merge", url]) == 0 and s3.objects() == before
    assert main(["merge", url, "-o", str(tmp_path / "here"), "--format", "txt,jsonl"]) == 0
    assert len(list((tmp_path / "here").rglob("*.txt"))) == NUM_CLIPS
    assert s3.objects() == before


# ---- a cluster


def placed(clips: Path, url: str, engine: str):
    sizes = {"decode_workers": "1..2", "model_workers": "1..2"} if engine == "ray" else {}
    cluster = ClusterConfig(engine=engine, **sizes)
    config = CaptionConfig(model="colours", captioner=str(CAPTIONER), batch_size=2, workers=1, cluster=cluster)
    return run.run([str(clips)], url, config)


def test_workers_of_a_cluster_write_segments_of_their_own(clips, engines, s3, tmp_path, monkeypatch):
    assert caption(clips, f"{s3.url}/plain") == 0
    url, written = f"{s3.url}/captions", []
    create = stores.Store.create

    def noted(self, name: str, data: bytes) -> bool:
        written.append(f"{self.url}/{name}")
        return create(self, name, data)

    monkeypatch.setattr(stores.Store, "create", noted)
    assert placed(clips, url, "ray").exit_code == 0 and len(engines) == 1
    theirs = [name for name in written if "/.v2t/ray-" in name]
    assert len(theirs) > NUM_CLIPS / 2 and all("/journal/" in name for name in theirs)
    objects = s3.objects()
    assert not [name for name in objects if "/ray-" in name]  # all that was in them is in the journal of the whole
    same = [{**row, "seconds": 0} for row in rows_of(objects["plain/captions.jsonl"])]
    assert [{**row, "seconds": 0} for row in rows_of(objects["captions/captions.jsonl"])] == same


@pytest.mark.parametrize("engine", ["none", "ray"])
def test_what_a_dead_driver_of_a_cluster_left_is_taken_over(clips, engines, s3, monkeypatch, engine):
    class Dead(BaseException):
        """The driver dies: nothing is cleared up."""

    def dying(self, results, settings):
        raise Dead

    url = f"{s3.url}/captions"
    with monkeypatch.context() as patch:
        patch.setattr(run.CaptionFolder, "save", dying)
        with pytest.raises(Dead):
            placed(clips, url, "ray")
    answered = set(journalled(s3, "captions"))
    assert answered and [name for name in s3.objects() if "/ray-" in name]
    summary = placed(clips, url, engine)
    assert summary.done_before == len(answered) and summary.num_captioned == NUM_CLIPS - len(answered)
    assert not [name for name in s3.objects() if "/ray-" in name]
    assert len(journalled(s3, "captions")) == len(set(journalled(s3, "captions"))) == NUM_CLIPS


# ---- a store that fails


@pytest.mark.parametrize("fault", ["503", "drop", "lost", "hang"])
def test_failed_requests_are_repeated(clips, s3, fault, monkeypatch):
    import s3fs

    monkeypatch.setattr(s3fs.S3FileSystem, "read_timeout", 2)
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
    assert "the store ignores If-None-Match" in capsys.readouterr().err and not journalled(s3, "captions")


def test_what_is_wrong_with_the_address_is_told_at_once(clips, s3, capsys, monkeypatch):
    import s3fs

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
    for url in ("hf://datasets/me/captions", "https://example.org/captions", "file:///tmp/captions", "ftp://host/x"):
        code, line = error(url)
        assert code == 2 and f"to a folder, s3:// or gs://, not to {url}" in line
    assert error("s3://me:secret@bucket/captions")[0] == 7
    code, line = error(f"{s3.url}/captions", "--format", "txt,jsonl,webdataset")
    assert code == 2 and "NOT_ON_A_STORE" in line and "txt, webdataset" in line
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    s3fs.S3FileSystem.clear_instance_cache()
    code, line = error(f"{s3.url}/other")
    assert code == 5 and "in 6 tries" in line and "http" not in line
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    s3fs.S3FileSystem.clear_instance_cache()
    code, line = error(f"{s3.url}/third")
    assert code == 5 and "check the credentials" in line
    assert not [key for method, key in s3.requests if method == "PUT" and "/journal/" in key]


def test_without_the_package_one_line_says_what_to_install(clips, s3, capsys, monkeypatch):
    import fsspec

    fsspec.get_filesystem_class("s3")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3")
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
        assert f"{s3.url}/none is not the output" in capsys.readouterr().err


def test_other_settings_are_refused_and_a_dry_run_writes_nothing(clips, s3, capsys):
    url = f"{s3.url}/captions"
    assert caption(clips, url, "--limit", "2") == 0
    before = s3.objects()
    assert caption(clips, url, "--dry-run") == 0 and "10 would be captioned" in capsys.readouterr().err
    assert caption(clips, url, "--prompt", "Say more.") == 2
    assert f"2 captions in {url} were made with other settings" in capsys.readouterr().err
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


@pytest.mark.parametrize("words", [["generate", "a ball"], ["score", "clips"], ["world"]], ids=lambda words: words[0])
def test_other_commands_refuse_an_address(words, capsys):
    from t2v.cli import main as generate
    from v2t_eval.cli import main as score

    program = {"generate": generate, "score": score}.get(words[0], main)
    with pytest.raises(SystemExit) as end:
        program([*words, "-o", "s3://bucket/out"])
    assert end.value.code == 2
    assert "expected a path on this machine, got an address of s3://" in capsys.readouterr().err
