"""Metrics of sound: known values, by hand and through a scoring of files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cineloop.audio.track import Sound
from cineloop.errors import ItemError
from sounding_films import sweep, write_film
from v2t_eval.cli import main
from v2t_eval.core.metric import load_metric
from v2t_eval.core.sample import Sample, SampleClip

RATE = 16_000


def value(name: str, samples: np.ndarray, **settings) -> float:
    sound = Sound(samples=samples.astype(np.float32), rate=RATE, start_s=0.0, is_last=True)
    sample = Sample(id="a", clip=SampleClip(content="a", sound=sound))
    return float(load_metric(name)(**settings).measure(sample)["value"])


def noise(seconds: float, level: float = 0.1) -> np.ndarray:
    return np.random.default_rng(0).normal(0, level, round(seconds * RATE))


def test_silence_is_the_share_of_time_below_the_threshold() -> None:
    quiet = np.zeros(RATE)
    assert value("silence", np.concatenate([noise(3), quiet])) == pytest.approx(0.25)
    assert value("silence", quiet) == 1 and value("silence", noise(1)) == 0
    hum = np.full(RATE, 0.002)  # -54 dB
    assert value("silence", hum) == 0 and value("silence", hum, below_db=-50.0) == 1
    assert value("silence", np.stack([quiet, noise(1)], 1)) == 0  # one channel is enough


def test_the_longest_silence() -> None:
    sound = np.concatenate([np.zeros(RATE // 2), noise(1), np.zeros(RATE), noise(0.5)]).astype(np.float32)
    sample = Sample(
        id="a", clip=SampleClip(content="a", sound=Sound(samples=sound, rate=RATE, start_s=0.0, is_last=True))
    )
    assert load_metric("silence")().measure(sample)["longest_s"] == pytest.approx(1.0)


def test_clipping_counts_runs_at_full_scale() -> None:
    loud = np.clip(3 * np.sin(2 * np.pi * 50 * np.arange(RATE) / RATE), -1, 1)
    assert value("clipping", loud) == pytest.approx(1 - 2 * np.arcsin(1 / 3) / np.pi, abs=0.02)
    peaks = np.zeros(RATE)
    peaks[::10] = peaks[1::10] = 1  # two samples are no run
    assert value("clipping", peaks) == 0
    swings = np.resize([1.0, -1.0], RATE)  # at full scale, of changing sign
    assert value("clipping", swings) == 0


def test_loudness_of_a_known_tone() -> None:
    tone = 0.1 * np.sin(2 * np.pi * 997 * np.arange(3 * RATE) / RATE)
    assert value("loudness", tone) == pytest.approx(-23.01, abs=0.1)
    assert value("loudness", np.zeros(RATE)) == -70


@pytest.mark.parametrize("name", ["silence", "clipping", "loudness"])
def test_too_short_and_no_sound(name: str) -> None:
    with pytest.raises(ItemError) as caught:
        value(name, np.zeros(2))
    assert caught.value.code == "TOO_SHORT"
    with pytest.raises(ItemError) as caught:
        load_metric(name)().measure(Sample(id="a", clip=SampleClip(content="a")))
    assert caught.value.code == "NO_SOUND"


def test_a_scoring_of_films_with_and_without_sound(tmp_path: Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    write_film(films / "tone.mkv", [(sweep(2, RATE), RATE, 0.0)], seconds=2, codec="flac")
    write_film(films / "muted.mkv", [(0 * sweep(2, RATE), RATE, 0.0)], seconds=2, codec="flac")
    write_film(films / "none.mkv", [], seconds=2)
    out = tmp_path / "scores"
    line = ["score", str(films), "--metrics", "silence,loudness,clipping,sharpness", "-o", str(out)]
    assert main(line) == 3
    metrics = json.loads((out / "scores.json").read_text())["results"]
    by_name = {metric["name"]: metric for metric in metrics}
    silent = {item["id"]: item["value"] for item in by_name["silence"]["items"]}
    assert silent == {"tone.mkv": pytest.approx(0, abs=0.05), "muted.mkv": 1}
    for name in ("silence", "loudness", "clipping"):
        failures = by_name[name]["failures"]
        assert [(failure["id"], failure["code"]) for failure in failures] == [("none.mkv", "NO_AUDIO_STREAM")]
    assert by_name["sharpness"]["coverage"] == 1  # the picture is whole
    assert main([*line, "--overwrite"]) == 3  # from the cache
    again = json.loads((out / "scores.json").read_text())["results"]
    assert [metric["items"] for metric in again] == [metric["items"] for metric in metrics]
