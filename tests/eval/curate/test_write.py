"""Written sets, read back by the libraries that trainers read them with; kills, changed films, taken places."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import av
import numpy as np
import pytest
from pyarrow import parquet

from cineloop.manifest import read_manifest
from full_disk import python_on_full_disk
from planted_films import shot, write
from v2t_eval.cli import main
from v2t_eval.clips import store

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]
FORMATS = "webdataset,videofolder,two_file,parquet,manifest"


def run(*args, code=0):
    assert main(["curate", *map(str, args), "--workers", "1"]) == code


def bytes_of(folder: Path, *names: str) -> dict[str, bytes]:
    """All but the state and the page, which names the command and the place of the films."""
    paths = (path for name in names or ("",) for path in (folder / name).rglob("*") if path.is_file())
    left_out = {".cineloop", "report.html"}
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if not left_out & set(path.parts)}


def frames_of(data: bytes) -> np.ndarray:
    with av.open(io.BytesIO(data)) as container:
        return np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)]).astype(int)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Two films of two shots, one of them between bars, with captions; a black one."""
    folder = tmp_path_factory.mktemp("pile") / "films"
    write(folder / "a" / "x.mp4", shot(1), shot(2))
    barred = np.concatenate([shot(3), shot(4)])
    barred[:, :12] = barred[:, -12:] = 0
    write(folder / "b" / "x.mp4", barred)
    write(folder / "black.mp4", np.zeros_like(shot(1)))
    (folder / "a" / "x.txt").write_text("a red square\ncrosses\n")
    (folder / "b" / "x.txt").write_text("é 方 blue")
    (folder / "black.txt").write_text("nothing")
    return folder


@pytest.fixture(scope="module")
def made(films, tmp_path_factory):
    out = tmp_path_factory.mktemp("set")
    run(films, "-o", out, "--set", "limits.black_share.most=0.5", "--write", FORMATS)
    return out


@pytest.fixture(scope="module")
def kept(made):
    """The kept rows of the table, by id, in its order."""
    return {row["id"]: row for row in parquet.read_table(made / "clips.parquet").to_pylist() if row["kept"]}


@pytest.fixture(scope="module")
def same_picture(films):
    """Asserts that bytes hold the frames of a clip of the films, those between the dark bars."""

    def check(data: bytes, id: str) -> None:
        name, _, times = id.rpartition("#t=")
        start_s, end_s = (float(part) for part in times.split(","))
        there = frames_of((films / name).read_bytes())[round(start_s * 24) : round(end_s * 24)]
        there = there[:, 12:-12] if id.startswith("b") else there
        back = frames_of(data)
        assert back.shape == there.shape and np.abs(back - there).mean() < 4

    return check


def test_every_kept_clip_is_cut_once_and_cropped(made, kept, same_picture):
    rows = list(read_manifest(made / "manifest.jsonl"))
    assert [row["id"] for row in rows] == list(kept) and len(rows) == 4
    for row in rows:
        same_picture((made / row["path"]).read_bytes(), row["id"])
        assert (row["width"], row["height"]) == ((160, 72) if row["id"].startswith("b") else (160, 96))
        assert row["duration_s"] == pytest.approx(kept[row["id"]]["end_s"] - kept[row["id"]]["start_s"], abs=0.05)
    assert len(list((made / "clips").glob("*.mp4"))) == 4
    assert [row["captions"] for row in rows] == [["a red square crosses"]] * 2 + [["é 方 blue"]] * 2


def test_webdataset_reads_videos_captions_and_records_in_order(made, kept, same_picture):
    wds = pytest.importorskip("webdataset")
    samples = list(wds.WebDataset(str(made / "webdataset" / "000000.tar"), shardshuffle=False))
    assert [json.loads(sample["json"])["id"] for sample in samples] == list(kept)
    assert [sample["txt"].decode() for sample in samples] == ["a red square crosses"] * 2 + ["é 方 blue"] * 2
    for sample, id in zip(samples, kept, strict=True):
        same_picture(sample["mp4"], id)


def test_datasets_reads_the_videofolder(made, kept, same_picture, tmp_path):
    datasets = pytest.importorskip("datasets")
    found = datasets.load_dataset(
        "videofolder", data_dir=str(made / "videofolder"), split="train", cache_dir=str(tmp_path)
    )
    found = found.cast_column("video", datasets.Video(decode=False))
    assert list(found["id"]) == list(kept) and found["text"][3] == "é 方 blue" and found["source"][0] == "a/x.mp4"
    same_picture(Path(found[0]["video"]["path"]).read_bytes(), list(kept)[0])


def test_two_file_and_the_index_point_at_the_clips(made, kept):
    videos = (made / "two_file" / "videos.txt").read_text().splitlines()
    prompts = (made / "two_file" / "prompts.txt").read_text().splitlines()
    assert prompts == ["a red square crosses"] * 2 + ["é 方 blue"] * 2
    index = parquet.read_table(made / "index.parquet").to_pylist()
    assert [row["id"] for row in index] == list(kept) and index[0]["scores"]["sharpness"] > 0
    for video, row in zip(videos, index, strict=True):
        assert (made / "two_file" / video).resolve() == (made / row["path"]).resolve()


def test_lance_reads_rows_in_order_and_single_clips(made, films, kept, same_picture, tmp_path):
    lance = pytest.importorskip("lance", reason="pylance is not installed")
    out = tmp_path / "set"
    shutil.copytree(made, out)
    run(out, "--write", "lance")
    found = lance.dataset(str(out / "clips.lance"))
    assert found.to_table(columns=["id"])["id"].to_pylist() == list(kept)
    same_picture(found.take_blobs("video", indices=[2])[0].read(), list(kept)[2])
    before = bytes_of(out / "clips.lance")
    run(out, "--write", "lance")
    assert bytes_of(out / "clips.lance") == before


def test_without_lance_the_extra_is_named(made, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "lance", None)
    monkeypatch.delitem(sys.modules, "v2t_eval.curate.writers.lance", raising=False)
    run(made, "--write", "lance", code=5)
    assert "pip install 'cineloop[lance]'" in capsys.readouterr().err


def test_the_same_bytes_from_a_read_only_folder_and_nothing_twice(made, films, tmp_path, monkeypatch):
    for path in [films, *films.rglob("*")]:
        path.chmod(stat.S_IRUSR | (stat.S_IXUSR if path.is_dir() else 0))
    before = bytes_of(films)
    out = tmp_path / "other"
    try:
        run(films, "-o", out, "--set", "limits.black_share.most=0.5", "--write", FORMATS)
    finally:
        for path in [films, *films.rglob("*")]:
            path.chmod(stat.S_IRWXU)
    assert bytes_of(films) == before
    assert bytes_of(out) == bytes_of(made)
    monkeypatch.setattr(store, "submit_cut", lambda *args: pytest.fail("cut twice"))
    dates = {path: path.stat().st_mtime_ns for path in out.rglob("*.tar")}
    run(out, "--write", FORMATS)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.tar")} == dates
    assert bytes_of(out) == bytes_of(made)


def test_kills_leave_nothing_half_written(made, films, tmp_path):
    """A process that dies at the n-th clip, and at the n-th rename of a format; the next run continues."""
    out = tmp_path / "set"
    code = """
import os, sys
from v2t_eval.cli import main
from v2t_eval.curate import write
left = int(sys.argv[1])
real = os.replace
def replace(*args):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), 9)
    real(*args)
write.os.replace = replace
main(sys.argv[2:])
"""
    run(films, "-o", out, "--set", "limits.black_share.most=0.5")
    died = 0
    for moment in (0, 1, 2, 4, 8, 16, 1000):
        words = [str(moment), "curate", str(out), "--write", FORMATS, "--workers", "1", "--quiet"]
        done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True)
        for tar in out.rglob("webdataset/*.tar"):
            assert len(tarfile.open(tar).getnames()) == 12
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        died += 1
    assert died >= 4
    run(out, "--write", FORMATS)
    assert bytes_of(out) == bytes_of(made)
    assert not list((out / ".cineloop").glob("writing-*"))


def test_splits_are_folders_of_their_own(made, tmp_path):
    import pyarrow as pa

    out = tmp_path / "set"
    shutil.copytree(made, out)
    for name in (*FORMATS.split(","), "clips"):
        shutil.rmtree(out / name, ignore_errors=True)
    table = parquet.read_table(out / "clips.parquet")
    splits = ["val" if id.startswith("b") else "train" for id in table["id"].to_pylist()]
    captions = [f"caption {number}" for number in range(len(table))]
    table = table.drop_columns([name for name in ("split", "caption", "license") if name in table.column_names])
    table = table.append_column("split", pa.array(splits)).append_column("caption", pa.array(captions))
    table = table.append_column("license", pa.array(["CC0"] * len(table)))
    parquet.write_table(table, out / "clips.parquet")
    run(out, "--write", "manifest,videofolder")
    rows = {split: list(read_manifest(out / split / "manifest.jsonl")) for split in ("train", "val")}
    assert [len(each) for each in rows.values()] == [2, 2]
    assert all(row["source"].startswith("a/") and row["license"] == "CC0" for row in rows["train"])
    assert rows["train"][1]["captions"] == ["caption 1"]  # the column counts, not the text beside the film
    assert (out / "val" / rows["val"][0]["path"]).is_file()
    assert len((out / "val" / "videofolder" / "metadata.jsonl").read_text().splitlines()) == 2


def test_a_changed_or_missing_film_fails_alone(made, films, tmp_path, capsys):
    pile, out = tmp_path / "films", tmp_path / "set"
    shutil.copytree(films, pile)
    run(pile, "-o", out)
    (pile / "black.mp4").unlink()
    os.utime(pile / "b" / "x.mp4")
    capsys.readouterr()
    run(out, "--write", "manifest", "--json", code=3)
    tree = json.loads(capsys.readouterr().out)
    assert sorted(each["code"] for each in tree["failed"]) == ["CHANGED", "CHANGED", "NOT_FOUND"]
    assert tree["clips"] == len(list(read_manifest(out / "manifest.jsonl"))) == 2


def test_what_cannot_be_written_is_said_before_work(made, films, tmp_path, capsys):
    run(made, "--write", "webdatset", code=2)
    assert "formats: webdataset, lance" in capsys.readouterr().err
    run(tmp_path, "--write", "manifest", code=4)
    run(made, "--write", "manifest", "--blur-faces", films / "black.txt", code=2)
    assert "no face detector" in capsys.readouterr().err
    out = tmp_path / "set"
    run(films, "-o", out)
    (out / "manifest.jsonl").write_text("mine")
    run(out, "--write", "manifest", code=2)
    assert (out / "manifest.jsonl").read_text() == "mine"
    run(films, "-o", tmp_path / "none", "--set", "limits.duration_s.least=100", "--write", "manifest", code=4)


def test_a_full_disk_ends_in_exit_5_and_the_next_run_continues(made, films, tmp_path):
    out = tmp_path / "set"
    run(films, "-o", out, "--set", "limits.black_share.most=0.5")
    code = "import sys; from v2t_eval.cli import main; raise SystemExit(main(sys.argv[1:]))"
    words = ["curate", out, "--write", FORMATS, "--workers", 1]
    done = python_on_full_disk(code, *words, most_bytes=20_000, cwd=ROOT)
    assert done.returncode == 5 and "continues where it stopped" in done.stderr, done.stderr
    assert not (out / "webdataset").exists()
    run(out, "--write", FORMATS)
    assert bytes_of(out) == bytes_of(made)


def test_the_same_film_under_two_names_is_cut_once_and_written_twice(films, tmp_path):
    pile, out = tmp_path / "films", tmp_path / "set"
    for name in ("one.mp4", "two.mp4"):
        pile.mkdir(exist_ok=True)
        shutil.copyfile(films / "a" / "x.mp4", pile / name)
    run(pile, "-o", out, "--write", "manifest,videofolder")
    rows = list(read_manifest(out / "manifest.jsonl"))
    assert len(rows) == 4 and len({row["path"] for row in rows}) == 2 == len(list((out / "clips").glob("*.mp4")))
    assert len(list((out / "videofolder" / "videos").iterdir())) == 4


def test_clips_that_begin_with_a_key_frame_are_copied_where_asked(films, tmp_path):
    out = tmp_path / "set"
    sets = ["--set", "settings.split.trim_frames=0", "--set", "limits.bars.most=0.05"]
    run(films, "-o", out, *sets, "--write", "manifest", "--cut", "copy")
    entries = [json.loads(line) for line in (out / ".cineloop" / "cuts.jsonl").read_text().splitlines()]
    cuts = [entry for entry in entries if "key" in entry]
    assert [cut["piece"]["copied"] for cut in cuts] == [True] * 3
    row = next(row for row in read_manifest(out / "manifest.jsonl") if row["source"] == "a/x.mp4")
    assert np.array_equal(
        frames_of((out / row["path"]).read_bytes()), frames_of((films / "a/x.mp4").read_bytes())[: row["num_frames"]]
    )


def test_formats_of_earlier_runs_follow_the_table(films, tmp_path):
    out = tmp_path / "set"
    run(films, "-o", out, "--write", "manifest,two_file")
    assert len((out / "two_file" / "videos.txt").read_text().splitlines()) == 5
    run(films, "-o", out, "--set", "limits.black_share.most=0.5", "--write", "parquet", "--cut", "copy")
    videos = (out / "two_file" / "videos.txt").read_text().splitlines()
    assert len(videos) == 4 and all((out / "two_file" / video).is_file() for video in videos)
    assert len(list(read_manifest(out / "manifest.jsonl"))) == 4
    assert len(list((out / ".cineloop" / "cuts").iterdir())) == 4
