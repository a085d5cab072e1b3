"""Parts of films: the frames, times, sound and colour tags that were there, the same bytes, films only read."""

from __future__ import annotations

import stat
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from cineloop.errors import ItemError, UsageError
from cineloop.video.limits import Limits
from cineloop.video.open_file import LastFile
from cineloop.video.worker import DecoderPool, SampleSpec
from full_disk import python_on_full_disk
from onnx_models import export
from planted_films import FPS, shot, write
from v2t_eval.clips.cut import Cut, submit_cut, write_cut

RATE = 48000


def tone(seconds: float) -> np.ndarray:
    """float32 (2, n): silence, from second 1 on a tone."""
    at = np.arange(round(seconds * RATE)) / RATE
    return np.repeat((0.5 * np.sin(2 * np.pi * 440 * at) * (at >= 1)).astype(np.float32)[None], 2, 0)


def film(path: Path, codec="libx264", form="yuv420p", sound: str | None = "aac", gop=24, ticks=None, **tags) -> Path:
    """A film of 3 seconds with a key frame every second; `ticks` are its times in frames of 24 a second."""
    frames = shot(1, 72)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=FPS)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], form
        stream.codec_context.gop_size, stream.codec_context.thread_count = gop, 1
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        audio = out.add_stream(sound, rate=RATE) if sound else None
        if audio is not None:
            audio.codec_context.layout = "stereo"
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=form)
            frame.pts, frame.time_base = number if ticks is None else int(ticks[number]), Fraction(1, FPS)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if audio is not None:
            resampler = av.AudioResampler(format=audio.codec_context.format.name, layout="stereo", rate=RATE)
            samples = av.AudioFrame.from_ndarray(tone(len(frames) / FPS), format="fltp", layout="stereo")
            samples.sample_rate, samples.pts, samples.time_base = RATE, 0, Fraction(1, RATE)
            for part in resampler.resample(samples):
                out.mux(audio.encode(part))
            out.mux(audio.encode(None))
    return path


def cut(path: Path, target: Path, start_s: float, end_s: float, **more):
    with LastFile() as last, last.open(path) as opened:
        return write_cut(opened, Limits(), str(target), Cut(start_s=start_s, end_s=end_s, **more), threads=1)


def frames_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)]).astype(int)


def times_of(path: Path) -> np.ndarray:
    with LastFile() as last, last.open(path) as opened:
        table = opened.table(Limits())
        return np.append(table.times_s, table.info.duration_s)


def sound_of(path: Path) -> np.ndarray:
    """float32 (n,), silence put where there is none before the first sample."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
        first = float(frames[0].pts * frames[0].time_base)
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE)
        parts = [part.to_ndarray()[0] for frame in frames for part in resampler.resample(frame)]
    return np.concatenate([np.zeros(round(first * RATE), np.float32), *parts])


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return film(tmp_path_factory.mktemp("films") / "film.mp4", color_primaries=9, color_trc=16, colorspace=9)


@pytest.mark.slow
@pytest.mark.parametrize("copy", [False, True])
def test_the_frames_times_and_sound_of_the_part(source, tmp_path, copy):
    piece = cut(source, tmp_path / "a.mp4", 1.0, 2.0, copy=copy)
    assert (piece.start_s, piece.end_s, piece.num_frames, piece.copied, piece.has_sound) == (1.0, 2.0, 24, copy, True)
    there, back = frames_of(source)[24:48], frames_of(tmp_path / "a.mp4")
    assert back.shape == there.shape and np.abs(back - there).mean() <= (0 if copy else 3)
    assert np.allclose(times_of(tmp_path / "a.mp4"), np.arange(25) / FPS, atol=1e-3)
    heard = sound_of(tmp_path / "a.mp4")
    assert abs(len(heard) / RATE - 1.0) < 0.05 and np.abs(heard[: RATE // 2]).max() > 0.4
    with av.open(str(tmp_path / "a.mp4")) as container:
        given = container.streams.video[0].codec_context
        assert (given.color_primaries, given.color_trc, given.colorspace) == (9, 16, 9)


def test_the_sound_starts_where_the_picture_does(source, tmp_path):
    """The tone begins at second 1 of the film."""
    for copy, start_s in ((False, 0.5), (True, 0.0)):
        cut(source, tmp_path / "a.mp4", start_s, 2.0, copy=copy)
        heard = np.abs(sound_of(tmp_path / "a.mp4")) > 0.1
        assert abs(int(heard.argmax()) / RATE - (1.0 - start_s)) < 0.03


@pytest.mark.slow
def test_the_same_part_gives_the_same_bytes_and_the_film_stays_as_it_is(source, tmp_path):
    before = source.read_bytes()
    source.parent.chmod(stat.S_IRUSR | stat.S_IXUSR)
    for copy in (False, True):
        cut(source, tmp_path / "a.mp4", 0.9, 2.5, copy=copy)
        cut(source, tmp_path / "b.mp4", 0.9, 2.5, copy=copy)
        assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    source.parent.chmod(stat.S_IRWXU)
    assert source.read_bytes() == before


@pytest.mark.slow
def test_a_copy_begins_at_a_key_frame_or_is_encoded(source, tmp_path):
    near, far = (cut(source, tmp_path / f"{start_s}.mp4", start_s, 2.9, copy=True) for start_s in (0.8, 0.2))
    assert (near.copied, near.start_s) == (True, 1.0)
    assert not far.copied and far.start_s == pytest.approx(4 / 24)  # the frame on screen at 0.2 s
    assert np.array_equal(frames_of(tmp_path / "0.8.mp4"), frames_of(source)[24 : 24 + near.num_frames])
    assert 2.4 < near.end_s <= 2.9


def test_a_part_may_begin_between_frames_and_end_with_the_film(source, tmp_path):
    piece = cut(source, tmp_path / "a.mp4", 2.02, 9.0)  # the frame on screen at 2.02 s is that of 2.0 s
    assert (piece.start_s, round(piece.end_s, 6), piece.num_frames) == (2.0, 3.0, 24)


def test_times_of_a_variable_rate_are_kept(tmp_path):
    ticks = np.arange(72) + 3 * (np.arange(72) // 10)
    path = film(tmp_path / "v.mp4", ticks=ticks, sound=None)
    piece = cut(path, tmp_path / "a.mp4", 1.0, 3.0)
    inside = ticks[(ticks >= 24) & (ticks < 72)]
    first = ticks[ticks <= 24][-1]
    expected = np.union1d([first], inside)
    assert piece.num_frames == len(expected)
    assert np.allclose(times_of(tmp_path / "a.mp4")[:-1], (expected - first) / FPS, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "codec", "form", "sound"),
    [
        ("a.mkv", "libx264", "yuv444p", "flac"),
        ("a.webm", "libvpx-vp9", "yuv420p", "libopus"),
        ("a.avi", "mjpeg", "yuvj420p", "pcm_s16le"),
        ("a.ts", "libx264", "yuv420p", "aac"),
        ("b.mkv", "ffv1", "bgr0", "pcm_s16le"),
        ("a.mov", "libx264", "yuvj420p", None),
    ],
)
@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.slow
def test_every_kind_of_film_can_be_cut(tmp_path, name, codec, form, sound, copy):
    path = film(tmp_path / name, codec, form, sound)
    piece = cut(path, tmp_path / "cut.mp4", 1.0, 2.5, copy=copy)
    there, back = frames_of(path), frames_of(tmp_path / "cut.mp4")
    first = round(piece.start_s * FPS)
    assert piece.copied == (copy and codec not in ("mjpeg", "ffv1"))
    assert len(back) == piece.num_frames >= 24 and 1.0 <= piece.start_s + 0.002 <= 1.5
    assert np.abs(back - there[first : first + len(back)]).mean() < 4
    assert piece.has_sound == (sound is not None)
    if piece.has_sound:
        assert abs(len(sound_of(tmp_path / "cut.mp4")) / RATE - (piece.end_s - piece.start_s)) < 0.1


@pytest.mark.slow
def test_pictures_are_turned_and_cropped_as_they_are_shown(source, tmp_path, monkeypatch):
    from dataclasses import replace

    from v2t_eval.clips import cut as module

    gray = frames_of(source)[0]
    assert cut(source, tmp_path / "a.mp4", 0, 1, crop=(16, 8, 96, 64)).width == 96
    assert np.abs(frames_of(tmp_path / "a.mp4")[0] - gray[8:72, 16:112]).mean() < 3
    walk = module.Walk

    def turned(container, layout, table, threads):
        info = replace(table.info, rotation=90, width=table.info.height, height=table.info.width)
        return walk(container, layout, replace(table, info=info), threads)

    monkeypatch.setattr(module, "Walk", turned)
    cut(source, tmp_path / "b.mp4", 0, 1)
    assert np.abs(frames_of(tmp_path / "b.mp4")[0] - np.rot90(gray, -1)).mean() < 3


def test_an_odd_last_row_and_column_are_left_out(tmp_path):
    frames = np.stack([np.pad(frame, ((0, 1), (0, 1), (0, 0)), mode="edge") for frame in shot(1, 8)])
    with av.open(str(tmp_path / "odd.mkv"), "w") as out:
        stream = out.add_stream("ffv1", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 161, 97, "yuv420p"
        for pixels in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode(None))
    piece = cut(tmp_path / "odd.mkv", tmp_path / "a.mp4", 0, 1)
    assert (piece.width, piece.height, piece.num_frames) == (160, 96, 8)
    there = frames_of(tmp_path / "odd.mkv")[:, :96, :160]
    assert np.abs(frames_of(tmp_path / "a.mp4") - there).mean() < 3


def test_what_cannot_be_cut_is_an_error_with_a_code(source, tmp_path):
    with pytest.raises(ItemError) as beyond:
        cut(source, tmp_path / "a.mp4", 5.0, 6.0)
    assert beyond.value.code == "NO_FRAMES"
    with pytest.raises(ItemError) as nowhere:
        cut(source, tmp_path / "nowhere" / "a.mp4", 0.0, 1.0)
    assert nowhere.value.code == "ENCODE_ERROR"


@pytest.mark.slow
def test_a_full_disk_has_its_own_code(source, tmp_path):
    code = f"""
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from pathlib import Path
from cineloop.errors import ItemError
from cineloop.video.limits import Limits
from v2t_eval.clips.cut import Cut, write_cut
from cineloop.video.open_file import LastFile
with LastFile() as last, last.open({str(source)!r}) as opened:
    try:
        write_cut(opened, Limits(), {str(tmp_path / "a.mp4")!r}, Cut(start_s=0, end_s=3))
    except ItemError as error:
        print(error.code)
"""
    done = python_on_full_disk(code, most_bytes=4096)
    assert done.stdout.strip() == "DISK_FULL", done.stderr


@pytest.mark.slow
def test_the_pool_cuts_in_a_child(source, tmp_path):
    with DecoderPool(threads=1) as pool:
        piece = submit_cut(pool, source, tmp_path / "a.mp4", Cut(start_s=1.0, end_s=2.0)).result()
        frames = pool.decode(tmp_path / "a.mp4", SampleSpec(sampler="fps", fps=24, max_frames=100))
    assert piece.num_frames == len(frames.times_s) == 24


class RedSquares(torch.nn.Module):
    """A face detector as OpenCV's YuNet is read, which takes red for faces."""

    def forward(self, bgr: torch.Tensor) -> tuple[torch.Tensor, ...]:
        red = ((bgr[:, 2:] - bgr[:, 1:2]) / 255).clamp(0, 1)
        scores, boxes, points = [], [], []
        for stride in (8, 16, 32):
            score = torch.nn.functional.avg_pool2d(red, stride, stride).flatten(2).transpose(1, 2)  # (1, N, 1)
            score = score if stride == 8 else score * 0
            half, size = score * 0 + 0.5, score * 0 + 0.7
            scores.append(score)
            boxes.append(torch.cat([half, half, size, size], 2))
            points.append(torch.cat([half] * 10, 2))
        return (*scores, *scores, *boxes, *points)


@pytest.fixture(scope="module")
def detector(tmp_path_factory) -> Path:
    names = [f"{name}_{stride}" for name in ("cls", "obj", "bbox", "kps") for stride in (8, 16, 32)]
    return export(RedSquares(), torch.zeros(1, 3, 96, 160), tmp_path_factory.mktemp("detector") / "red.onnx", names)


def test_faces_are_blurred_where_a_detector_finds_them_and_nothing_else(source, detector, tmp_path):
    frames = np.full((12, 96, 160, 3), 120, np.uint8)
    frames[:, 8::16] = 60  # lines across the picture
    frames[:, 32:64, 48:80] = (200, 0, 0)
    frames[:, 40:56:2, 56:72] = (255, 60, 60)  # what could be read in it
    film = write(tmp_path / "face.mp4", frames)
    cut(film, tmp_path / "plain.mp4", 0, 1)
    piece = cut(film, tmp_path / "blurred.mp4", 0, 1, faces=str(detector), copy=True)
    plain, blurred = frames_of(tmp_path / "plain.mp4"), frames_of(tmp_path / "blurred.mp4")
    assert not piece.copied and piece.num_frames == 12
    for before, after in zip(plain, blurred, strict=True):
        assert np.abs(np.diff(before[42:54, 58:70], axis=0)).mean() > 10
        assert np.abs(np.diff(after[42:54, 58:70], axis=0)).mean() < 3
        assert np.abs(after[:, 100:] - before[:, 100:]).mean() < 2


def test_what_is_no_detector_is_refused(source, tmp_path):
    (tmp_path / "no.onnx").write_bytes(b"nothing")
    with pytest.raises(UsageError, match="no face detector"):
        cut(source, tmp_path / "a.mp4", 0, 1, faces=str(tmp_path / "no.onnx"))


@pytest.mark.slow
def test_a_part_at_a_rate_has_exactly_its_frames_scaled_and_with_square_pixels(tmp_path):
    """Each frame is the film's nearest in time; the sound is as long as the pictures."""
    source = film(tmp_path / "film.mp4", sample_aspect_ratio=Fraction(4, 3))
    made = cut(source, tmp_path / "part.mp4", 0.5, 3.0, fps=16.0, num_frames=33, size=(64, 96), crop=(8, 0, 144, 96))
    assert (made.num_frames, made.width, made.height, made.copied, made.has_sound) == (33, 96, 64, False, True)
    assert made.end_s - made.start_s == pytest.approx(33 / 16)
    with av.open(str(tmp_path / "part.mp4")) as container:
        stream, sound = container.streams.video[0], container.streams.audio[0]
        assert (stream.frames, float(stream.average_rate)) == (33, 16.0) and stream.sample_aspect_ratio in (None, 1)
        assert float(sound.duration * sound.time_base) == pytest.approx(33 / 16, abs=0.05)
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([n / 16 for n in range(33)])


@pytest.mark.slow
def test_a_rate_beyond_the_films_own_repeats_frames_and_one_below_leaves_some_out(tmp_path):
    source = film(tmp_path / "film.mp4", sound=None)
    for fps, num in ((48.0, 48), (6.0, 6)):
        made = cut(source, tmp_path / f"{fps}.mp4", 0.0, 1.0, fps=fps)
        with av.open(str(tmp_path / f"{fps}.mp4")) as container:
            shown = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
        assert made.num_frames == len(shown) == num
    with av.open(str(source)) as container:
        own = [frame.to_ndarray(format="gray").astype(int) for frame in container.decode(video=0)]
    for number, picture in enumerate(shown):  # of 6 a second: every fourth
        assert np.abs(own[4 * number] - picture).mean() < np.abs(own[4 * number + 2] - picture).mean()
