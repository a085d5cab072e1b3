"""Aesthetic: the metric aesthetic_quality with a head of the user's; without one nothing is rated, and that is said."""

from __future__ import annotations

import numpy as np
import pytest
from pyarrow import parquet
from safetensors.numpy import save_file

from cineloop.discovery import discover
from planted_films import shot, write
from v2t_eval.core.executor import ExecutorConfig
from v2t_eval.core.features import open_extractor
from v2t_eval.curate.recipe import read_plan
from v2t_eval.curate.run import curate
from v2t_eval.curate.table import PARQUET


def curated(films, out, *sets):
    plan = read_plan(None, ["steps=[probe, shape, aesthetic]", *sets])
    curate(discover([str(films)]), plan, out, ExecutorConfig(cache=out / ".cineloop"))
    return {row["source"]: row["scores"]["aesthetic"] for row in parquet.read_table(out / PARQUET).to_pylist()}


@pytest.mark.slow
def test_clips_are_rated_by_the_head_that_is_named(tmp_path, caplog):
    for name, level in (("dark", 0.3), ("bright", 1.0)):
        write(tmp_path / "films" / f"{name}.mp4", (shot(1, 12) * level).astype(np.uint8))
    width = open_extractor("starter").embed_frames(np.zeros((1, 32, 32, 3), np.uint8)).shape[1]
    weight = np.zeros((1, width), np.float32)
    weight[0, 0] = 1.0
    save_file({"weight": weight, "bias": np.full(1, 5.0, np.float32)}, tmp_path / "head.safetensors")
    settings = ["settings.aesthetic.model=starter", f"settings.aesthetic.head={tmp_path / 'head.safetensors'}"]
    found = curated(tmp_path / "films", tmp_path / "set", *settings)
    assert found["dark.mp4"] != found["bright.mp4"] and all(0.4 <= value <= 0.6 for value in found.values())
    assert curated(tmp_path / "films", tmp_path / "none") == {"dark.mp4": None, "bright.mp4": None}
    assert "nothing is rated, since no head is named" in caplog.text
