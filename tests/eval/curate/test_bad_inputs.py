"""Films that are no films, and odd ones, through the command: each a row with a code or the rule that finds it; the
rest goes on."""

from __future__ import annotations

import errno
import json
import os
import shutil
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from cineloop.files import TEMPORARY
from planted_films import shot, write
from v2t_eval.cli import main
from v2t_eval.curate.table import JOURNAL, PARQUET

pytestmark = pytest.mark.slow
LIMITS = ("film_frames.least=2", "damaged.most=0", "hdr.most=0", "black_share.most=0.5", "still_share.most=0.5")
FAILED = {
    "audio.mp4": "NO_VIDEO_STREAM",
    "empty.mp4": "EMPTY_FILE",
    "loop.mp4": "UNREADABLE",
    "text.mp4": "NOT_MEDIA",
    "twelve hours.mp4": "TOO_LONG",
}
DROPPED = {
    "black.mp4": ["black_share.most", "still_share.most"],
    "frame.mp4": ["film_frames.least", "still_share.most"],
    "grey.mp4": ["still_share.most"],
    "high range.mkv": ["hdr.most"],
    "picture.mp4": ["film_frames.least", "still_share.most"],
    "tail.mp4": ["damaged.most"],
}
KEPT = ("444 10 bits.mp4", "alpha.webm", "claims hours.mp4", "sound.mp4")


def encode(path, codec: str, format: str, frames: np.ndarray, **options: str) -> None:
    """Frames (T, H, W, 3 or 4) by any codec of FFmpeg."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=24, options=options)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], format
        for array in frames:
            frame = av.VideoFrame.from_ndarray(array, format="rgb24" if array.shape[-1] == 3 else "rgba")
            out.mux(stream.encode(frame.reformat(format=format)))
        out.mux(stream.encode(None))


def audio(path) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def claim(path, hours: int) -> None:
    """Let the headers of an mp4 say that it lasts so long (version 0 of mvhd, mdhd and tkhd)."""
    data = bytearray(path.read_bytes())
    for name, scale_at, length_at in ((b"mvhd", 16, 20), (b"mdhd", 16, 20), (b"tkhd", 0, 24)):
        box = data.index(name)
        scale = int.from_bytes(data[box + scale_at : box + scale_at + 4], "big") if scale_at else 1000
        data[box + length_at : box + length_at + 4] = (3600 * hours * scale).to_bytes(4, "big")
    path.write_bytes(data)


@pytest.fixture(scope="module")
def pile(tmp_path_factory):
    place = tmp_path_factory.mktemp("bad") / "films"
    write(place / "sound.mp4", shot(5))
    for name in ("a", "b"):
        write(place / name / "same name.mp4", shot(ord(name)))
    shutil.copy2(place / "sound.mp4", place / "sound again.mp4")
    (place / "empty.mp4").write_bytes(b"")
    (place / "text.mp4").write_text("not a film")
    audio(place / "audio.mp4")
    (place / "loop.mp4").symlink_to(place / "loop.mp4")
    (place / "ring").mkdir()
    (place / "ring" / "up").symlink_to(place, target_is_directory=True)
    Image.fromarray(shot(1, 1)[0]).save(place / "picture.mp4", format="PNG")
    write(place / "frame.mp4", shot(1, 1))
    write(place / "twelve hours.mp4", shot(1, 4), fps=Fraction(1, 3 * 3600))
    claim(write(place / "claims hours.mp4", shot(4)), 12)
    write(place / "black.mp4", np.zeros_like(shot(1)))
    write(place / "grey.mp4", np.full_like(shot(1), 128))
    encode(place / "444 10 bits.mp4", "libx264", "yuv444p10le", shot(2))
    encode(place / "high range.mkv", "libx264", "yuv420p10le", shot(6), color_trc="smpte2084", colorspace="bt2020nc")
    alpha = np.full((*shot(3).shape[:3], 1), 128, np.uint8)
    encode(place / "alpha.webm", "libvpx-vp9", "yuva420p", np.concatenate([shot(3), alpha], -1))
    whole = write(place / "tail.mp4", shot(8, 120)).read_bytes()
    (place / "tail.mp4").write_bytes(whole[: len(whole) * 3 // 4])
    return place


def state(place) -> dict:
    return {path: path.lstat().st_mtime_ns for path in [place, *place.rglob("*")]}


@pytest.fixture(scope="module")
def made(pile, tmp_path_factory):
    """(exit code, rows by film) of one run over a folder that nobody may write to."""
    out = tmp_path_factory.mktemp("set")
    before = state(pile)
    for path in (pile, *pile.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        code = curate(pile, out)
    finally:
        for path in (pile, *pile.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755)
    assert state(pile) == before
    rows: dict[str, list[dict]] = {}
    for row in parquet.read_table(out / PARQUET).to_pylist():
        rows.setdefault(row["source"], []).append(row)
    return code, rows


def curate(pile, out) -> int:
    words = [word for limit in LIMITS for word in ("--set", f"limits.{limit}")]
    return main(["curate", str(pile), "-o", str(out), "--workers", "1", "--quiet", *words])


def rules(rows) -> list[str]:
    (row,) = rows
    return [drop["rule"] for drop in row["drops"]]


def test_every_film_is_there_once_and_the_exit_code_says_that_some_failed(made):
    code, rows = made
    others = {"a/same name.mp4", "b/same name.mp4", "sound again.mp4"}
    assert code == 3 and set(rows) == {*FAILED, *DROPPED, *KEPT, *others}  # links do not lead round in circles


@pytest.mark.parametrize("name", FAILED)
def test_a_file_that_is_no_film_is_a_row_with_its_code(made, name):
    (row,) = made[1][name]
    assert (row["error"], rules([row]), row["kept"]) == (FAILED[name], [FAILED[name]], False)


@pytest.mark.parametrize("name", DROPPED)
def test_a_poor_film_is_dropped_by_the_rule_that_should(made, name):
    assert rules(made[1][name]) == DROPPED[name]


@pytest.mark.parametrize("name", KEPT)
def test_an_odd_film_is_measured_as_any_other(made, name):
    (row,) = made[1][name]
    assert row["kept"] and row["end_s"] == pytest.approx(2.5, abs=0.01) and row["scores"]["sharpness"] > 10


def test_a_broken_tail_ends_where_its_frames_end(made):
    (row,) = made[1]["tail.mp4"]
    assert 1.0 < row["end_s"] < 5.0 and "TRUNCATED" in row["warnings"]


def test_films_of_one_name_are_two_and_one_content_under_two_names_is_found(made):
    rows = made[1]
    assert rows["a/same name.mp4"][0]["source_sha"] != rows["b/same name.mp4"][0]["source_sha"]
    (again,), (first,) = rows["sound again.mp4"], rows["sound.mp4"]
    assert again["source_sha"] == first["source_sha"]
    assert {again["duplicate_of"], first["duplicate_of"]} == {None, min(again["id"], first["id"])}


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="names of open files are read from /proc")
@pytest.mark.parametrize("name", [JOURNAL, TEMPORARY])
def test_a_full_disk_ends_the_command_and_the_next_one_goes_on(pile, tmp_path, monkeypatch, capsys, name):
    films, out = tmp_path / "films", tmp_path / "set"
    films.mkdir()
    shutil.copy2(pile / "sound.mp4", films)
    command = ["curate", str(films), "-o", str(out), "--workers", "1", "--quiet", "--json"]
    fsync = os.fsync

    def full(handle):
        if os.path.basename(os.readlink(f"/proc/self/fd/{handle}")).startswith(name):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert main(command) == 5
    assert "DISK_FULL" in capsys.readouterr().err and not (out / PARQUET).exists()
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 1
