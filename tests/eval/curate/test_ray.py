"""A curation on a true cluster of ray: the table of one worker."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cineloop.cluster import journals
from planted_films import shot, write
from v2t_eval.cli import main
from v2t_eval.curate.table import PARQUET

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray"), pytest.mark.timeout(1800)]
WAIT_S = 900.0
STEPS = "steps=[probe, copies, split, shape, black, frozen, sharpness, motion, text, near_copies]"


@pytest.mark.long
def test_a_cluster_of_ray_gives_the_table_of_one_worker(nodes, tmp_path):
    films = tmp_path / "films"
    for number in range(3):
        write(films / f"übung {number}.mp4", shot(2 * number), shot(2 * number + 1))
    (films / "text.mp4").write_text("no film")
    command = ["curate", str(films), "--set", STEPS, "--set", 'settings.near_copies.model=""', "--quiet"]
    assert main([*command, "-o", str(tmp_path / "one"), "--workers", "1"]) == 3
    program = [sys.executable, "-c", "import sys; from v2t_eval.cli import main; sys.exit(main(sys.argv[1:]))"]
    options = ["--cluster", "ray", "--decode-workers", "1..2", "--model-workers", "1"]
    run = subprocess.run(
        [*program, *command, "-o", str(tmp_path / "ray"), *options],
        env=nodes.env, timeout=WAIT_S, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 3, run.stderr
    assert (tmp_path / "ray" / PARQUET).read_bytes() == (tmp_path / "one" / PARQUET).read_bytes()
    assert not journals.journals(tmp_path / "ray" / ".cineloop")
