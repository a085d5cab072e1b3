"""kill -9 at twenty-one moments: the same command ends with the same table; only the film in hand is read again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import killed_curation
from killed_curation import MOMENTS, NUM_CONTENTS
from planted_films import shot, write
from v2t_eval.curate.table import PARQUET

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
NAMES = [f"{place} {count}" for place, count in MOMENTS]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What became of each moment, and the table of a run that nothing happened to."""
    place = tmp_path_factory.mktemp("killed")
    films = place / "films"
    write(films / "a" / "x.mp4", shot(1), shot(2))
    write(films / "b" / "x.mp4", shot(3))
    write(films / "black.mp4", np.zeros_like(shot(1)))
    write(films / "one.mp4", shot(5))
    shutil.copy2(films / "one.mp4", films / "two.mp4")
    (place / "runs").mkdir()
    program = Path(killed_curation.__file__)
    root = str(program.resolve().parents[2])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, str(program), str(films), str(place / "runs")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), (place / "runs" / "whole" / PARQUET).read_bytes()


@pytest.mark.long
def test_there_are_twenty_moments_and_more():
    assert len(set(NAMES)) == len(NAMES) >= 20 and {place for place, _ in MOMENTS} == set(killed_curation.PLACES)


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_killed_at_any_moment_the_table_is_the_same_in_the_end(runs, name):
    outcomes, whole = runs
    found = outcomes[name]
    assert found["codes"] == [-signal.SIGKILL, 0]
    assert (Path(found["out"]) / PARQUET).read_bytes() == whole
    in_hand = name.startswith(("survey", "cache"))
    contents = [survey.replace("two", "one") for survey in found["surveys"]]  # a copy
    assert len(contents) == NUM_CONTENTS + in_hand and len(set(contents)) == 3  # both x.mp4 are called so
