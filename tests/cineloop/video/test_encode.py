"""Files that are written: counted, timed and coloured as stated, whole or absent."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from cineloop.errors import ItemError, UsageError
from cineloop.video.encode import encode
from cineloop.video.frames import Frames
from full_disk import python_on_full_disk

av = pytest.importorskip("av")


def facts(path: Path) -> tuple[int, Fraction, Fraction, tuple[int, int], str]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        length = stream.duration * stream.time_base
        return len(frames), stream.average_rate, length, (frames[0].height, frames[0].width), frames[0].format.name


def drift(num: int, height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack(
        [np.stack([(3 * i + columns) % 256, (5 * i + rows) % 256, 0 * rows + 90], -1) for i in range(num)]
    ).astype(np.uint8)


@pytest.mark.parametrize("fps", [8, 25, 30.0, Fraction(24000, 1001), 23.976, 0.5, 240])
@pytest.mark.parametrize("num", [1, 2, 49])
def test_exactly_the_stated_rate_and_count(tmp_path, fps, num):
    encode(drift(num, 16, 16), tmp_path / "a.mp4", fps)
    stated = fps if isinstance(fps, Fraction) else Fraction(fps).limit_denominator(1001)
    count, rate, length, _, form = facts(tmp_path / "a.mp4")
    assert count == num and length == num / stated and form == "yuv420p"  # 49 frames at 8 are 6.125 s (book, item 12)
    assert num == 1 or rate == stated


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (17, 31), (341, 512), (64, 64), (1, 100)])
def test_odd_sizes_are_padded_by_their_edge(tmp_path, size):
    pixels = drift(3, *size)  # 512 x 341: the book's odd height that libx264 refuses (item 8)
    encode(pixels, tmp_path / "a.mp4", 8, crf=0)
    _, _, _, (height, width), _ = facts(tmp_path / "a.mp4")
    assert (height, width) == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    with av.open(str(tmp_path / "a.mp4")) as container:
        back = [f.to_ndarray(format="gray").astype(int) for f in container.decode(video=0)]
    if size[0] % 2 and size[0] > 2:
        assert np.abs(back[1][-1] - back[1][-2]).max() <= 4


def test_colours_come_back(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (12, 1, 1, 3), dtype=np.uint8)
    encode(np.broadcast_to(colours, (12, 64, 96, 3)), tmp_path / "a.mp4", 12)
    with av.open(str(tmp_path / "a.mp4")) as container:
        frames = list(container.decode(video=0))
        assert frames[0].colorspace == 1 and frames[0].color_range == 1  # BT.709, limited, and tagged so
        back = np.stack([f.to_ndarray(format="rgb24") for f in frames])
    assert np.abs(back.astype(int) - colours).max() <= 5


def test_no_metadata_and_the_same_bytes_again(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        encode(drift(9, 48, 64), tmp_path / name, 9)
    data = (tmp_path / "a.mp4").read_bytes()
    assert data == (tmp_path / "b.mp4").read_bytes()
    assert b"Lavf" not in data and b"x264" not in data and data.find(b"moov") < data.find(b"mdat")
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert not set(container.metadata) - {"major_brand", "minor_version", "compatible_brands"}


def test_frames_may_stream_in(tmp_path):
    pixels = drift(7, 32, 32)
    encode((frame for frame in pixels), tmp_path / "a.mp4", 7)
    encode(pixels, tmp_path / "b.mp4", 7)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_whole_or_absent(tmp_path):
    def breaking():
        yield from drift(5, 32, 32)
        raise RuntimeError("the renderer failed")

    path = tmp_path / "a.mp4"
    encode(drift(2, 32, 32), path, 8)
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="renderer"):
        encode(breaking(), path, 8)
    with pytest.raises(UsageError):
        encode([*drift(2, 32, 32), *drift(1, 32, 34)], path, 8)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.mp4"]


def test_wrong_input_is_refused(tmp_path):
    good = drift(2, 8, 8)
    for pixels, fps, crf in (
        (good[:0], 8, 18),
        (good.astype(np.float32), 8, 18),
        (good[..., :2], 8, 18),
        (good, 0, 18),
        (good, float("nan"), 18),
        (good, -1, 18),
        (good, 1e9, 18),
        (good, 8, 52),
    ):
        with pytest.raises(UsageError):
            encode(pixels, tmp_path / "a.mp4", fps, crf)
    with pytest.raises(ItemError) as caught:
        encode(good, tmp_path / "missing" / "a.mp4", 8)
    assert caught.value.code == "ENCODE_ERROR" and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_full_disk_leaves_nothing_behind(tmp_path):
    code = """if True:
        import sys, numpy as np
        from cineloop.errors import ItemError
        from cineloop.video.encode import encode
        noise = np.random.default_rng(0).integers(0, 256, (30, 128, 128, 3), dtype=np.uint8)
        try:
            encode(noise, sys.argv[1], 8)
        except ItemError as error:
            print(error.code)
        """
    done = python_on_full_disk(code, tmp_path / "a.mp4", most_bytes=20_000)
    assert done.stdout.strip() == "DISK_FULL", done.stderr
    assert list(tmp_path.iterdir()) == []


def test_frames_hold_what_they_promise():
    pixels = drift(3, 8, 8)
    frames = Frames.from_pixels(pixels, fps=2)
    assert frames.times_s.tolist() == [0, 0.5, 1.0] and frames.duration_s == 1.5 and frames.size == (8, 8)
    assert len(frames) == 3
    for wrong in (
        dict(pixels=pixels.astype(float)),
        dict(pixels=pixels[0]),
        dict(pixels=pixels[:0], times_s=np.zeros(0)),
        dict(times_s=np.zeros(3)),
        dict(times_s=np.array([0.0, 1.0])),
        dict(fps=0.0),
        dict(duration_s=-1.0),
    ):
        with pytest.raises(ValueError):
            Frames(**{**dict(pixels=pixels, times_s=np.arange(3.0), duration_s=3.0, fps=1.0), **wrong})
