"""Clips as pixels: the right seconds, the right shape, rotation applied, windows, bad files named."""

from __future__ import annotations

import av
import numpy as np
import pytest
from PIL import Image

from cineloop.errors import UsageError
from cineloop.video.encode import encode
from cineloop.video.worker import DecoderPool
from t2v.data.buckets import Bucket, BucketConfig, Extent
from t2v.data.clips import prepare, read_pixels
from t2v.data.layouts import Item


def numbered(path, num_frames: int, fps: float, size=(48, 64)):
    """Frame n is grey 8 n; left half darker by 4 so that mirrored or turned frames would show."""
    frames = np.repeat(np.arange(num_frames, dtype=np.uint8) * 8, size[0] * size[1] * 3).reshape(-1, *size, 3)
    encode(frames, path, fps, crf=0)


def item(path, **more) -> Item:
    return Item(path.name, path, ("words",), **more)


def grey(pixels: np.ndarray) -> list[int]:
    """The numbers of the frames shown."""
    return np.rint(pixels.reshape(len(pixels), -1).mean(1) / 8).astype(int).tolist()


@pytest.fixture(scope="module")
def pool():
    with DecoderPool(num_workers=1) as made:
        yield made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    numbered(folder / "fast.mp4", 28, 16)
    numbered(folder / "slow.mp4", 5, 4)
    return folder


SMALL = BucketConfig(sizes=((48, 64),), lengths=(1, 5, 9))


def only(items, pool, config=SMALL, **more):
    return prepare(items, config, fps=8, pool=pool, **more)


def test_frames_are_those_on_screen_at_the_training_rate(folder, pool):
    (fast,) = only([item(folder / "fast.mp4")], pool).samples
    assert fast.extent == Extent(14, 48, 64) and fast.bucket == (9, 48, 64)
    assert grey(read_pixels(fast, 8, pool)) == list(range(0, 18, 2))
    (slow,) = only([item(folder / "slow.mp4")], pool).samples  # a slower file shows each frame twice
    assert slow.extent.num_frames == 10
    assert grey(read_pixels(slow, 8, pool)) == [0, 0, 1, 1, 2, 2, 3, 3, 4]


def test_windows(folder, pool):
    config = BucketConfig(sizes=((48, 64),), lengths=(5,))
    first, middle, parts = (
        only([item(folder / "fast.mp4")], pool, config, window=window).samples for window in ("first", "middle", "all")
    )
    assert [s.start_s for s in first] == [0] and [s.start_s for s in middle] == [4 / 8]
    assert [grey(read_pixels(s, 8, pool))[0] for s in parts] == [0, 10]
    (given,) = only([item(folder / "fast.mp4", start_s=0.5, end_s=1.2)], pool, config).samples
    assert given.extent.num_frames == 6 and grey(read_pixels(given, 8, pool)) == [8, 10, 12, 14, 16]
    with pytest.raises(UsageError, match="NO_FRAMES"):
        only([item(folder / "fast.mp4", start_s=9.0)], pool, config)


def test_covered_and_cut_in_the_middle(tmp_path, pool):
    picture = np.zeros((64, 192, 3), np.uint8)
    picture[:, 64:128] = 200  # the middle third
    Image.fromarray(picture).save(tmp_path / "wide.png")
    (sample,) = only([item(tmp_path / "wide.png")], pool, BucketConfig(sizes=((32, 32),), lengths=(1,))).samples
    pixels = read_pixels(sample, 8, pool)
    assert pixels.shape == (1, 32, 32, 3)
    assert pixels[0, :, 1:-1].min() > 190  # nothing of the black thirds is left


@pytest.mark.slow
def test_rotation_is_applied(tmp_path, pool):
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:, :32] = 255
    image = Image.fromarray(picture)
    exif = image.getexif()
    exif[0x0112] = 6  # stored lying; shown turned by 90 degrees clockwise: the white half is on top
    image.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    (sample,) = only([item(tmp_path / "turned.jpg")], pool, BucketConfig(sizes=((64, 32),), lengths=(1,))).samples
    assert sample.extent == (1, 64, 32)
    pixels = read_pixels(sample, 8, pool)
    assert pixels[0, :28].min() > 200 and pixels[0, 36:].max() < 50


@pytest.mark.slow
def test_wide_pixels_are_shown_wide(tmp_path, pool):
    path = tmp_path / "anamorphic.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = 2
        for _ in range(9):
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))):
                out.mux(packet)
        out.mux(stream.encode())
    prepared = only([item(path)], pool, BucketConfig(sizes=((64, 64), (64, 128)), lengths=(9,)))
    assert prepared.members[Bucket(9, 64, 128)] == [0]


@pytest.mark.slow
def test_files_that_cannot_be_read_are_all_named(folder, tmp_path, pool):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "empty.png").write_bytes(b"")
    items = [item(folder / "fast.mp4"), item(tmp_path / "broken.mp4"), item(tmp_path / "empty.png")]
    with pytest.raises(UsageError, match=r"2 of 3 clips(?s:.*)broken.mp4: NOT_MEDIA(?s:.*)empty.png: EMPTY_FILE"):
        only(items, pool)
    assert [s.item.id for s in only(items, pool, on_bad="skip").samples] == ["fast.mp4"]
    with pytest.raises(UsageError, match="2 of 2"):
        only(items[1:], pool, on_bad="skip")
