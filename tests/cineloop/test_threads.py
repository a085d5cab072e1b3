"""Threads by what the process may use, waiting passively, whatever command is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cineloop import threads

VARIABLES = ("OMP_WAIT_POLICY", "KMP_BLOCKTIME", "OMP_NUM_THREADS")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of 8 CPUs on which `machine(path, text)` writes files of control groups."""
    monkeypatch.setattr(threads, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(threads, "_OWN_CGROUP", tmp_path / "own")
    monkeypatch.setattr(threads, "_affinity", lambda: 8)

    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write


@pytest.mark.parametrize(("limit", "cpus"), [("max 100000", 8), ("250000 100000", 3), ("10000 100000", 1)])
def test_a_quota_of_cgroup_v2_limits_the_cpus(machine, limit, cpus):
    machine("own", "0::/\n")
    machine("cgroup/cpu.max", limit + "\n")
    assert threads.usable_cpus() == cpus


def test_the_narrowest_of_nested_groups_counts(machine):
    machine("own", "0::/user/job\n")
    machine("cgroup/user/cpu.max", "200000 100000\n")
    machine("cgroup/user/job/cpu.max", "max 100000\n")
    assert threads.usable_cpus() == 2


def test_a_quota_of_cgroup_v1_limits_the_cpus(machine):
    machine("own", "5:memory:/box\n4:cpu,cpuacct:/box\n")
    machine("cgroup/cpu/cpu.cfs_quota_us", "300000\n")
    machine("cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert threads.usable_cpus() == 3
    machine("cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    assert threads.usable_cpus() == 8


def test_no_control_groups_leave_the_affinity(machine):
    assert threads.usable_cpus() == 8


def test_the_number_of_threads_is_left_to_torch_where_no_quota_limits_it(machine, monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    threads.prepare()
    assert "OMP_NUM_THREADS" not in os.environ
    machine("own", "0::/\n")
    machine("cgroup/cpu.max", "200000 100000\n")
    threads.prepare()
    assert os.environ["OMP_NUM_THREADS"] == "2"


@pytest.mark.slow
@pytest.mark.parametrize("package", ["v2t", "t2v", "v2t_eval"])
@pytest.mark.parametrize("set_by_user", [{}, {"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": "5"}])
def test_every_command_waits_passively_unless_told_otherwise(package, set_by_user):
    code = (
        f"import json, os, sys; from {package}.cli import main\n"
        "try: main(['--version'])\nexcept SystemExit: pass\n"
        f"print(json.dumps([{{n: os.environ.get(n) for n in {VARIABLES}}}, 'torch' in sys.modules]))"
    )
    env = {name: value for name, value in os.environ.items() if name not in VARIABLES} | set_by_user
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=root, capture_output=True, text=True, timeout=120)
    found, torch_is_loaded = json.loads(done.stdout.splitlines()[-1])
    assert found["OMP_WAIT_POLICY"] == set_by_user.get("OMP_WAIT_POLICY", "PASSIVE")
    assert found["KMP_BLOCKTIME"] == "0"
    assert set_by_user.get("OMP_NUM_THREADS") in (None, found["OMP_NUM_THREADS"])
    assert not torch_is_loaded  # set before torch is loaded, or OpenMP does not see them
