"""Rules as data: every file says what was read, settings are checked, the arithmetic is that of the trainers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from cineloop.errors import UsageError
from v2t_eval.trainers.frames import take_frames, union_s
from v2t_eval.trainers.rules import load_rules, trainers
from v2t_eval.trainers.sizes import buckets, centre_crop, listed_bucket

NAMES = sorted(trainers())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_file_names_the_commit_that_was_read_and_loads_with_each_model(name):
    rules = load_rules(name)
    assert re.fullmatch(r"[0-9a-f]{40}", rules.source.commit) and re.fullmatch(r"20\d\d-\d\d-\d\d", rules.source.date)
    assert rules.source.files and rules.settings.take in rules.frames.takes
    for model in rules.models:
        own = load_rules(name, model, [f"frames=[{rules.models[model].on_grid(100)}]"])
        assert own.counts and own.own.on_grid(own.counts[0]) == own.counts[0]


def test_names_are_files_and_the_nearest_is_named():
    assert NAMES == ["ai-toolkit", "diffusion-pipe", "finetrainers", "ltx2", "musubi"]
    for given, hint in (
        (("musbi",), "musubi"),
        (("musubi", "wam"), "wan"),
        (("musubi", None, ["frmes=[33]"]), "settings.frames"),
        (("musubi", None, ["take=shrink"]), "head"),
        (("musubi", None, ["frames=[0]"]), "at least 1"),
        (("ltx2", None, ["frames=[48]"]), "8·k+1"),
        (("diffusion-pipe", None, ["frames=[1]"]), "no video"),
        (("musubi", None, ["source_fps=-3"]), "above 0"),
        (("ltx2", None, ["sizes=[[960,8]]"]), "16 pixels"),
    ):
        with pytest.raises(UsageError, match=re.escape(hint)):
            load_rules(*given)


def test_a_file_of_ones_own_stands_for_a_name(tmp_path: Path):
    text = trainers()["musubi"].read_text().replace("title: musubi-tuner", "title: mine")
    (tmp_path / "mine.yaml").write_text(text)
    assert load_rules(tmp_path / "mine.yaml").title == "mine"


def test_counts_are_rounded_to_the_grid_where_the_trainer_does_so():
    assert load_rules("musubi", None, ["frames=[16,33,35]"]).counts == (13, 33)
    assert load_rules("finetrainers", None, ["frames=[16,33]"]).counts == (16, 33)
    assert load_rules("diffusion-pipe", "minimax-h3", ["frames=[1,34,70]"]).counts == (34, 68)
    assert load_rules("ai-toolkit", "minimax-h3").own.on_grid(40) == 39


@pytest.mark.parametrize(
    ("name", "sets", "size", "bucket"),
    # Values of the trainers' own functions at the commits of the files.
    [
        ("musubi", (), (1280, 720), (960, 544)),
        ("musubi", (), (640, 480), (832, 624)),
        ("musubi", (), (720, 1280), (544, 960)),
        ("diffusion-pipe", (), (1280, 720), (640, 400)),
        ("diffusion-pipe", (), (640, 480), (576, 464)),
        ("ai-toolkit", (), (1280, 720), (672, 384)),
        ("ai-toolkit", (), (320, 180), (320, 176)),
        ("ai-toolkit", ("resolution=[768]",), (1920, 1080), (1024, 576)),
    ],
)
def test_buckets(name, sets, size, bucket):
    assert buckets(load_rules(name, None, sets), *size) == [bucket]


def test_listed_buckets_go_by_aspect_or_by_frames_first():
    sets = ["frames=[25,49]", "sizes=[[960,544],[544,960]]"]
    assert listed_bucket(load_rules("ltx2", None, sets), 720, 1280, 30) == (544, 960, 25)
    assert listed_bucket(load_rules("ltx2", None, sets), 720, 1280, 24) is None
    fine = load_rules("finetrainers", None, ["frames=[25,49]", "sizes=[[832,480],[480,832]]"])
    assert listed_bucket(fine, 720, 1280, 60) == (480, 832, 49)
    assert listed_bucket(fine, 720, 1280, 20) == (480, 832, 25)  # and all 20 frames are taken


def test_rates_are_brought_to_the_models_as_each_trainer_does():
    thinned = take_frames(load_rules("musubi", None, ["source_fps=30"]), 100, 30.0, (960, 544))
    assert thinned.runs[0][:6].tolist() == [0, 2, 4, 6, 8, 10] and len(thinned.runs[0]) == 33
    even = take_frames(load_rules("diffusion-pipe", None, ["frames=[49]"]), 49, 16.0041, (960, 544))
    assert even.runs == () and even.num_seen == 48  # 49 frames at a rate a hair above 16
    slow = take_frames(load_rules("diffusion-pipe"), 60, 12.0, (960, 544))
    assert slow.num_seen == 80 and slow.repeated > 5
    shrunk = take_frames(load_rules("ai-toolkit"), 16, 16.0, (960, 544))
    assert len(shrunk.runs[0]) == 33 and shrunk.repeated == 17
    auto = take_frames(load_rules("ai-toolkit", None, ["take=auto"]), 100, 24.0, (960, 544))
    assert len(auto.runs[0]) == 65 and auto.runs[0][:4].tolist() == [0, 2, 3, 4]  # round(1.5 i), ties to even


def test_takes_of_a_long_clip():
    runs = {}
    for take in ("head", "chunk", "slide", "uniform", "full"):
        rules = load_rules("musubi", None, [f"take={take}", "frames=[17]", "samples=3", "stride=20"])
        runs[take] = take_frames(rules, 60, 16.0, (960, 544)).runs
    starts = {take: [int(run[0]) for run in each] for take, each in runs.items()}
    assert starts == {"head": [0], "chunk": [0, 17, 34], "slide": [0, 20, 40], "uniform": [0, 21, 43], "full": [0]}
    assert len(runs["full"][0]) == 57
    times_s = np.arange(60) / 16
    assert union_s(runs["slide"], times_s, 60 / 16) == pytest.approx(51 / 16)
    assert union_s(runs["chunk"], times_s, 60 / 16) == pytest.approx(51 / 16)


def test_the_crop_is_even_central_and_of_the_buckets_aspect():
    assert centre_crop(1280, 720, (960, 544)) == (4, 0, 1270, 720)
    assert centre_crop(720, 1280, (960, 544)) == (0, 436, 720, 408)
    assert centre_crop(720, 576, (960, 544), 64 / 45) == (2, 0, 714, 576)
