"""Long films: windows without a second look at the file, seeking that lands early, scene cuts, limits that scale."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from cineloop.errors import ItemError
from cineloop.video import open_file as opened_module
from cineloop.video.cuts import find_cuts
from cineloop.video.decode import Request, decode
from cineloop.video.encode import encode
from cineloop.video.frame_index import read_table
from cineloop.video.open_file import LastFile
from cineloop.video.sample import SampleSpec
from cineloop.video.worker import DecoderPool, Limits
from cineloop.world.scenes.render import render
from cineloop.world.scenes.sampler import sample_scene
from small_clips import write_grey

FPS = 12


def shots(path: Path, lengths: list[int], size: int = 64) -> Path:
    """Shots of so many frames: smooth pictures that drift, every frame of its own brightness at the lower edge."""
    rng = np.random.default_rng(len(lengths))
    frames, number = [], 0
    for length in lengths:
        small = rng.integers(30, 220, (4, 4, 3)).astype(np.uint8)
        ground = np.kron(small, np.ones((size // 4, size // 4, 1), np.uint8))
        for i in range(length):
            frame = np.roll(ground, i // 4, axis=1)
            frame[-8:] = 2 * abs(number % 240 - 120)
            frames.append(frame)
            number += 1
    encode(np.stack(frames), path, FPS)
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    return shots(tmp_path_factory.mktemp("film") / "a.mp4", [40, 35, 50, 45, 60, 33, 52, 41] * 9)  # 3,204 frames


def spec(start_s: float, end_s: float) -> SampleSpec:
    return SampleSpec(num_frames=6, start_s=start_s, end_s=end_s)


@pytest.mark.slow
def test_windows_of_a_long_film_are_exact_and_look_at_the_file_once(film, monkeypatch):
    whole = decode(film, Request(spec=SampleSpec(num_frames=4000, max_frames=4000)))
    assert whole.decoder == "decord" and len(whole) == 3204
    looks = []
    monkeypatch.setattr(opened_module, "read_table", lambda *a, **k: looks.append(a) or read_table(*a, **k))
    with LastFile() as last:
        for start in (200.0, 0.0, 17.5, 18.5, 17.5, 260.0, 3.0):
            frames = decode(film, Request(spec=spec(start, start + 5)), last=last)
            places = np.round(frames.times_s * FPS).astype(int)
            assert frames.decoder == "pyav" and len(frames) == 6 and not frames.warnings
            assert frames.times_s[0] == pytest.approx(start) and frames.start_s == start
            # Two decoders round colours a little differently.
            assert np.abs(frames.pixels.astype(int) - whole.pixels[places].astype(int)).max() <= 6
            alone = decode(film, Request(spec=spec(start, start + 5)))
            assert (alone.pixels == frames.pixels).all()
        motion = decode(film, Request(spec=SampleSpec(sampler="motion", num_frames=6, start_s=30, end_s=40)), last=last)
        assert len(motion) == 6
    assert len(looks) == 1 + 7


@pytest.mark.slow
def test_frames_far_apart_are_found_where_seeking_lands_too_early(film):
    """Jumping to the next intra frame once went on for ever: seeking by decoding time landed before it each time."""
    start = time.monotonic()
    frames = decode(film, Request(spec=SampleSpec(num_frames=40), decoders=("pyav",)))
    assert len(frames) == 40 and time.monotonic() - start < 60
    same = decode(film, Request(spec=SampleSpec(num_frames=40), decoders=("decord",)))
    assert (frames.times_s == same.times_s).all()
    assert np.abs(frames.pixels.astype(int) - same.pixels.astype(int)).max() <= 6


def test_a_file_that_changed_is_not_taken_for_the_last_one(tmp_path):
    path = shots(tmp_path / "a.mp4", [20])
    with LastFile() as last:
        assert decode(path, last=last).duration_s == pytest.approx(20 / FPS)
        before = path.stat()
        shots(tmp_path / "b.mp4", [30])
        os.replace(tmp_path / "b.mp4", path)  # another file of the same name, and of the same date
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert decode(path, last=last).duration_s == pytest.approx(30 / FPS)
        path.write_bytes(b"no video")
        with pytest.raises(ItemError):
            decode(path, last=last)
        shots(path, [10])
        assert decode(path, last=last).duration_s == pytest.approx(10 / FPS)
        os.unlink(path)
        with pytest.raises(ItemError) as caught:
            decode(path, last=last)
        assert caught.value.code == "NOT_FOUND"


@pytest.mark.slow
def test_damage_late_in_a_film_costs_no_walk_from_its_start(film, tmp_path):
    import av

    with av.open(str(film)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(film.read_bytes())
    for at, size in packets[3000:3004]:
        data[at + 5 : at + size] = bytes(size - 5)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    frames = decode(path, Request(spec=SampleSpec(num_frames=60, start_s=247.0, end_s=252.0)))
    assert len(frames) < 60 and any(w.code == "DAMAGED" for w in frames.warnings)
    whole = decode(film, Request(spec=SampleSpec(num_frames=60, start_s=247.0, end_s=252.0)))
    kept = np.isin(whole.times_s, frames.times_s)
    good = np.abs(frames.pixels.astype(int) - whole.pixels[kept].astype(int)).max(axis=(1, 2, 3)) <= 6
    assert good.mean() > 0.6


@pytest.mark.slow
def test_cuts_of_the_world_are_found_and_where_there_are_none_there_are_none(tmp_path):
    true, found, wrong = 0, 0, 0
    with DecoderPool(1) as pool:
        for index in range(3):
            scene = sample_scene("seen", 21, index, seconds=(9, 14))
            path = tmp_path / f"{index}.mp4"
            encode(render(scene, (64, 64), fps=FPS), path, FPS)
            cuts = [shot.start_s for shot in scene.shots[1:]]
            got = pool.cuts(path)
            assert got == sorted(got) and all(isinstance(second, float) for second in got)
            hits = [cut for cut in cuts if any(abs(cut - second) < 1.5 / FPS for second in got)]
            true, found, wrong = true + len(cuts), found + len(hits), wrong + len(got) - len(hits)
        assert true >= 5 and found == true and wrong == 0
        one = sample_scene("seen", 22, 0, seconds=(4, 4.4))
        encode(render(one, (64, 64), fps=FPS), tmp_path / "one.mp4", FPS)
        assert len(one.shots) == 1 and pool.cuts(tmp_path / "one.mp4") == []
        write_grey(tmp_path / "frame.mp4", 0, 1, size=(64, 64), fps=FPS)
        assert pool.cuts(tmp_path / "frame.mp4") == []
        (tmp_path / "text.mp4").write_text("no video at all, only words in a row")
        with pytest.raises(ItemError) as caught:
            pool.cuts(tmp_path / "text.mp4")
        assert caught.value.code == "NOT_MEDIA"


@pytest.mark.slow
def test_cuts_of_a_window_are_those_within_it(film):
    edges = np.cumsum([40, 35, 50, 45, 60, 33, 52, 41]) / FPS
    with DecoderPool(1) as pool:
        got = pool.cuts(film, 1.0, 12.0)
    assert got == pytest.approx([edge for edge in edges if 1 < edge < 12], abs=0.5 / FPS)


@pytest.mark.slow
def test_the_clock_begins_anew_after_every_minute_of_film(film):
    beats: list[int] = []
    with LastFile() as last, last.open(film) as opened:
        found = find_cuts(opened, Limits(), beat=lambda: beats.append(1))
        assert len(beats) == 4 and len(found) == 71
        beats.clear()
        read_table(opened.source, opened.layout, Limits(), beat=lambda: beats.append(1))
        assert not beats  # ten minutes of packets are read in no time
    assert Limits().max_duration_s >= 3 * 3600
