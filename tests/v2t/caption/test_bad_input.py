"""Bad input: every broken file ends as a row with its stable code, and the rest is captioned."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from caption_stand_ins import FrameCaptioner
from cineloop.clip import check
from cineloop.discovery import discover
from cineloop.errors import ItemError, NothingMatchedError, Notice
from cineloop.files import unescape_name
from cineloop.video.encode import encode
from cineloop.video.worker import Limits
from v2t.backends import Output
from v2t.caption import run as caption
from v2t.caption.settings import CaptionConfig
from v2t.cli import main

NAMES = ["new\nline.mp4", "quo'te\"s`$(id).mp4", "🎬 film.mp4", "-o.mp4", "--help.mp4", "ca\udce9.mp4", "back\\xe9.mp4"]


def counting() -> FrameCaptioner:
    return FrameCaptioner(lambda frames: f"{len(frames)} frames.", num_frames=32)


def written(path: Path, shape: tuple[int, int], codec: str, fps: int = 8, num: int = 8, pix_fmt: str = "rgb24") -> Path:
    with av.open(str(path), "w") as box:
        stream = box.add_stream(codec, rate=fps)
        stream.height, stream.width, stream.pix_fmt = *shape, pix_fmt
        for i in range(num):
            image = np.full((*shape, 3), 20 * i, np.uint8)
            box.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        box.mux(stream.encode(None))
    return path


def patched(path: Path, mark: bytes, offset: int, value: bytes) -> None:
    data = bytearray(path.read_bytes())
    place = data.index(mark) + offset
    data[place : place + len(value)] = value
    path.write_bytes(data)


def audio_only(path: Path) -> None:
    with av.open(str(path), "w") as box:
        stream = box.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        box.mux(stream.encode(frame))
        box.mux(stream.encode(None))


def moving(num: int, shape: tuple[int, int] = (48, 64)) -> np.ndarray:
    return np.random.default_rng(num).integers(0, 255, (num, *shape, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("bad")
    encode(moving(40), place / "good.mp4", fps=20)
    good = (place / "good.mp4").read_bytes()
    (place / "zero.mp4").touch()
    (place / "text.mp4").write_text("WEBVTT\n\nthis is no film\n")
    audio_only(place / "audio.mp4")
    (place / "truncated.mp4").write_bytes(good[: len(good) * 6 // 10])
    (place / "no_index.mp4").write_bytes(good.replace(b"moov", b"free"))
    encode(moving(1), place / "one_frame.mp4", fps=10)
    encode(moving(2), place / "two_frames.mp4", fps=10)
    patched(
        written(place / "lying.avi", (48, 64), "mjpeg", pix_fmt="yuvj420p"), b"avih", 8 + 16, struct.pack("<I", 431)
    )
    patched(written(place / "zero_fps.avi", (48, 64), "mjpeg", pix_fmt="yuvj420p"), b"strh", 8 + 20, bytes(8))
    written(place / "absurd_fps.avi", (48, 64), "mjpeg", fps=90000, pix_fmt="yuvj420p")
    written(place / "odd.mkv", (31, 17), "ffv1", pix_fmt="bgr0")
    written(place / "one_pixel.mkv", (1, 1), "ffv1", pix_fmt="bgr0")
    huge = written(place / "huge.mkv", (272, 272), "ffv1", num=1, pix_fmt="bgr0")
    for mark in (b"\xb0\x82\x01\x10", b"\xba\x82\x01\x10"):  # PixelWidth and PixelHeight say 272
        patched(huge, mark, 2, struct.pack(">H", 12288))
    for name in NAMES:
        (place / name).write_bytes(good)
    (place / "loop.mp4").symlink_to("loop.mp4")
    (place / "gone.mp4").symlink_to("nowhere.mp4")
    (place / "folder_loop").symlink_to(place)
    (place / "folder.mp4").mkdir()
    os.mkfifo(place / "pipe.mp4")
    return place


EXPECTED = {
    "zero.mp4": "EMPTY_FILE",
    "text.mp4": "NOT_MEDIA",
    "audio.mp4": "NO_VIDEO_STREAM",
    "no_index.mp4": "NO_INDEX",
    "huge.mkv": "TOO_LARGE",
    "loop.mp4": "UNREADABLE",
    "gone.mp4": "NOT_FOUND",
    "folder.mp4": "NOT_A_FILE",
    "pipe.mp4": "NOT_A_FILE",
}
FRAMES_SEEN = {
    "good.mp4": 32,
    "one_frame.mp4": 1,
    "two_frames.mp4": 2,
    "lying.avi": 8,
    "zero_fps.avi": 8,
    "absurd_fps.avi": 8,
    "odd.mkv": 8,
    "one_pixel.mkv": 8,
}


@pytest.mark.slow
def test_each_bad_file_has_its_code_and_the_rest_is_captioned(folder, tmp_path):
    out = tmp_path / "out"
    summary = caption.run([str(folder)], out, CaptionConfig(), captioner=counting())
    lines = (out / "captions.jsonl").read_bytes().decode("utf-8").split("\n")[:-1]
    rows = {unescape_name(row["id"]): row for row in map(json.loads, lines)}
    assert {name: row["error"]["code"] for name, row in rows.items() if row["status"] == "failed"} == EXPECTED
    assert all(row["error"]["message"] and row["error"]["hint"] for row in rows.values() if row["error"])
    for name in ("captions.jsonl", "index.html"):  # records and pages are passed on
        assert str(folder).encode() not in (out / name).read_bytes(), name
    captions = {name: row["caption"] for name, row in rows.items() if row["status"] == "ok"}
    truncated = captions.pop("truncated.mp4")
    assert 0 < int(truncated.split()[0]) < 32 and any(
        w["code"] == "TRUNCATED" for w in rows["truncated.mp4"]["warnings"]
    )
    assert captions == {name: f"{num} frames." for name, num in FRAMES_SEEN.items()} | dict.fromkeys(
        NAMES, "32 frames."
    )
    for name in captions:
        assert (out / name).with_suffix(".txt").exists()
    assert len(rows) == len(os.listdir(folder)) - 1  # all but the symlinked folder, which is not followed
    assert summary.exit_code == 3 and len(summary.failures) == len(EXPECTED)
    assert all(text.isprintable() for _, text in summary.report())
    again = caption.run([str(folder)], out, CaptionConfig(), captioner=counting())
    assert (again.done_before, again.failed_before, again.num_captioned) == (len(captions) + 1, len(EXPECTED), 0)


# Stands before the real decord on the path of the decoding child; dies or hangs in native code on files so named.
SHIM = """
import ctypes, os, sys
sys.path.remove(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
del sys.modules["decord"]
import decord
real = decord.VideoReader
def reader(uri, *args, **kwargs):
    name = os.path.basename(os.path.realpath(uri if isinstance(uri, str) else uri.name))
    if "crash" in name:
        os.abort()
    if "hang" in name:
        ctypes.PyDLL(None).sleep(60)  # holds the interpreter's lock, as decord does
    return real(uri, *args, **kwargs)
decord.VideoReader = reader
"""


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("fallback", [True, False])
def test_a_decoder_that_crashes_or_hangs_costs_one_clip(tmp_path, monkeypatch, fallback):
    pytest.importorskip("decord")
    source = tmp_path / "clips"
    source.mkdir()
    for name in ("a", "crash", "hang", "z"):
        encode(moving(12), source / f"{name}.mp4", fps=8)
    (tmp_path / "path" / "decord").mkdir(parents=True)
    (tmp_path / "path" / "decord" / "__init__.py").write_text(SHIM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    rows: dict[str, dict] = {}
    config = CaptionConfig(limits=Limits(timeout_s=8), decoders=("decord", "pyav") if fallback else ("decord",))
    summary = caption.run(
        [str(source)], None, config, captioner=counting(), emit=lambda row: rows.update({row["id"]: row})
    )
    assert [rows[name]["decoder"] for name in ("a.mp4", "z.mp4")] == ["decord", "decord"]
    for name, code in (("crash.mp4", "DECODER_CRASH"), ("hang.mp4", "DECODE_TIMEOUT")):
        if fallback:
            assert rows[name]["decoder"] == "pyav" and rows[name]["warnings"][0]["code"] == code
        else:
            assert rows[name]["error"]["code"] == code
    assert summary.exit_code == (0 if fallback else 3)


def test_an_unreadable_file_is_an_item_error(tmp_path_factory):
    place = tmp_path_factory.mktemp("unreadable")
    (place / "a.mp4").write_text("secret")
    [clip] = discover([str(place)])
    (place / "a.mp4").chmod(0)
    is_root = os.geteuid() == 0
    for parent in [place, *place.parents][:3] if is_root else ():
        parent.chmod(0o755)
    if is_root:
        os.seteuid(65534)  # root may read anything
    try:
        with pytest.raises(ItemError) as caught:
            check(clip)
    finally:
        if is_root:
            os.seteuid(0)
    assert caught.value.code == "UNREADABLE" and "Permission denied" in caught.value.message


@pytest.mark.slow
def test_lists_may_hold_any_name_and_missing_files_become_rows(folder, tmp_path, monkeypatch):
    names = [*NAMES, "good.mp4", "nosuch.mp4"]
    listed = tmp_path / "list"
    listed.write_bytes(b"\0".join(os.fsencode(folder / name) for name in names))
    for arguments, lists in ((["@" + str(listed)], ()), ([], (str(listed),))):
        clips = discover(arguments, lists=lists)
        assert {unescape_name(clip.id) for clip in clips} == set(names)
        assert [clip.problem.code for clip in clips if clip.problem] == ["NOT_FOUND"]
    command = [
        sys.executable,
        "-c",
        "from cineloop.discovery import discover\nfor c in discover(['-']): print(ascii(c.id))",
    ]
    listed = b"\n".join(os.fsencode(folder / name) for name in names if "\n" not in name) + b"\n"
    shown = subprocess.run(command, input=listed, capture_output=True, check=True).stdout.decode().split("\n")
    assert len(shown) == len(names) and ascii("ca\\xe9.mp4") in shown


def test_a_name_that_begins_with_a_dash_can_be_named(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    [clip] = discover(["-o.mp4"])
    assert clip.id == "-o.mp4" and clip.file == "./-o.mp4"


def test_arguments_become_clips_by_stable_rules(tmp_path, monkeypatch):
    for name in ("x/a.mp4", "x/[b].mp4", "y/a.mp4", "y/.hidden.mp4", "y/.git/c.mp4", "y/notes.txt", "y/d.bin"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.chdir(tmp_path)

    def ids(*paths, **options):
        return [clip.id for clip in discover(paths, **options)]

    assert ids("x") == ids("x/", "x") == ids("x", "x/a.mp4") == ["[b].mp4", "a.mp4"]
    assert ids(".") == ids("*/*.mp4") == ids("**") == ids("x/a.mp4", "x/[[]b].mp4", "y/a.mp4")
    assert ids("y/d.bin") == ids("y/*.bin") == ["d.bin"]  # a file that is named is taken at its word
    assert ids("x/[b].mp4") == ["[b].mp4"]  # brackets in a name that exists are no pattern
    assert ids("x", "y", root=".") == ["x/[b].mp4", "x/a.mp4", "y/a.mp4"]
    with pytest.raises(Exception, match="both be called a.mp4"):
        ids("x", "y")
    with pytest.raises(Exception, match="outside --root"):
        ids("x", root="y")
    (tmp_path / "m.jsonl").write_text('{"id": "first", "path": "x/a.mp4", "start_s": 1, "end_s": 2.5}\n')
    [clip] = discover(["m.jsonl"])
    assert (clip.id, clip.path, clip.start_s, clip.end_s) == ("first", "x/a.mp4", 1, 2.5)
    shutil.rmtree(tmp_path / "y")


def test_a_folder_of_pictures_says_that_they_are_there(tmp_path):
    for name in ("a.png", "deep/b.JPG", "c.txt"):
        (tmp_path / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pictures" / name).write_bytes(b"x")
    with pytest.raises(NothingMatchedError) as caught:
        discover([str(tmp_path / "pictures")])
    assert "2 pictures are there" in caught.value.hint and "pictures/**/*.png" in caught.value.hint
    assert len(discover([str(tmp_path / "pictures/**/*.png")])) == 1


@pytest.mark.slow
@pytest.mark.parametrize("noise", [[], ["-q"]])
def test_failures_and_warnings_are_told_also_when_nothing_else_is(tmp_path, monkeypatch, capsys, noise):
    class Doubtful(FrameCaptioner):
        def answer(self, conversations, decoding):
            return [Output(text="A cat.", tokens=2, warnings=(Notice("LOOPED", "it repeats itself"),))]

    monkeypatch.setattr("v2t.caption.run.open_backend", lambda *args, **options: Doubtful(str, 32))
    source = tmp_path / "clips"
    source.mkdir()
    written(source / "good.mp4", (16, 16), "mpeg4", pix_fmt="yuv420p")
    (source / "bad.mp4").write_text("<html>")
    assert main(["caption", str(source), "-o", str(tmp_path / "out"), *noise]) == 3
    out, err = capsys.readouterr()
    assert "LOOPED: it repeats itself" in err
    assert "failed NOT_MEDIA: bad.mp4" in err
    assert ("2 clips: 1 captioned" in err, "A cat." in out) == (not noise, not noise)
