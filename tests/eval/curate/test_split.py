"""Splitting films into shots, on surveys made of pictures: no file is decoded."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from cineloop.video.info import VideoInfo
from cineloop.video.sample import window
from planted_films import FPS, dissolve, fade, picture, shot
from v2t_eval.curate.step import Piece, Window
from v2t_eval.curate.steps.split import Step
from v2t_eval.frames.survey import Survey


def of(*parts: np.ndarray, cuts: tuple[float, ...] = ()) -> Survey:
    """The thumbnails of frames at 24 a second, with cuts as a detector would give them."""
    import cv2

    frames = np.concatenate(parts)
    grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])
    none = np.zeros(0)
    info = VideoInfo(Path(), len(frames) / FPS, FPS, len(frames), frames.shape[2], frames.shape[1], 0, "h264", "mov")
    return Survey(
        info=info,
        cuts=list(cuts),
        motion_by="",
        times_s=np.arange(len(frames)) / FPS,
        thumbs=np.stack([cv2.resize(each, (16, 9), interpolation=cv2.INTER_AREA) for each in grey]),
        picture_s=np.arange(0, len(frames), 2) / FPS,
        pictures=np.stack([cv2.resize(each, (32, 18), interpolation=cv2.INTER_AREA) for each in grey[::2]]),
        bright=np.quantile(grey, 0.99, axis=(1, 2)).astype(np.uint8),
        still=np.zeros(len(frames), bool),
        close_s=none,
        sharpness=none,
        borders=none.reshape(-1, 4),
        edges=none.reshape(-1, 4),
        motion_s=none.reshape(-1, 2),
        motion=none.reshape(-1, 3),
    )


def split(survey: Survey, **settings) -> list[Piece]:
    return list(Step(**settings).cut(survey, [Piece(start_s=0.0, end_s=survey.info.duration_s)]))


def spans(pieces):
    return [(round(piece.start_s * FPS), round(piece.end_s * FPS)) for piece in pieces]


def test_a_film_of_one_shot_stays_whole():
    pieces = split(of(shot(1, 120, pan=1.0)))
    assert spans(pieces) == [(0, 120)] and (pieces[0].begins, pieces[0].ends) == ("end", "end")


def test_a_cut_loses_two_frames_on_both_sides():
    pieces = split(of(shot(1), shot(2), cuts=(60 / FPS,)))
    assert spans(pieces) == [(0, 58), (62, 120)]
    assert [(p.begins, p.ends) for p in pieces] == [("end", "cut"), ("cut", "end")]


def test_a_faint_cut_is_found_where_little_else_changes_and_an_object_that_appears_is_none():
    a, b = (np.clip(60 + (picture(seed).astype(int) - 128) // 4, 0, 255).astype(np.uint8) for seed in (1, 2))
    still, other = np.repeat(a[None], 60, 0), np.repeat(b[None], 60, 0)
    assert spans(split(of(still, other))) == [(0, 58), (62, 120)]
    assert len(split(of(still, other), cut_levels=0.0)) == 1
    appears = still.copy()
    appears[:, 20:60, 30:80] = 255
    assert len(split(of(still, appears))) == 1


def test_a_fade_from_bars_ends_where_the_picture_has_its_light():
    a, b = shot(1, 72), shot(2, 72)
    pieces = split(of(a, fade(a, b, 30, 3), b))
    (_, end), (start, _) = spans(pieces)
    assert 66 <= end <= 76 and 72 + 63 - 6 <= start


@pytest.mark.parametrize("num", [8, 16, 24, 40])
def test_a_dissolve_belongs_to_no_clip(num):
    a, b = shot(1, 72), shot(2, 72)
    pieces = split(of(a, dissolve(a, b, num), b))
    assert [p.ends for p in pieces] == ["dissolve", "end"]
    (_, end), (start, _) = spans(pieces)
    assert 60 <= end <= 76 and 72 + num - 4 <= start <= 72 + num + 12


@pytest.mark.slow
def test_a_dissolve_from_a_dim_picture_to_a_bright_one_is_no_lamp():
    a, b = (shot(1, 72) // 12), shot(2, 72)
    for before, after in ((a, b), (b, a)):
        assert [p.ends for p in split(of(before, dissolve(before, after, 28), after))] == ["dissolve", "end"]


@pytest.mark.slow
@pytest.mark.parametrize(("num", "dark"), [(6, 3), (12, 5), (20, 20)])
def test_a_fade_belongs_to_no_clip(num, dark):
    a, b = shot(1, 72), shot(2, 72)
    pieces = split(of(a, fade(a, b, num, dark), b))
    assert [p.ends for p in pieces] == ["fade", "end"]
    (_, end), (start, _) = spans(pieces)
    assert 60 <= end <= 72 + num and 72 + num + dark <= start <= 72 + 2 * num + dark + 12


def test_a_long_dark_part_is_a_clip_of_its_own():
    a, b = shot(1, 72), shot(2, 72)
    pieces = split(of(a, np.zeros_like(a), b))
    assert len(pieces) == 3 and (pieces[1].begins, pieces[1].ends) == ("black", "black")


@pytest.mark.slow
def test_a_camera_a_lamp_and_a_large_object_are_no_dissolve():
    a = shot(1, 96, pan=1.5)
    lamp = (shot(3, 96) * np.linspace(1.0, 0.45, 96)[:, None, None, None]).astype(np.uint8)
    curtain = shot(4, 96)
    for t in range(96):
        curtain[t, :, : round(160 * t / 96)] = picture(9)[:, : round(160 * t / 96)]
    for frames in (a, lamp, curtain):
        assert len(split(of(frames))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("cuts", [(60 / FPS, 64 / FPS), (60 / FPS,)])  # a detector may see the first edge alone
@pytest.mark.parametrize("light", [255, 0])
@pytest.mark.parametrize("pan", [0.0, 0.4])
def test_a_flash_is_no_change_of_shots(cuts, light, pan):
    frames = shot(1, 120, pan=pan)
    frames[60:64] = light
    assert spans(split(of(frames, cuts=cuts))) == [(0, 120)]


def test_a_flash_between_two_shots_does_not_hide_their_cut():
    frames = np.concatenate([shot(1, 60), np.full_like(shot(1, 3), 255), shot(2, 60)])
    assert len(split(of(frames, cuts=(60 / FPS,)))) == 2


def photograph(seed: int, size: tuple[int, int] = (270, 480)) -> np.ndarray:
    """Smooth noise whose amplitude falls with frequency, as in photographs."""
    rng = np.random.default_rng(seed)
    rows, columns = np.fft.fftfreq(size[0])[:, None] * size[0], np.fft.fftfreq(size[1])[None] * size[1]
    fall = np.maximum(np.hypot(rows, columns), 1.0) ** -1.6
    grey = np.fft.ifft2(np.fft.fft2(rng.standard_normal(size)) * fall).real
    return np.repeat(np.clip(120 + 50 * grey / grey.std(), 0, 255).astype(np.uint8)[..., None], 3, -1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_a_slow_pan_over_a_photograph_is_no_dissolve(seed):
    """Its ends differ everywhere, and at a few pixels a side the middle lies between them."""
    wide, pan = photograph(seed), 0.04 + 0.012 * seed  # of the width a second
    frames = np.stack([wide[60:156, (at := round(160 * pan * n / FPS)) : at + 160] for n in range(120)])
    assert spans(split(of(frames))) == [(0, 120)]


@pytest.mark.slow
@pytest.mark.parametrize("num", [8, 14, 24])
@pytest.mark.parametrize("way", range(4))
@pytest.mark.parametrize("kind", ["wipe", "slide", "circle"])
def test_a_moving_edge_belongs_to_no_clip(kind, way, num):
    a, b = shot(1, 72, pan=0.2), shot(2, 72, pan=0.2)
    made = np.stack([edge(kind, a[-num + n], b[n], (n + 1) / (num + 1), way) for n in range(num)])
    pieces = split(of(a[:-num], made, b[num:]))
    assert [p.ends for p in pieces] == ["wipe", "end"]
    (_, end), (start, _) = spans(pieces)
    assert 72 - num - 26 <= end <= 72 - num + 6 and 72 - 12 <= start <= 72 + 26


def edge(kind: str, a: np.ndarray, b: np.ndarray, share: float, way: int) -> np.ndarray:
    """A picture of a change from (H, W, 3) to another."""
    a, b = (np.rot90(each, way) for each in (a, b))
    at = round(share * a.shape[1])
    if kind == "wipe":
        made = np.concatenate([b[:, :at], a[:, at:]], 1)
    elif kind == "slide":
        made = np.concatenate([a, b], 1)[:, at : at + a.shape[1]]
    else:
        y, x = np.mgrid[-1 : 1 : a.shape[0] * 1j, -1 : 1 : a.shape[1] * 1j]
        made = np.where(np.hypot(y, x)[..., None] < 1.45 * share, b, a)
    return np.rot90(made, -way)


def test_a_false_cut_within_a_picture_is_joined_and_a_true_short_shot_is_not():
    a, b = shot(1, 80), shot(2, 80)
    assert spans(split(of(a, cuts=(20 / FPS,)))) == [(0, 80)]
    kept = spans(split(of(a[:30], shot(3, 24), b, cuts=(30 / FPS, 54 / FPS))))
    assert kept == [(0, 28), (32, 52), (56, 134)]  # the short one stays for the rule on length


def test_a_long_shot_is_cut_into_equal_parts():
    pieces = split(of(shot(1, 240)), longest_s=4.0)
    assert spans(pieces) == [(0, 80), (80, 160), (160, 240)]
    assert [(p.begins, p.ends) for p in pieces] == [("end", "length"), ("length", "length"), ("length", "end")]


def test_clips_of_one_frame_have_a_window():
    survey = of(shot(1, 1))
    (piece,) = split(survey)
    window = Window(survey, piece.start_s, piece.end_s)
    assert window.frames == slice(0, 1) and piece.end_s == pytest.approx(1 / FPS)


def test_settings_that_cannot_be_are_refused():
    from cineloop.errors import UsageError

    with pytest.raises(UsageError, match="shortest_s < longest_s"):
        Step(shortest_s=5.0, longest_s=2.0)


@pytest.mark.parametrize(("num", "longest_s"), [(240, 3.3), (241, 4.0), (97, 2.03), (500, 7.1)])
def test_parts_of_a_long_shot_share_no_frame(num, longest_s):
    survey = of(shot(1, num))
    pieces = split(survey, longest_s=longest_s)
    found = [window(survey.times_s, survey.info.duration_s, *rounded(piece)) for piece in pieces]
    assert len(pieces) > 1 and max(piece.end_s - piece.start_s for piece in pieces) <= longest_s
    assert [n for first, stop in found for n in range(first, stop)] == list(range(num))


def rounded(piece: Piece) -> tuple[float, float]:
    """The seconds as they stand in the address of a clip."""
    return math.ceil(piece.start_s * 1000 - 1e-6) / 1000, math.floor(piece.end_s * 1000 + 1e-6) / 1000
