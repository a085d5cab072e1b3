"""The pool of killable decoders: bad files, bad decoders, and what remains of the others."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import CancelledError
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from cineloop.errors import ItemError, Notice, UsageError
from cineloop.video.container import open_source
from cineloop.video.decode import Request, decode, is_installed
from cineloop.video.encode import encode
from cineloop.video.sample import SampleSpec
from cineloop.video.worker import DecoderPool, Limits
from live_processes import is_running

pytestmark = pytest.mark.xdist_group("machine")

av = pytest.importorskip("av")
needs_decord = pytest.mark.skipif(not is_installed("decord"), reason="decord is not installed")
ROOT = Path(__file__).resolve().parents[3]


def ramp(path: Path, num: int = 40, height: int = 72, width: int = 96, fps: float = 20) -> Path:
    ramp = np.linspace(0, 200, num).astype(np.uint8)
    encode(np.broadcast_to(ramp[:, None, None, None], (num, height, width, 3)).copy(), path, fps)
    return path


def boxes(data: bytes) -> dict[bytes, tuple[int, int]]:
    found, at = {}, 0
    while at + 8 <= len(data):
        size = struct.unpack(">I", data[at : at + 4])[0]
        found[data[at + 4 : at + 8]] = (at, size)
        at += size
    return found


@pytest.fixture(scope="module")
def pool():
    with DecoderPool(1, Limits(memory_mb=1024)) as made:
        yield made


def code_of(pool: DecoderPool, path, **more) -> str:
    with pytest.raises(ItemError) as caught:
        pool.decode(path, **more)
    assert caught.value.message and "\n" not in caught.value.message
    return caught.value.code


def test_child_gives_what_this_process_gives(tmp_path, pool):
    path = ramp(tmp_path / "a.mp4")
    spec = SampleSpec(num_frames=5, start_s=0.5, end_s=1.5)
    for size in (None, (36, 48)):
        there, here = pool.decode(path, spec, size), decode(path, Request(spec=spec, size=size))
        assert (there.pixels == here.pixels).all() and (there.times_s == here.times_s).all()
        assert (there.duration_s, there.fps, there.decoder, there.start_s) == (1.0, here.fps, here.decoder, 0.5)
    first = pool.decode(path)
    kept = first.pixels.copy()
    pool.decode(ramp(tmp_path / "b.mp4", height=64))
    assert (first.pixels == kept).all()  # the memory the child reuses is not the result's
    assert pool.probe(path).num_frames == 40 and pool.probe(path).path == path
    with pytest.raises(UsageError):
        pool.decode(path, size=(0, 1))


def test_bad_files_get_their_codes_and_the_next_file_is_read(tmp_path, pool):
    good = ramp(tmp_path / "good.mp4")
    data = good.read_bytes()
    places = boxes(data)
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_bytes(b"this is no video\n" * 100)
    (tmp_path / "list.mp4").write_bytes(b"#EXTM3U\n#EXTINF:1,\nsecret.mp4\n")
    (tmp_path / "subtitle.mp4").write_bytes(b"1\n00:00:00,000 --> 00:00:01,000\nhi\n\n" * 9)
    start, size = places[b"moov"]
    (tmp_path / "no_moov.mp4").write_bytes(data[:start] + data[start + size :])
    (tmp_path / "cut_at_once.mp4").write_bytes(data[: places[b"mdat"][0] + 12])
    (tmp_path / "noise.mp4").write_bytes(data[:64] + np.random.default_rng(0).bytes(4000))
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    audio(tmp_path / "audio.mp4")
    expected = {
        "empty": "EMPTY_FILE",
        "text": "NOT_MEDIA",
        "list": "NOT_MEDIA",
        "subtitle": "NOT_MEDIA",
        "no_moov": "NO_INDEX",
        "cut_at_once": "TRUNCATED",
        "noise": "TRUNCATED",
        "folder": "NOT_A_FILE",
        "loop": "UNREADABLE",
        "pipe": "NOT_A_FILE",
        "audio": "NO_VIDEO_STREAM",
        "absent": "NOT_FOUND",
    }
    before = pool.pids()
    assert {name: code_of(pool, tmp_path / f"{name}.mp4") for name in expected} == expected
    assert len(pool.decode(good)) == 16 and (pool.pids() == before or not before)


def audio(path: Path) -> None:
    with av.open(str(path), "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.rate = 16000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def test_unreadable_names_the_reason(tmp_path, monkeypatch):
    path = ramp(tmp_path / "a.mp4", 2)
    path.chmod(0)
    if os.geteuid() == 0:  # root reads everything: let the call fail as it does for others

        def refused(*_):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("cineloop.video.container.os.open", refused)
    with pytest.raises(ItemError, match="Permission denied") as caught:
        open_source(path)
    assert caught.value.code == "UNREADABLE"


@pytest.mark.parametrize("share", [0.35, 0.6, 0.95])
def test_truncated_gives_the_frames_before_the_cut(tmp_path, pool, share):
    rng = np.random.default_rng(0)
    whole = tmp_path / "whole.mp4"
    encode(rng.integers(0, 256, (40, 64, 96, 3), dtype=np.uint8), whole, 20)
    data = whole.read_bytes()
    start, size = boxes(data)[b"mdat"]
    (tmp_path / "cut.mp4").write_bytes(data[: start + int(size * share)])
    spec = SampleSpec(num_frames=40)
    full, cut = pool.decode(whole, spec), pool.decode(tmp_path / "cut.mp4", spec)
    assert not full.warnings and any(w.code == "TRUNCATED" for w in cut.warnings)
    assert 0.6 * share * 40 < len(cut) < 40
    places = [int(round(t * 20)) for t in cut.times_s]
    assert (cut.pixels == full.pixels[places]).all(axis=(1, 2, 3)).mean() > 0.9
    assert pool.probe(tmp_path / "cut.mp4").num_frames == len(cut)


def test_frames_lost_in_the_middle_do_not_shift_the_others(tmp_path, pool):
    path = tmp_path / "a.mp4"
    rng = np.random.default_rng(0)
    encode(rng.integers(0, 256, (30, 64, 96, 3), dtype=np.uint8), path, 30)
    with av.open(str(path)) as container:
        at, size = [(p.pos, p.size) for p in container.demux(video=0) if p.size][3]
    data = bytearray(path.read_bytes())
    data[at + 5 : at + size] = bytes(size - 5)
    path.write_bytes(data)
    spec = SampleSpec(num_frames=30)
    there, here = pool.decode(path, spec), decode(path, Request(spec=spec))
    assert len(here) < 30 and any(w.code == "DAMAGED" for w in there.warnings)
    assert (there.pixels == here.pixels).all() and (there.times_s == here.times_s).all()


def test_few_frames_are_not_repeated(tmp_path, pool):
    for num in (1, 2):
        frames = pool.decode(ramp(tmp_path / f"{num}.mp4", num), SampleSpec(num_frames=32))
        assert frames.times_s.tolist() == pytest.approx([0.0, 0.05][:num]) and not frames.warnings


def test_containers_that_lie_are_not_believed(tmp_path, pool):
    lying = tmp_path / "lying.avi"
    with av.open(str(lying), "w", format="avi") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for index in range(30):
            frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), 8 * index, np.uint8), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    data = bytearray(lying.read_bytes())
    at = data.find(b"strh") + 8
    for place in (data.find(b"avih") + 8 + 16, at + 32):
        data[place : place + 4] = struct.pack("<I", 431)
    lying.write_bytes(data)
    frames = pool.decode(lying, SampleSpec(num_frames=16))
    assert len(frames) == 16 and frames.times_s[-1] == pytest.approx(29 / 25, abs=0.021)
    assert any(w.code == "FRAME_COUNT" for w in frames.warnings)
    data[at + 20 : at + 28] = struct.pack("<II", 1, 0)  # scale 1, rate 0: no frame rate at all
    lying.write_bytes(data)
    zero = pool.decode(lying, SampleSpec(num_frames=16))
    assert len(zero) == 16 and np.isfinite(zero.fps) and zero.fps > 0
    long = tmp_path / "long.mp4"
    data = bytearray(ramp(tmp_path / "a.mp4").read_bytes())
    for box in (b"mvhd", b"mdhd"):
        place = data.find(box) + 4 + 16
        data[place : place + 4] = struct.pack(">I", 0x7FFFFFFF)
    long.write_bytes(data)
    assert pool.probe(long).duration_s == pytest.approx(2.0)


def test_absurd_rates_have_their_own_times(tmp_path, pool):
    path = tmp_path / "fast.mp4"
    with av.open(str(path), "w", options={"video_track_timescale": "90000"}) as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 90000)
        for index in range(12):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 * index, np.uint8), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 90000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    frames = pool.decode(path, SampleSpec(sampler="fps", fps=8))
    assert len(frames) == 1 and pool.probe(path).fps == pytest.approx(90000)
    every = pool.decode(path, SampleSpec(num_frames=12))
    assert [int(f.mean()) for f in every.pixels] == pytest.approx([20 * i for i in range(12)], abs=6)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (17, 31), (35, 1367)])
def test_odd_and_tiny_sizes(tmp_path, pool, size):
    path = ramp(tmp_path / "a.mp4", 3, *size)
    frames = pool.decode(path)
    assert frames.size == (size[0] + size[0] % 2, size[1] + size[1] % 2) and not frames.warnings
    assert pool.decode(path, size=(7, 5)).size == (7, 5)


@pytest.mark.slow
def test_huge_is_refused_before_it_is_allocated(tmp_path):
    claims = bytearray(ramp(tmp_path / "small.mp4", 2).read_bytes())
    at = claims.find(b"tkhd") + 4 + 76  # width and height of the track, 16.16 fixed point
    claims[at : at + 8] = struct.pack(">II", 16384 << 16, 16384 << 16)
    (tmp_path / "claims.mp4").write_bytes(claims)
    header = struct.pack(">II5B", 30000, 30000, 8, 2, 0, 0, 0)
    chunk = (
        b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + struct.pack(">I", 9) + b"IDAT" + bytes(99)
    )
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk)
    wide = ramp(tmp_path / "wide.mp4", 2, 64, 256)
    with DecoderPool(1, Limits(memory_mb=512, max_pixels=64 * 255)) as pool:
        for name in ("claims.mp4", "a.png", "wide.mp4"):
            assert code_of(pool, tmp_path / name) == "TOO_LARGE"
        assert code_of(pool, ramp(tmp_path / "ok.mp4", 2, 64, 64), size=(4000, 4000)) == "TOO_LARGE"
    with DecoderPool(1, Limits(memory_mb=128 + 64, max_duration_s=1.9)) as pool:
        assert code_of(pool, ramp(tmp_path / "long.mp4")) == "TOO_LONG"
        assert code_of(pool, ramp(tmp_path / "short.mp4", 30), size=(2000, 2000)) == "TOO_LARGE"  # all frames together
    assert len(decode(wide)) == 2


@pytest.mark.parametrize(
    "name", [b"new\nline", b"quo'te\"s", "\U0001f600".encode(), b"-rf", b"\xff\xfe\x80", b"x" * 250, b"a:b%03d"]
)
def test_names_are_only_names(tmp_path, pool, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.rename(ramp(tmp_path / "plain.mp4", 3), os.fsencode(tmp_path) + b"/" + name + b".mp4"[: 255 - len(name)])
    raw = os.listdir(os.fsencode(tmp_path))[0]
    for path in (raw, os.fsdecode(raw)):
        assert len(pool.decode(path)) == 3
        assert os.fsencode(pool.probe(path).path) == os.fsencode(tmp_path) + b"/" + raw


def fake_decord(folder: Path, body: str, monkeypatch) -> None:
    """A decord that misbehaves, found before the true one by every child started from here on."""
    (folder / "fake" / "decord").mkdir(parents=True)
    (folder / "fake" / "decord" / "__init__.py").write_text(
        "import os, re, signal, time\n"
        "__version__ = '0.6.0'\n"
        "class logging:\n    QUIET = 0\n    set_level = staticmethod(lambda level: None)\n"
        f"def VideoReader(path, **options):\n    {body}\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(folder / "fake"))


BAD_DECODERS = {
    # Backtracking without end: native code that never gives the interpreter's lock back, like decord's issue #373.
    "DECODE_TIMEOUT": "re.match('(a+)+$', 64 * 'a' + 'b')",
    "DECODER_CRASH": "os.kill(os.getpid(), signal.SIGSEGV)",
    "OUT_OF_MEMORY": "hog = b'x' * (700 << 20); time.sleep(60)",
}


@pytest.mark.long
@pytest.mark.slow
@needs_decord
@pytest.mark.parametrize("code", BAD_DECODERS)
def test_a_decoder_that_misbehaves_costs_itself_alone(tmp_path, monkeypatch, code):
    fake_decord(tmp_path, BAD_DECODERS[code], monkeypatch)
    paths = [ramp(tmp_path / f"{i}.mp4", 5) for i in range(2)]
    limits = Limits(timeout_s=1.0 if code == "DECODE_TIMEOUT" else 30.0, memory_mb=512)
    with DecoderPool(1, limits, decoders=("decord",)) as pool:
        before = time.monotonic()
        assert code_of(pool, paths[0]) == code
        assert time.monotonic() - before < 60
    limits = Limits(timeout_s=8.0 if code == "DECODE_TIMEOUT" else 30.0, memory_mb=512)
    with DecoderPool(1, limits) as pool:
        frames = pool.decode(paths[1])
        assert frames.decoder == "pyav" and len(frames) == 5
        assert [w.code for w in frames.warnings] == [code] and "read by pyav" in frames.warnings[0].message
        assert code != "DECODER_CRASH" or "SIGSEGV" in frames.warnings[0].message


@pytest.mark.slow
@needs_decord
def test_an_error_of_a_decoder_goes_to_the_next(tmp_path, monkeypatch):
    fake_decord(tmp_path, "raise ValueError('no such codec')", monkeypatch)
    with DecoderPool() as pool:
        frames = pool.decode(ramp(tmp_path / "a.mp4", 3))
        assert frames.decoder == "pyav" and frames.warnings == (
            Notice("FALLBACK", "decord failed (ValueError: no such codec); read by pyav"),
        )
    with DecoderPool(decoders=("decord",)) as pool:
        assert code_of(pool, tmp_path / "a.mp4") == "DECODE_ERROR"


@pytest.mark.slow
def test_a_killed_child_is_replaced_and_files_are_not_lost(tmp_path):
    paths = [ramp(tmp_path / f"{i}.mp4", 3 + i) for i in range(6)]
    with DecoderPool(2) as pool:
        assert len(pool.decode(paths[0])) == 3
        first = pool.pids()
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        futures = [pool.submit(path) for path in paths]
        assert [len(f.result()) for f in futures] == [3, 4, 5, 6, 7, 8]
        assert not set(first) & set(pool.pids())


@pytest.mark.slow
def test_children_are_recycled(tmp_path):
    path = ramp(tmp_path / "a.mp4", 3)
    with DecoderPool(recycle_after=2) as pool:
        seen = []
        for _ in range(4):
            pool.decode(path)
            seen.append(pool.pids()[0])
    assert seen[0] == seen[1] != seen[2] == seen[3]
    with pytest.raises(UsageError):
        DecoderPool(recycle_after=0)


@pytest.mark.slow
def test_many_threads_may_ask_at_once(tmp_path):
    paths = [ramp(tmp_path / f"{i}.mp4", 2 + i) for i in range(5)]
    wrong = []

    def ask(index: int) -> None:
        for turn in range(4):
            at = (index + turn) % 5
            if len(pool.decode(paths[at])) != 2 + at:
                wrong.append(at)

    with DecoderPool(2) as pool:
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(5)]
        for thread in threads:
            thread.start()
        [thread.join() for thread in threads]
    assert not wrong


@pytest.mark.slow
@needs_decord
def test_closing_ends_everything_at_once(tmp_path, monkeypatch):
    begun = tmp_path / "begun"
    fake_decord(tmp_path, f"open({str(begun)!r}, 'w').close(); time.sleep(600)", monkeypatch)
    path = ramp(tmp_path / "a.mp4", 3)
    pool = DecoderPool(1)
    futures = [pool.submit(path) for _ in range(3)]
    while not begun.exists():
        time.sleep(0.02)
    pids = pool.pids()
    pool.close()
    for future in futures:
        with pytest.raises(CancelledError):
            future.result(timeout=60)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.slow
def test_children_end_with_a_parent_that_is_killed(tmp_path):
    path = ramp(tmp_path / "a.mp4", 3)
    code = (
        "import sys, time; from cineloop.video.worker import DecoderPool; pool = DecoderPool();"
        "pool.decode(sys.argv[1]); print(pool.pids()[0], flush=True); time.sleep(600)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True, env=env)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    end = time.monotonic() + 120
    while is_running(child):
        assert time.monotonic() < end, "the child outlived its parent"
        time.sleep(0.02)
