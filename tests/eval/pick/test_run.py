"""A pick from checkpoints to report: what is best, what copies, bad checkpoints, continued runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import level_generator
from cineloop.errors import MissingDependencyError, NothingMatchedError, UsageError
from cineloop.video.encode import encode
from full_disk import full_disk
from level_generator import picture, write_checkpoint
from v2t_eval.cli import main
from v2t_eval.pick.run import run
from v2t_eval.pick.settings import PickConfig

GENERATOR = str(Path(level_generator.__file__))
METRIC = '''
from v2t_eval.core.metric import BaseMetric, Summary, items_of


class Metric(BaseMetric):
    """Mean level."""

    name, level, needs, version = "bright", "clip", ("frames",), 1
    higher_is_better, value_range = True, (0.0, 255.0)

    def measure(self, sample):
        return {"value": float(sample.frames.pixels.mean())}

    def summarise(self, rows, references):
        return Summary(headline=self.name, figures={self.name: self.mean(rows)}, items=items_of(rows))
'''


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Prompts and a suite of one metric."""
    monkeypatch.chdir(tmp_path)
    Path("prompts.txt").write_text("\n".join(f"prompt {n}" for n in range(20)))
    Path("bright.py").write_text(METRIC)
    Path("suite.yaml").write_text("name: s\nmetrics: [bright.py]\n")
    return tmp_path


def config(**given) -> PickConfig:
    usual = {"checkpoints": ("ck",), "prompts": ("prompts.txt",), "generator": GENERATOR, "suite": "suite.yaml"}
    return PickConfig(**{**usual, **given})


def names(pick, status):
    return sorted(one.name for one in pick.standings if one.status == status)


@pytest.mark.slow
def test_the_best_is_picked_what_is_worse_dropped_and_what_fails_named(place):
    for step, level in ((9, 20), (10, 160), (11, 25)):
        write_checkpoint(Path(f"ck/step-{step}"), level=level)
    write_checkpoint(Path("ck/step-12"), fault="load")
    write_checkpoint(Path("ck/step-13"), fault="nan")
    Path("ck/empty").mkdir()
    pick = run(config(), Path("out"))
    assert pick.best.name == "step-10" and names(pick, "worse") == ["step-11", "step-9"]
    assert names(pick, "failed") == ["empty", "step-12", "step-13"] and pick.exit_code == 3
    assert [look.prompts for look in pick.rounds] == [16] and pick.draws == 48 < pick.all_draws == 60
    data = json.loads(Path("out/pick.json").read_text())
    whys = {one["name"]: one["why"].partition(":")[0] for one in data["checkpoints"] if one["status"] == "failed"}
    assert whys == {"empty": "NO_WEIGHTS", "step-12": "ENVIRONMENT", "step-13": "MODEL_ERROR"}
    page = Path("out/report.html").read_text()
    assert page.count("drawn/step-9/clips/") == page.count("drawn/step-10/clips/") > 10


@pytest.mark.slow
def test_equal_ones_are_not_told_apart(place):
    for step in (1, 2):
        write_checkpoint(Path(f"ck/step-{step}"), level=100, mark=step)
    pick = run(config(), Path("out"))
    assert len(pick.tied) == 1 and pick.exit_code == 8 and pick.more_prompts is None
    assert pick.draws == pick.all_draws == 40


@pytest.mark.slow
def test_a_checkpoint_that_copies_is_not_picked_and_the_first_such_step_is_named(place):
    write_checkpoint(Path("ck/step-1"), level=60)
    write_checkpoint(Path("ck/step-2"), level=10)
    write_checkpoint(Path("ck/step-3"), level=200, copies=5, of=[f"words {n}" for n in range(8)])
    write_checkpoint(Path("ck/step-4"), copies=6)
    for n in range(8):
        Path("set").mkdir(exist_ok=True)
        encode(np.stack([picture(n)] * 3), Path(f"set/{n}.mp4"), fps=8)
        Path(f"set/{n}.txt").write_text(f"words {n}")
    pick = run(config(training_set=Path("set"), prompts=("prompts.txt",)), Path("out"))
    assert pick.best.name == "step-1" and names(pick, "copies") == ["step-3", "step-4"]
    assert pick.copies_from.name == "step-3"
    by_name = {one.name: one for one in pick.standings}
    assert len(by_name["step-3"].training.pairs) == 8 and {pair[1] for pair in by_name["step-4"].held_out.pairs} == {
        "6.mp4"
    }
    assert by_name["step-1"].training.pairs == by_name["step-1"].held_out.pairs == ()
    alone = run(config(training_set=Path("set"), checkpoints=("ck/step-3", "ck/step-4")), Path("other"))
    assert alone.best is None and alone.exit_code == 6


@pytest.mark.slow
def test_clips_that_a_checkpoint_cannot_make_count_as_the_worst_and_sizes_that_differ_are_noted(place):
    write_checkpoint(Path("ck/a-1"), level=100, size=32)
    write_checkpoint(Path("ck/a-2"), level=100, size=16)
    pick = run(config(), Path("out"))
    assert [notice.code for notice in pick.notices] == ["DIFFERENT_SIZES"]


@pytest.mark.slow
def test_prompts_may_be_added_and_other_settings_are_refused(place):
    for step, level in ((1, 100), (2, 104)):
        write_checkpoint(Path(f"ck/step-{step}"), level=level, mark=step)
    first = run(config(), Path("out"))
    assert [look.prompts for look in first.rounds] == [16, 20] and first.tied
    Path("more.txt").write_text("\n".join(f"another prompt {n}" for n in range(10)))
    more = run(config(prompts=("prompts.txt", "more.txt")), Path("out"))
    assert [look.prompts for look in more.rounds] == [16, 20, 24, 30] and more.draws == more.all_draws == 60
    for given in ({"seed": 1}, {"prompts": ("more.txt",)}, {"checkpoints": ("ck/step-1", "ck2")}):
        write_checkpoint(Path("ck2"), level=3) if not Path("ck2").exists() else None
        with pytest.raises(UsageError) as error:
            run(config(**given), Path("out"))
        assert error.value.code == "OTHER_SETTINGS"


def test_empty_prompts_a_metric_without_direction_and_no_checkpoint_that_loads_are_refused(place):
    for step in (1, 2):
        write_checkpoint(Path(f"ck/step-{step}"), fault="load", mark=step)
    Path("none.txt").write_text("\n# nothing\n")
    with pytest.raises(NothingMatchedError):
        run(config(prompts=("none.txt",)), Path("out"))
    for by in ("motion", "diversity"):
        with pytest.raises(UsageError):
            run(config(by=by), Path("out"))
    with pytest.raises(MissingDependencyError) as error:
        run(config(), Path("out"))
    assert error.value.code == "NO_CHECKPOINT"
    with pytest.raises(UsageError):
        config(prompts=())


@pytest.mark.slow
def test_a_full_disk_ends_the_pick_with_its_code_and_blames_no_checkpoint(place):
    for step in (1, 2):
        write_checkpoint(Path(f"ck/step-{step}"), level=100, mark=step)
    with full_disk(1200), pytest.raises(MissingDependencyError) as error:
        run(config(), Path("out"))
    assert error.value.code == "DISK_FULL"
    assert run(config(), Path("out")).prompts == 20


def test_a_dry_run_lists_and_writes_nothing(place, capsys):
    for step in (2, 10):
        write_checkpoint(Path(f"ck/step-{step}"), level=100, mark=step)
    words = ["pick", "ck", "--prompts", "prompts.txt", "-o", "out", "--generator", GENERATOR, "--dry-run", "--json"]
    assert main(words) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == ["step-2", "step-10"]
    assert not Path("out").exists()


@pytest.mark.long
@pytest.mark.xdist_group("machine")
def test_a_pick_that_is_killed_again_and_again_comes_to_the_same_end(place):
    for step, level in ((1, 60), (2, 100), (3, 104)):
        write_checkpoint(Path(f"ck/step-{step}"), level=level)
    whole = run(config(), Path("whole"))
    command = [sys.executable, "-m", "v2t_eval", "pick", "ck", "--prompts", "prompts.txt", "-o", "out", "--generator",
               GENERATOR, "--suite", "suite.yaml", "--quiet"]  # fmt: skip
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(GENERATOR).parent), os.environ.get("PYTHONPATH", "")])}
    drawn = Path("out/drawn")
    for clips in (3, 20, 40):
        process = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while process.poll() is None and len(list(drawn.glob("*/clips/*.mp4"))) < clips:
            time.sleep(0.01)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
    assert subprocess.run(command, env=env, stdout=subprocess.DEVNULL, check=False).returncode == whole.exit_code
    assert Path("out/pick.json").read_bytes() == Path("whole/pick.json").read_bytes()
