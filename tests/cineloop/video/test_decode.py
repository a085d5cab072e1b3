"""Frames and their times, against clips whose truth is known: written here, or listed beside the real media."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from cineloop.errors import ItemError, UsageError
from cineloop.video.decode import Request, decode, is_installed
from cineloop.video.limits import DECODERS, Limits
from cineloop.video.sample import SampleSpec
from decoder_here import probe

av = pytest.importorskip("av")

MEDIA = Path(__file__).resolve().parents[4] / "shared" / "media"
HEIGHT, WIDTH, BITS = 96, 128, 8
EVERY = SampleSpec(num_frames=768)
HERE = tuple(name for name in DECODERS if is_installed(name))


def coded(index: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A frame that says which one it is: eight bars, one per bit, over a ground that tells the four corners apart."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[: height // 4] = (200, 40, 40)
    frame[:, : width // 8] = (40, 40, 200)
    for bit in range(BITS):
        left = width // 4 + bit * width // 16
        frame[height // 3 :, left : left + width // 16] = 235 if index >> bit & 1 else 20
    return frame


def codes(pixels: np.ndarray) -> list[int]:
    height, width = pixels.shape[1:3]
    found = []
    for frame in pixels:
        row = frame[height // 2 : -4].mean(axis=(0, 2))
        bars = [
            row[width // 4 + b * width // 16 + 2 : width // 4 + (b + 1) * width // 16 - 2].mean() for b in range(BITS)
        ]
        found.append(sum(1 << b for b, value in enumerate(bars) if value > 127))
    return found


def write(
    path: Path, pts: list[int], base: Fraction, *, form: str = "mp4", codec: str = "libx264", options=None, turn=()
):
    """Write coded frames at the given times; `turn` is (degrees, hflip, vflip) for the display matrix."""
    with av.open(str(path), "w", format=form) as out:
        stream = out.add_stream(codec, rate=25, options={"crf": "10", **(options or {})} if codec == "libx264" else {})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = base
        if turn:
            stream.set_display_rotation(turn[0], hflip=turn[1], vflip=turn[2])
        for index, at in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(coded(index), format="rgb24")
            frame.pts, frame.time_base = at, base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


MS = Fraction(1, 1000)
KINDS = {
    "constant": dict(pts=[40 * i for i in range(60)], base=MS),
    "ntsc": dict(pts=[1001 * i for i in range(60)], base=Fraction(1, 24000)),
    "variable": dict(pts=[0, 40, 50, 900, 1000, 1010, 1020, 3000, 3500, 9000, 49000, 49040], base=MS),
    "late start": dict(pts=[5000 + 40 * i for i in range(40)], base=MS),
    "variable, late start, mkv": dict(pts=[700, 740, 750, 1600, 1700, 1710, 3700, 9700], base=MS, form="matroska"),
    "open groups": dict(
        pts=[40 * i for i in range(100)],
        base=MS,
        options={"x264-params": "open-gop=1:keyint=20:bframes=3:scenecut=0"},
    ),
    "many groups": dict(pts=[40 * i for i in range(100)], base=MS, options={"x264-params": "keyint=10:scenecut=0"}),
    "transport stream": dict(pts=[40 * i for i in range(50)], base=MS, form="mpegts"),
    "avi without times": dict(pts=list(range(50)), base=Fraction(1, 25), form="avi", codec="mpeg4"),
}


@pytest.mark.slow
@pytest.mark.parametrize("decoder", HERE)
@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_and_time_is_the_true_one(tmp_path, kind, decoder):
    path = write(tmp_path / "clip", **KINDS[kind])
    pts, base = KINDS[kind]["pts"], KINDS[kind]["base"]
    true = (np.array(pts) - pts[0]) * float(base)
    half = 0.5 * np.diff(true).min()
    for spec in (EVERY, SampleSpec(num_frames=7), SampleSpec(sampler="fps", fps=3.0)):
        try:
            frames = decode(path, Request(spec=spec, decoders=(decoder,)))
        except ItemError as error:
            # Refusing is right where counting would give the wrong frame; the default order then goes on to PyAV.
            assert decoder == "decord" and ("is not exact" in error.message or "not seek exactly" in error.message)
            frames = decode(path, Request(spec=spec))
            assert frames.decoder != "decord"
        seen = codes(frames.pixels)
        assert len(set(seen)) == len(seen)
        assert np.abs(frames.times_s - true[seen]).max() < min(half, 1e-3)
        if spec is EVERY:
            assert seen == list(range(len(pts)))
        assert seen[0] == 0 and (seen[-1] == len(pts) - 1 or spec.sampler == "fps")


def test_the_frame_for_a_time_is_the_one_on_screen(tmp_path):
    path = write(tmp_path / "clip", **KINDS["variable"])
    for at, index in ((0.0, 0), (0.0499, 1), (0.05, 2), (2.9, 6), (40.0, 9), (49.039, 10)):
        frames = decode(path, Request(spec=SampleSpec(num_frames=1, start_s=at, end_s=at + 1e-4)))
        assert codes(frames.pixels) == [index], at


def test_probe_counts_for_itself(tmp_path):
    info = probe(write(tmp_path / "a", **KINDS["ntsc"]))
    assert info.num_frames == 60 and info.fps == pytest.approx(24000 / 1001, rel=1e-9)
    assert info.duration_s == pytest.approx(60 * 1001 / 24000, abs=0.05) and info.first_pts_s == 0
    late = probe(write(tmp_path / "b", **KINDS["late start"]))
    assert late.first_pts_s == pytest.approx(5.0) and late.duration_s == pytest.approx(1.6, abs=0.05)
    assert probe(write(tmp_path / "c", **KINDS["many groups"])).keyframe_times_s[:3] == pytest.approx((0, 0.4, 0.8))


@pytest.mark.parametrize("turn", [(d, h, v) for d in (0, 90, 180, 270) for h in (False, True) for v in (False, True)])
@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_rotation_and_mirroring_are_applied(tmp_path, turn, decoder):
    if decoder not in HERE:
        pytest.skip(f"{decoder} is not installed")
    path = write(tmp_path / "clip.mp4", [0, 40, 80], MS, turn=turn)
    expected = np.rot90(coded(1), k=turn[0] // 90)  # set_display_rotation counts counter-clockwise, then mirrors
    expected = expected[:, ::-1] if turn[1] else expected
    expected = expected[::-1] if turn[2] else expected
    info = probe(path)
    assert (info.height, info.width) == expected.shape[:2]
    order = (decoder, "pyav") if decoder == "decord" else (decoder,)
    frames = decode(path, Request(decoders=tuple(dict.fromkeys(order))))
    assert frames.decoder == ("pyav" if info.mirrored else decoder)
    assert np.abs(frames.pixels[1].astype(int) - expected).mean() < 8


@pytest.mark.slow
@pytest.mark.skipif(not MEDIA.is_dir(), reason="../shared/media is not here")
@pytest.mark.parametrize("decoder", HERE)
def test_real_footage_has_its_listed_times(decoder):
    listed = json.loads((MEDIA / "nasa_13013.mp4.stream3.all_frames_info.json").read_text())
    true = np.array([float(row["pts_time"]) for row in listed])
    info = probe(MEDIA / "nasa_13013.mp4")
    assert info.num_frames == len(true) and info.fps == pytest.approx(30000 / 1001)
    end = true[-1] + float(listed[-1]["duration_time"])
    assert info.duration_s == pytest.approx(end, abs=1e-3)
    for spec in (SampleSpec(num_frames=16), SampleSpec(sampler="fps", fps=2.0, start_s=3.0, end_s=9.5)):
        frames = decode(MEDIA / "nasa_13013.mp4", Request(spec=spec, decoders=(decoder,)))
        assert np.abs(frames.times_s[:, None] - true).min(axis=1).max() < 0.5 / 30
        plain = sequential(MEDIA / "nasa_13013.mp4", 3, frames.times_s)
        assert np.abs(frames.pixels.astype(int) - plain).mean() < 1.0


def sequential(path: Path, stream: int, times_s: np.ndarray) -> np.ndarray:
    """The frames shown at `times_s`, by decoding everything in order and seeking nowhere."""
    found = {}
    with av.open(str(path)) as container:
        for frame in container.decode(container.streams[stream]):
            nearest = int(np.abs(times_s - float(frame.pts * frame.time_base)).argmin())
            if abs(times_s[nearest] - float(frame.pts * frame.time_base)) < 1e-3:
                found[nearest] = frame.to_ndarray(format="rgb24").astype(int)
    return np.stack([found[i] for i in range(len(times_s))])


@pytest.mark.skipif(not MEDIA.is_dir(), reason="../shared/media is not here")
@pytest.mark.parametrize("name", ["av1_video.mkv", "bt709_full_range.mp4", "h264_10bits.mp4", "h265_video.mp4"])
def test_other_codecs_are_read_by_the_first_decoder_that_can(name):
    frames = decode(MEDIA / name, Request(spec=SampleSpec(num_frames=4), size=(48, 64)))
    assert len(frames) == 4 and not frames.warnings
    assert frames.decoder == ("pyav" if name.startswith("av1") else frames.decoder)
    plain = decode(MEDIA / name, Request(spec=SampleSpec(num_frames=4), size=(48, 64), decoders=("pyav",)))
    assert np.abs(frames.pixels.astype(int) - plain.pixels).mean() < 3


def test_resizing_averages_areas_and_keeps_times(tmp_path):
    path = write(tmp_path / "clip.mp4", [0, 40, 80], MS)
    full, small = decode(path), decode(path, Request(size=(HEIGHT // 4, WIDTH // 4)))
    mean = full.pixels.reshape(3, HEIGHT // 4, 4, WIDTH // 4, 4, 3).mean(axis=(2, 4))
    assert np.abs(small.pixels - mean).max() <= 1.0
    assert (full.times_s == small.times_s).all()
    assert decode(path, Request(size=(300, 200))).size == (300, 200)


@pytest.mark.parametrize("sampler", ["keyframe", "motion"])
def test_samplers_that_need_the_file_get_what_they_need(tmp_path, sampler):
    # Still for three seconds, then eight frames that change, then still again.
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"x264-params": "keyint=250:scenecut=0"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(150):
            level = 128 if index < 75 or index >= 100 else 40 + 150 * (index // 4 % 2)
            picture = np.full((HEIGHT, WIDTH, 3), level, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = index
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    frames = decode(path, Request(spec=SampleSpec(sampler=sampler, num_frames=12)))
    assert len(frames) == 12 and frames.times_s[0] == 0 and frames.times_s[-1] == pytest.approx(149 / 25)
    moving = int(((frames.times_s >= 2.9) & (frames.times_s <= 4.1)).sum())
    assert moving >= 6 if sampler == "motion" else moving >= 2


def test_a_damaged_packet_is_reported_not_papered_over(tmp_path):
    path = write(tmp_path / "clip.mp4", **KINDS["many groups"])
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    for at, size in packets[40:60]:
        data[at + 6 : at + size] = bytes(size - 6)
    path.write_bytes(data)
    frames = decode(path, Request(spec=EVERY))
    assert any(w.code == "DAMAGED" for w in frames.warnings)
    seen = codes(frames.pixels)
    assert seen[:30] == list(range(30)) and seen[-30:] == list(range(70, 100))


@pytest.mark.parametrize(("form", "lengths"), [("GIF", [100, 200, 500]), ("WEBP", [50, 1000, 70])])
def test_animations_keep_their_own_times(tmp_path, form, lengths):
    from PIL import Image

    path = tmp_path / "animation.bin"
    pictures = [Image.fromarray(np.full((20, 30, 3), 80 * i, np.uint8)) for i in range(3)]
    pictures[0].save(path, form, save_all=True, append_images=pictures[1:], duration=lengths, loop=0, lossless=True)
    frames = decode(path)
    assert frames.times_s == pytest.approx([0, lengths[0] / 1000, sum(lengths[:2]) / 1000])
    assert frames.duration_s == pytest.approx(sum(lengths) / 1000) and frames.decoder == "pillow"
    assert [int(f.mean()) for f in frames.pixels] == pytest.approx([0, 80, 160], abs=2)


def test_stills_are_videos_of_one_frame(tmp_path):
    from PIL import Image

    picture = np.zeros((20, 30, 4), np.uint8)
    picture[:10] = (255, 0, 0, 255)
    Image.fromarray(picture).save(tmp_path / "a.png")
    frames = decode(tmp_path / "a.png")
    assert len(frames) == 1 and frames.times_s[0] == 0 and frames.duration_s == 1.0
    assert frames.pixels[0, 0, 0].tolist() == [255, 0, 0] and frames.pixels[0, -1, 0].tolist() == [255, 255, 255]
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.fromarray(picture[..., :3]).save(tmp_path / "b.jpg", exif=exif)
    assert (
        decode(tmp_path / "b.jpg").size
        == (30, 20)
        == (probe(tmp_path / "b.jpg").height, probe(tmp_path / "b.jpg").width)
    )


def test_requests_and_limits_are_checked():
    for wrong in (dict(size=(0, 4)), dict(decoders=()), dict(decoders=("vlc",)), dict(threads=-1)):
        with pytest.raises(UsageError):
            Request(**wrong)
    with pytest.raises(UsageError):
        Limits(timeout_s=0)


def test_a_file_that_changes_meanwhile_is_an_error(tmp_path):
    path = write(tmp_path / "clip.mp4", [0, 40, 80], MS)

    def started(name: str) -> None:
        with path.open("ab") as handle:
            handle.write(b"more")

    with pytest.raises(ItemError) as caught:
        decode(path, started=started)
    assert caught.value.code == "CHANGED"
