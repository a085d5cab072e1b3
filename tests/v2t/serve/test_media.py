"""Videos named by clients become the frames the model wants: true decoding, ranges, limits, turns, cancellation."""

from __future__ import annotations

import base64
import gc
import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cineloop.errors import ItemError, Notice
from cineloop.isolation import harmless_environment
from cineloop.video.encode import encode
from cineloop.video.frames import Frames
from cineloop.video.packed import pack
from cineloop.video.worker import DecoderPool, Limits
from cineloop.web.limits import MemoryLease
from cineloop.world.scenes.render import render
from cineloop.world.scenes.sampler import sample_scene
from media_server import FOREIGN, LIMITS, OURS, MediaLoop, data_url, sampled
from refusals import refusal_code
from small_clips import write_grey

pytest.importorskip("av")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    for number, fps in enumerate((12, 24000 / 1001, 30)):
        scene = sample_scene("seen", 11, number, seconds=(2.0, 4.0))
        encode(render(scene, (64, 96), fps=fps), folder / f"{number}.mp4", fps)
    write_grey(folder / "long.mp4", 90, 300, fps=12)  # 25 s
    write_grey(folder / "large.mp4", 90, 2, size=(208, 208), fps=2)
    return folder


@pytest.fixture(scope="module")
def server(folder):
    made = MediaLoop(OURS, roots={"films": folder}, limits=LIMITS)
    yield made
    made.close()


@pytest.fixture(scope="module")
def direct():
    with DecoderPool(1) as pool:
        yield pool


def upload(server: MediaLoop, data: bytes, owner: str = "ada"):
    async def put():
        with server.media.uploads.incoming(owner, "the file") as file:
            await file.write(data)
            return await server.media.uploads.keep(file, owner, "a.mp4")

    return server.run(put())


@pytest.mark.parametrize("number", [0, 1, 2])
def test_frames_are_those_of_a_direct_decode_by_every_road(server, direct, folder, number):
    path = folder / f"{number}.mp4"
    wanted = direct.decode(path, OURS.spec, (32, 32))
    kept = upload(server, path.read_bytes())
    urls = [f"file://films/{number}.mp4", f"upload:{kept.id}", data_url(path.read_bytes(), 'video/mp4;codecs="avc1"')]
    for url in urls:
        frames = server.frames(url)
        assert (frames.times_s == wanted.times_s).all() and frames.size == (32, 32)
        assert (frames.duration_s, frames.fps, frames.start_s) == (wanted.duration_s, wanted.fps, 0.0)
        assert frames.decoder == "pyav"  # strangers' files see no FFmpeg of 2020
        assert np.abs(frames.pixels.astype(int) - wanted.pixels).mean() < 2


def test_a_range_is_what_the_model_sees(server, direct, folder):
    spec = replace(OURS.spec, start_s=0.5, end_s=1.25)
    wanted = direct.decode(folder / "0.mp4", spec, (32, 32))
    frames = server.frames("file://films/0.mp4#t=0.5,1.25")
    assert (frames.times_s == wanted.times_s).all() and (frames.start_s, frames.duration_s) == (0.5, 0.75)
    assert frames.times_s.min() > 0.4 and frames.times_s.max() < 1.25
    assert server.frames("file://films/0.mp4#t=,1").times_s.max() < 1.0
    assert server.frames("file://films/0.mp4#t=1").times_s.min() > 0.9
    assert server.fault("file://films/0.mp4#t=900") == "422 NO_FRAMES"


def test_an_image_is_a_clip_of_one_frame(server):
    import cv2

    for suffix, kind in ((".png", "image/png"), (".jpg", "image/jpeg"), (".webp", "image/webp")):
        data = cv2.imencode(suffix, np.full((40, 30, 3), 200, np.uint8))[1].tobytes()
        frames = server.frames(data_url(data, kind))
        assert frames.pixels.shape == (1, 32, 32, 3) and abs(int(frames.pixels.mean()) - 200) < 3


def test_limits_are_said_by_their_codes(server, folder):
    assert server.fault("file://films/long.mp4") == "413 TOO_LONG"
    assert server.fault("file://films/long.mp4#t=0,1") == "413 TOO_LONG"
    assert server.fault("file://films/large.mp4") == "413 TOO_LARGE"
    assert server.fault(data_url(b"\x1a\x45\xdf\xa3" + bytes(5 << 20))) == "413 TOO_LARGE"
    assert server.fault("file://films/0.mp4", max_frames=7) == "413 TOO_MANY_FRAMES"
    assert server.fault("file://films/0.mp4", max_frames=0) == "413 TOO_MANY_FRAMES"
    assert len(server.frames("file://films/0.mp4", max_frames=8)) == 8
    truncated = (folder / "0.mp4").read_bytes()
    assert server.fault(data_url(truncated[:600])) in ("422 NO_INDEX", "422 TRUNCATED")
    assert server.fault(data_url(b"\x1a\x45\xdf\xa3" + bytes(3000))) == "422 NOT_MEDIA"
    assert server.fault(data_url(b"\x89PNG\r\n\x1a\n" + bytes(3000))) == "422 NOT_MEDIA"
    assert server.fault("file://films/none.mp4") == "404 NOT_FOUND"
    assert server.fault("upload:file-" + "0" * 32) == "404 NOT_FOUND"
    assert server.fault(f"upload:{upload(server, truncated, 'bob').id}") == "404 NOT_FOUND"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("data:video/jpeg;base64,AAAA,AAAA", "400 BAD_URL"),
        ("data:video/mp4,AAAA", "400 BAD_URL"),
        ("data:text/html;base64,AAAA", "400 BAD_URL"),
        ("data:;base64,AAAA", "400 BAD_URL"),
        ("data:video/mp4;base64", "400 BAD_URL"),
        ("data:video/mp4;base64,", "422 EMPTY_FILE"),
        ("data:video/mp4;base64,AAA", "400 BAD_URL"),
        ("data:video/mp4;base64,AA\nA", "400 BAD_URL"),
        ("data:video/mp4;base64,AA-_", "400 BAD_URL"),
        ("data:video/mp4;base64,AA==AAAA", "400 BAD_URL"),
        ("data:video/mp4;base64,ÄÄÄÄ", "400 BAD_URL"),
        ("data:video/mp4;base64,AAAA", "422 NOT_MEDIA"),
        ("data:image/svg+xml;base64," + base64.b64encode(b"<svg xmlns='x'/>").decode(), "422 NOT_MEDIA"),
        ("data:video/" + "a" * 5000 + ";base64,AAAA", "400 BAD_URL"),
        ("data:video/mp4" + ";a=b" * 100 + ";base64,AAAA", "400 BAD_URL"),
    ],
)
def test_data_urls_that_are_refused(server, url, code):
    assert server.fault(url) == code


def packed_url(frames: Frames) -> str:
    return data_url(pack(frames), "video/x-cineloop")


@pytest.mark.slow
def test_frames_that_the_client_sampled_arrive_to_the_bit(server):
    sent = sampled(start_s=0.25)
    frames = server.frames(packed_url(sent))
    assert (frames.pixels == sent.pixels).all() and (frames.times_s == sent.times_s).all()
    assert (frames.start_s, frames.decoder, frames.warnings) == (0.25, "decord", (Notice("DAMAGED", "x"),))
    loud = server.frames(packed_url(sampled(warnings=(Notice("DAMAGED", "a\x1b[31m\nb" * 50),) * 20)))
    assert len(loud.warnings) == 8 and all(
        len(one.message) <= 200 and one.message.isprintable() for one in loud.warnings
    )


def lying(change) -> str:
    """Packed frames whose header was changed."""
    data = pack(sampled())
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return data_url(struct.pack("<Q", len(text)) + text + data[8 + length :], "video/x-cineloop")


def told(**changes):
    """A change of what a header says of its frames."""

    def change(header) -> None:
        (key, text), *_ = header["__metadata__"].items()
        header["__metadata__"][key] = json.dumps(json.loads(text) | changes)

    return change


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: packed_url(sampled(65)), "413 TOO_MANY_FRAMES"),
        (lambda: packed_url(sampled(size=(32, 34))), "422 NOT_MEDIA"),
        (lambda: packed_url(sampled(duration_s=1e9)), "413 TOO_LONG"),
        (lambda: packed_url(sampled(start_s=-1.0)), "422 NOT_MEDIA"),
        (lambda: packed_url(sampled(start_s=float("nan"))), "422 NOT_MEDIA"),
        (lambda: packed_url(sampled(decoder="<img src=x>")), "422 NOT_MEDIA"),
        (lambda: packed_url(sampled()) + "#t=0,1", "400 BAD_URL"),
        (lambda: lying(lambda h: h["pixels"].update(shape=[1 << 40, 32, 32, 3])), "422 NOT_MEDIA"),
        (lambda: lying(lambda h: h["pixels"].update(shape=[-4, 32, -32, 3])), "422 NOT_MEDIA"),
        (lambda: lying(lambda h: h["pixels"].update(shape=[True, 32, 32, 3])), "422 NOT_MEDIA"),
        (lambda: lying(lambda h: h["pixels"].update(dtype="F16")), "422 NOT_MEDIA"),
        (lambda: lying(lambda h: h["pixels"].update(data_offsets=[0, 1 << 40])), "422 NOT_MEDIA"),
        (lambda: lying(lambda h: h.update(more=h["times_s"])), "422 NOT_MEDIA"),
        (lambda: lying(lambda h: h.pop("times_s")), "422 NOT_MEDIA"),
        (lambda: lying(told(duration_s=float("inf"))), "422 NOT_MEDIA"),
        (lambda: lying(told(warnings=5)), "422 NOT_MEDIA"),
        (lambda: lying(told(decoder=None)), "422 NOT_MEDIA"),
        (lambda: lying(lambda h: h.update(__metadata__={"other": "{}"})), "422 NOT_MEDIA"),
        (lambda: data_url(struct.pack("<Q", 1 << 60) + bytes(64), "video/x-cineloop"), "422 NOT_MEDIA"),
        (lambda: data_url(struct.pack("<Q", 40_000) + b"[" * 40_000, "video/x-cineloop"), "422 NOT_MEDIA"),
        (lambda: data_url(b"", "video/x-cineloop"), "422 NOT_MEDIA"),
    ],
)
def test_frames_that_lie_are_refused(server, make, code):
    gc.collect()
    before = server.media.memory.held
    assert server.fault(make()) == code
    assert server.media.memory.held == before


@pytest.mark.slow
def test_a_foreign_model_gets_what_its_sampler_takes_and_no_packed_frames(folder, direct):
    server = MediaLoop(FOREIGN, roots={"films": folder}, limits=replace(LIMITS, decode_s=90.0))
    try:
        wanted = direct.decode(folder / "2.mp4", FOREIGN.spec)
        frames = server.frames("file://films/2.mp4")
        assert (frames.times_s == wanted.times_s).all() and frames.size == (64, 96)
        assert len(server.frames("file://films/2.mp4", max_frames=2)) == 2  # a rate is cut to what is left
        assert server.fault(packed_url(sampled())) == "400 BAD_URL"
    finally:
        server.close()


@pytest.mark.slow
def test_memory_of_frames_is_given_back_when_they_are_gone(server):
    gc.collect()
    frames = server.frames("file://films/0.mp4")
    assert server.media.memory.held == frames.pixels.nbytes
    part = frames.pixels[:2]
    del frames
    gc.collect()
    assert server.media.memory.held > 0  # a view holds them
    del part
    gc.collect()
    assert server.media.memory.held == 0
    others = MemoryLease(server.media.memory)
    others.set(server.media.memory.limit)
    try:
        assert server.fault("file://films/0.mp4") == "503 BUSY"
        assert server.fault(packed_url(sampled())) == "503 BUSY"
    finally:
        others.set(0)
    assert len(server.frames("file://films/0.mp4")) == 8


@pytest.mark.slow
def test_nothing_is_left_in_the_store_after_any_road(server):
    uploads = [upload for owner in ("ada", "bob") for upload in server.media.uploads.list(owner)]
    assert {path.name for path in server.media.uploads.folder.iterdir()} == {upload.id for upload in uploads}
    assert server.media.uploads.held_bytes == sum(max(upload.bytes, 1 << 20) for upload in uploads)


@pytest.mark.slow
def test_a_decoder_knows_none_of_the_servers_secrets(server, monkeypatch):
    for name in ("V2T_SERVE_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "canary-0123456789")
    assert "canary" not in str(harmless_environment()) and "PATH" in harmless_environment()
    fresh = MediaLoop(OURS, limits=LIMITS)
    try:
        fresh.frames(data_url(_png(), "image/png"))
        (pid,) = fresh.media.decoders.pool.pids()
        there = Path(f"/proc/{pid}/environ")
        if there.exists():
            assert b"canary" not in there.read_bytes() and b"MALLOC_ARENA_MAX=4" in there.read_bytes()
    finally:
        fresh.close()


@pytest.mark.slow
def test_a_video_gets_its_seconds_once_however_long_it_is(folder):
    with DecoderPool(1, Limits(timeout_s=100.0, total_s=1e-6), decoders=("pyav",)) as pool:
        with pytest.raises(ItemError) as caught:
            pool.decode(folder / "0.mp4")
    assert caught.value.code == "DECODE_TIMEOUT"
    assert refusal_code(Limits, total_s=0.0) == (2, "USAGE")


def _png() -> bytes:
    import cv2

    return cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
