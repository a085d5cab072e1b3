"""Sound at its true second: whatever the container, where reading begins, and what is broken."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from cineloop.audio.read import blocks, read, tracks
from cineloop.errors import ItemError, UsageError
from cineloop.video.encode import encode
from cineloop.video.sample import SampleSpec
from cineloop.video.worker import DecoderPool, Limits
from sounding_films import clicks, sweep, write_film, write_sound

pytestmark = pytest.mark.xdist_group("machine")


@pytest.fixture(scope="module")
def pool():
    with DecoderPool(1, Limits(memory_mb=1024)) as made:
        yield made


def onset_s(sound) -> float:
    """Second of the film at which the sound gets loud."""
    return sound.start_s + int(np.argmax(np.abs(sound.samples) > 0.2)) / sound.rate


def codes(sound) -> list[str]:
    return [warning.code for warning in sound.warnings]


FILMS = {
    "a.mp4": {},
    "late.mp4": {"start_s": 1.3},
    "early.mkv": {"start_s": -0.4},
    "late.mkv": {"start_s": 2.0},
    "late.ts": {"start_s": 0.5},
    "late.webm": {"start_s": 0.7, "codec": "libopus", "video": "libvpx"},
    "base.mp4": {"start_s": 0.2, "base_s": 3.0},
    "base.mkv": {"start_s": 0.2, "base_s": 3.0},
    "mp3.mp4": {"codec": "libmp3lame"},
    "pcm.mkv": {"codec": "pcm_s24le"},
}


@pytest.mark.parametrize("name", FILMS)
def test_a_click_is_heard_when_its_flash_is_seen(tmp_path: Path, pool: DecoderPool, name: str) -> None:
    more = dict(FILMS[name])
    start_s = more.pop("start_s", 0.0)
    path = write_film(tmp_path / name, [(clicks(4, 48_000, 3 - start_s), 48_000, start_s)], flash_s=3, **more)
    frames = pool.decode(path, SampleSpec(num_frames=100))
    flash_s = frames.times_s[int(np.argmax(frames.pixels.mean((1, 2, 3))))]
    whole, part = read(pool, path), read(pool, path, start_s=2.6, end_s=3.3)
    assert onset_s(whole) == pytest.approx(flash_s, abs=0.003)
    assert onset_s(part) == pytest.approx(flash_s, abs=0.003)
    assert tracks(pool, path)[0].start_s == pytest.approx(start_s, abs=0.03)  # an encoder may put its delay before


FORMATS = {
    "a.wav": ("pcm_s16le", 44_100),
    "b.wav": ("pcm_u8", 8_000),
    "c.wav": ("pcm_f32le", 192_000),
    "a.flac": ("flac", 44_100),
    "a.mp3": ("libmp3lame", 44_100),
    "a.ogg": ("libopus", 16_000),
    "a.m4a": ("aac", 22_050),
    "a.opus": ("libopus", 48_000),
}


@pytest.mark.parametrize("name", FORMATS)
def test_block_after_block_gives_the_samples_of_one_reading(tmp_path: Path, pool: DecoderPool, name: str) -> None:
    codec, rate = FORMATS[name]
    path = write_sound(tmp_path / name, sweep(7, rate), rate, codec)
    whole = read(pool, path)
    parts = list(blocks(pool, path, block_s=1.7))
    assert [part.start_s for part in parts[:5]] == pytest.approx([0, 1.7, 3.4, 5.1, 6.8])
    assert [part.is_last for part in parts[:4]] == [False] * 4 and parts[-1].is_last
    joined = np.concatenate([part.samples for part in parts])
    assert joined.shape == whole.samples.shape
    np.testing.assert_allclose(joined, whole.samples, atol=2e-3)
    truth = sweep(7, 16_000)[0]
    inner = slice(1600, 6 * 16_000)
    assert np.corrcoef(whole.samples[inner], truth[inner])[0, 1] > 0.99  # any shift of two samples would break it


def test_tracks_are_listed_and_chosen(tmp_path: Path, pool: DecoderPool) -> None:
    sounds = [(clicks(3, 48_000, 1), 48_000, 0.0), (clicks(3, 16_000, 2), 16_000, 0.0)]
    path = write_film(tmp_path / "two.mkv", sounds, seconds=3, codec="flac", languages=("eng", "deu"))
    listed = tracks(pool, path)
    assert [(t.number, t.codec, t.rate, t.channels, t.language) for t in listed] == [
        (0, "flac", 48_000, 1, "eng"),
        (1, "flac", 16_000, 1, "deu"),
    ]
    assert [t.is_default for t in listed] == [True, False]
    assert onset_s(read(pool, path)) == pytest.approx(1, abs=0.002)
    assert onset_s(read(pool, path, track=1)) == pytest.approx(2, abs=0.002)
    with pytest.raises(ItemError) as caught:
        read(pool, path, track=2)
    assert caught.value.code == "NO_AUDIO_STREAM"


def test_channels_are_kept_or_mixed(tmp_path: Path, pool: DecoderPool) -> None:
    sound = np.zeros((6, 44_100), np.float32)
    sound[2] = sweep(1, 44_100)[0]  # the centre, where films speak
    path = write_sound(tmp_path / "five.flac", sound, 44_100, "flac", "5.1")
    whole = read(pool, path, rate=None, mono=False)
    assert whole.rate == 44_100 and whole.samples.shape == (44_100, 6)
    assert np.abs(whole.samples).max(0).round(1).tolist() == pytest.approx([0, 0, 0.4, 0, 0, 0])
    assert np.abs(read(pool, path).samples).max() > 0.1


def test_gaps_are_silence_and_what_follows_keeps_its_second(tmp_path: Path, pool: DecoderPool) -> None:
    sound = clicks(4, 48_000, 0.5, 3.5)
    path = write_film(tmp_path / "gap.mkv", [(sound, 48_000, 0.0)], gap_s=(1, 2.5))
    whole = read(pool, path)
    assert codes(whole) == ["SOUND_GAP"]
    later = read(pool, path, start_s=1.0)
    assert onset_s(whole) == pytest.approx(0.5, abs=0.003) and onset_s(later) == pytest.approx(3.5, abs=0.003)


def test_sound_before_and_after_the_picture(tmp_path: Path, pool: DecoderPool) -> None:
    path = write_film(tmp_path / "long.mkv", [(sweep(5, 16_000), 16_000, -0.5)], seconds=1, codec="flac")
    assert read(pool, path).duration_s == pytest.approx(4.5, abs=0.002)
    early = read(pool, path, start_s=-0.5)
    assert early.start_s == -0.5 and early.duration_s == pytest.approx(5, abs=0.002)
    beyond = read(pool, path, start_s=60, end_s=61)
    assert len(beyond.samples) == 0 and beyond.is_last


def test_a_tenth_of_a_second(tmp_path: Path, pool: DecoderPool) -> None:
    path = write_sound(tmp_path / "short.wav", sweep(0.1, 16_000), 16_000)
    assert read(pool, path).duration_s == pytest.approx(0.1)
    assert [part.duration_s for part in blocks(pool, path)] == pytest.approx([0.1])


def test_the_rate_may_change(tmp_path: Path, pool: DecoderPool) -> None:
    halves = [write_sound(tmp_path / f"{rate}.aac", sweep(2, rate), rate, "aac") for rate in (44_100, 22_050)]
    both = tmp_path / "both.aac"
    both.write_bytes(b"".join(half.read_bytes() for half in halves))
    whole = read(pool, both)
    assert codes(whole) == ["RATE_CHANGES"] and whole.duration_s == pytest.approx(4, abs=0.2)


@pytest.mark.parametrize("length", [0, 5_000_000, 0xFFFFFFFF])
def test_a_wav_header_with_a_wrong_length(tmp_path: Path, pool: DecoderPool, length: int) -> None:
    path = write_sound(tmp_path / "a.wav", sweep(2, 16_000), 16_000)
    data = bytearray(path.read_bytes())
    at = data.index(b"data")
    data[at + 4 : at + 8] = struct.pack("<I", length)
    path.write_bytes(data)
    assert read(pool, path).duration_s == pytest.approx(2)


def test_damage_in_the_middle_is_told_and_the_rest_is_read(tmp_path: Path, pool: DecoderPool) -> None:
    path = write_sound(tmp_path / "a.m4a", sweep(6, 44_100), 44_100, "aac")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = np.random.default_rng(0).bytes(2000)
    path.write_bytes(data)
    whole = read(pool, path)
    assert "DAMAGED" in codes(whole) and whole.duration_s == pytest.approx(6, abs=0.1)


def test_a_file_that_was_cut_off(tmp_path: Path, pool: DecoderPool) -> None:
    path = write_film(tmp_path / "a.mkv", [(sweep(4, 16_000), 16_000, 0.0)], codec="flac")
    path.write_bytes(path.read_bytes()[:-20_000])
    whole = read(pool, path)
    assert "TRUNCATED" in codes(whole) and 1 < whole.duration_s < 4


def test_files_without_sound(tmp_path: Path, pool: DecoderPool) -> None:
    silent, picture = tmp_path / "silent.mp4", tmp_path / "a.png"
    encode(np.zeros((5, 48, 64, 3), np.uint8), silent, 5)
    from PIL import Image

    Image.new("RGB", (8, 8)).save(picture)
    for path in (silent, picture):
        assert tracks(pool, path) == []
        with pytest.raises(ItemError) as caught:
            read(pool, path)
        assert caught.value.code == "NO_AUDIO_STREAM"
    for name, data, code in (("e.wav", b"", "EMPTY_FILE"), ("t.srt", b"1\n00:00:01,000 --> x\nhi\n", "NOT_MEDIA")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ItemError) as caught:
            read(pool, tmp_path / name)
        assert caught.value.code == code


def test_limits(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", sweep(6, 192_000), 192_000)
    with DecoderPool(1, Limits(max_duration_s=5)) as pool, pytest.raises(ItemError) as caught:
        read(pool, path)
    assert caught.value.code == "TOO_LONG"
    with DecoderPool(1, Limits(memory_mb=256)) as pool, pytest.raises(ItemError) as caught:
        read(pool, path, rate=384_000, end_s=200)
    assert caught.value.code == "TOO_LARGE"


@pytest.mark.parametrize("given", [{"start_s": 3, "end_s": 2}, {"start_s": float("nan")}, {"rate": 10}, {"track": -1}])
def test_wrong_stretches_are_refused_before_anything_is_read(pool: DecoderPool, given: dict) -> None:
    with pytest.raises(UsageError):
        read(pool, "no-such-file", **given)
    with pytest.raises(UsageError):
        next(blocks(pool, "no-such-file", block_s=0))
