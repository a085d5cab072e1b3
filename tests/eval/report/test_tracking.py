"""Figures for experiment trackers: flat, finite, under names that MLflow and W&B take."""

from __future__ import annotations

import json
import re

import pytest

from cineloop import cli
from cineloop.errors import UsageError
from planted_scores import SUITE, result, scores, write_scores
from v2t_eval.cli import VERBS
from v2t_eval.core.scores import Scores
from v2t_eval.report import tracking

MLFLOW = re.compile(r"[/\w.\- ]{1,250}")  # of a metric's name


def run(*words):
    return cli.main("v2t-eval", "", VERBS, list(map(str, words)), package="v2t_eval")


def renamed(made, *names):
    results = [result(name, {clip.id: 0.5 for clip in made.clips}, made.clips) for name in names]
    return Scores(sources={}, clips=made.clips, results=results)


def test_names_and_numbers_of_a_scoring():
    made = scores()
    metrics = tracking.of_scores(made)
    figure = made.by_name["sharpness"].figures["sharpness"]
    assert metrics["sharpness"] == figure.value and metrics["sharpness.low"] == figure.low
    assert metrics["sharpness.n"] == 40.0 and metrics["sharpness.coverage"] == 1.0
    odd = tracking.of_scores(renamed(made, "frechet[feature=clip]", "lmms_eval.a.b[filter=x,y]", "vbench.ä b"))
    assert all(MLFLOW.fullmatch(name) and "/" not in name for name in odd) and "frechet_feature_clip.low" in odd
    # A store of files makes a file of each name: none may be the folder of another.
    assert len({name.lower() for name in odd}) == len(odd)


def test_two_metrics_are_never_logged_as_one():
    with pytest.raises(UsageError):
        tracking.of_scores(renamed(scores(), "a[b=c]", "a_b_c"))


def test_the_gate_writes_its_verdict(tmp_path, capsys):
    (tmp_path / "suite.yaml").write_text(SUITE)
    write_scores(tmp_path / "new", scores(worse=0.2, seed=2, prompts=120))
    write_scores(tmp_path / "old", scores(prompts=120))
    words = ("gate", tmp_path / "new", "--suite", tmp_path / "suite.yaml", "--baseline", tmp_path / "old/scores.json",
             "--metrics-json", tmp_path / "m.json", "--step", "1200", "-q")  # fmt: skip
    assert run(*words) == 6
    tree = json.loads((tmp_path / "m.json").read_text())
    assert tree["step"] == 1200, tree
    assert tree["metrics"]["gate.exit_code"] == 6 and tree["metrics"]["gate.pass"] == 0
    assert tree["metrics"]["sharpness.change"] == pytest.approx(-0.2, abs=0.01)
    assert tree["metrics"]["sharpness.change.low"] < tree["metrics"]["sharpness.change"]
    assert run(*words) == 2, "nothing is written over"
    assert run(*words, "--overwrite") == 6
    assert run("gate", tmp_path / "new", "--suite", tmp_path / "suite.yaml", "--step", "3") == 2
