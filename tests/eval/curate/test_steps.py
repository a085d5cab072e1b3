"""Each step on planted films: the fault is found, and sound films are not."""

from __future__ import annotations

import numpy as np
import pytest

from cineloop.discovery import discover
from cineloop.video.worker import DecoderPool
from planted_films import shot, write
from v2t_eval.curate.recipe import read_plan
from v2t_eval.curate.run import clips_of
from v2t_eval.frames.survey import SURVEY_JOB, Survey


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The columns of one clip for each film, by name."""
    folder = tmp_path_factory.mktemp("films")
    moving = shot(1, 72)
    barred = moving.copy()
    barred[:, :12] = barred[:, -12:] = 0
    barred[:, :, :20] = barred[:, :, -20:] = 0
    films = {
        "sound": moving,
        "frozen": np.concatenate([moving[:18], np.repeat(moving[18:19], 54, 0)]),
        "twos": np.repeat(moving[::2], 2, 0),  # each drawing is held for two frames
        "black": np.zeros_like(moving),
        "half": np.concatenate([moving[:36], np.zeros_like(moving[:36])]),
        "barred": barred,
        "coarse": np.repeat(np.repeat(moving[:, ::8, ::8], 8, 1), 8, 2),
        "panned": shot(1, 72, pan=2.0),
    }
    for name, frames in films.items():
        write(folder / f"{name}.mp4", frames)
    steps = read_plan(None, ["settings.split.shortest_s=1.6"]).steps
    with DecoderPool(1, threads=1) as pool:
        return {
            found.id.removesuffix(".mp4"): clips_of(
                found, "", pool.submit_job(found.file, SURVEY_JOB, {}, Survey.read).result(), steps
            )
            for found in discover([str(folder)])
        }


def scores_of(measured, name):
    (row,) = measured[name]
    return row.scores


@pytest.mark.slow
def test_a_sound_clip_has_none_of_the_faults(measured):
    found = scores_of(measured, "sound")
    assert found["black_share"] == found["still_share"] == found["bars"] == 0
    assert found["duration_s"] == pytest.approx(3.0) and found["aspect"] == pytest.approx(160 / 96)
    assert found["short_side"] == 96 and found["film_frames"] == 72 and found["damaged"] == 0


@pytest.mark.slow
def test_standstill_is_measured_in_time_and_held_drawings_are_none(measured):
    assert scores_of(measured, "frozen")["still_share"] == pytest.approx(0.75, abs=0.03)
    assert scores_of(measured, "frozen")["longest_still_s"] == pytest.approx(54 / 24, abs=0.1)
    assert scores_of(measured, "twos")["still_share"] == 0


@pytest.mark.slow
def test_black_is_found_whole_and_in_part(measured):
    assert scores_of(measured, "black")["black_share"] == 1
    (row,) = measured["half"]  # the dark half is shorter than a clip may be, so it belongs to the change at the end
    assert row.scores["black_share"] < 0.1 and row.end_s == pytest.approx(1.5, abs=0.2)


@pytest.mark.slow
def test_bars_become_a_crop_of_even_numbers(measured):
    (row,) = measured["barred"]
    x, y, width, height = row.crop
    assert (x, y, width, height) == pytest.approx((20, 12, 120, 72), abs=2)
    assert not any(n % 2 for n in row.crop) and row.crop_reason.startswith("dark bars: top 12 px, bottom 12")
    assert row.scores["bars"] == pytest.approx(1 - 120 * 72 / (160 * 96), abs=0.04)
    assert measured["sound"][0].crop is None


@pytest.mark.slow
def test_blur_and_motion_are_measured(measured):
    assert scores_of(measured, "panned")["camera_motion"] == pytest.approx(2 * 24 / 96, rel=0.2)
    assert scores_of(measured, "sound")["camera_motion"] == 0 < scores_of(measured, "sound")["object_motion"]
    assert scores_of(measured, "frozen")["object_motion"] < scores_of(measured, "sound")["object_motion"]
    assert scores_of(measured, "sound")["sharpness_least"] <= scores_of(measured, "sound")["sharpness"]
