"""The arithmetic of the cost model."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "plan_cluster.py"


def plans(monkeypatch, capsys, *words: str) -> list[dict[str, float]]:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--json", *words])
    with pytest.raises(SystemExit):
        runpy.run_path(str(SCRIPT), run_name="__main__")
    return json.loads(capsys.readouterr().out)


def test_costs_grow_with_clips_and_folders_stay_as_large_as_they_may_be(monkeypatch, capsys):
    small, large = plans(monkeypatch, capsys, "--clips", "10000,1000000000", "--overhead", "1")
    assert large["core_hours"] == pytest.approx(1e5 * small["core_hours"])
    assert (small["folders"], large["folders"]) == (1, 1000)
    assert large["merge_cpu_s_a_folder"] == pytest.approx(100 * small["merge_cpu_s_a_folder"])
    assert small["dollars"] == pytest.approx(small["core_hours"] * 0.04)


def test_a_gpu_with_too_few_cores_waits_and_is_paid_meanwhile(monkeypatch, capsys):
    rates = ("--clips", "3600", "--overhead", "1", "--decode-cpu-ms", "1000", "--cores", "2", "--core-dollars", "0")
    (fed,) = plans(monkeypatch, capsys, *rates, "--gpu-clips-per-s", "1", "--gpu-dollars", "3")
    (starved,) = plans(monkeypatch, capsys, *rates, "--gpu-clips-per-s", "4", "--gpu-dollars", "3")
    assert (fed["gpu_hours"], fed["gpu_busy"], fed["dollars"]) == (1.0, 1.0, 3.0)
    assert (starved["gpu_hours"], starved["gpu_busy"], starved["cores_a_gpu_needs"]) == (0.5, 0.5, 4.0)
