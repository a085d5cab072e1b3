"""The engine without ray, and with addresses of no cluster: one line each, and nothing reported to anyone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from cineloop.cluster import ray_engine
from cineloop.cluster.node import Driver
from cineloop.cluster.ray_engine import RayEngine
from cineloop.errors import MissingDependencyError, UsageError
from v2t import cli


def test_without_ray_one_line_and_exit_5(coloured_clips, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    clips = coloured_clips(2, folders=1)
    code = cli.main(["caption", str(clips), "-o", str(tmp_path / "out"), "--cluster", "ray", "--model", "starter"])
    errors = capsys.readouterr().err.strip().splitlines()
    assert code == 5 and "needs ray: pip install 'cineloop[cluster]'" in errors[-1]
    assert not any("Traceback" in line for line in errors)


@pytest.mark.parametrize("module", ["v2t.commands.caption"])
def test_help_does_not_import_ray(module):
    program = f"import sys, {module}; sys.exit(any(name.split('.')[0] == 'ray' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_usage_reports_are_off_before_ray_is_imported(monkeypatch):
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    seen = []

    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == "ray":
                seen.append(os.environ.get("RAY_USAGE_STATS_ENABLED"))
                raise ImportError("no ray here")

    monkeypatch.delitem(sys.modules, "ray", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.raises(MissingDependencyError, match="needs ray"), RayEngine(Driver.here(())):
        pass
    assert seen == ["0"]


def test_an_address_that_no_cluster_answers_at(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(shutdown=lambda: None))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(MissingDependencyError, match="no ray cluster answers at RAY_ADDRESS=127.0.0.1"):
            RayEngine(Driver.here(())).__enter__()
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(UsageError, match="a client cannot place workers"):
        RayEngine(Driver.here(())).__enter__()


CHILD = """
import signal, sys
from cineloop.cluster import ray_engine
from cineloop.cluster.node import Driver
ray_engine._GRACE_S = 0
ray_engine.RayHost(lambda name: None, "model-1", Driver.here(()))
print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN, flush=True)
signal.pause()
"""
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])"


def test_a_worker_ends_with_the_process_that_started_it():
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as raylet:
        assert raylet.stdout.readline() == "True\n"  # Ctrl-C is the driver's
        raylet.send_signal(signal.SIGKILL)
        assert raylet.stdout.read() == ""  # until the worker ends too: both hold the other end


def test_a_raylet_that_dies_fails_what_waits_with_one_line():
    """Ray's own code ends the process seconds later, without an exception."""
    shut = []
    worker = SimpleNamespace(
        shutdown=lambda: shut.append("ray"),
        _global_node=SimpleNamespace(all_processes={}, kill_all_processes=lambda **_: shut.append("node")),
    )
    modules = {
        "ray": SimpleNamespace(init=lambda **_: None, remote=lambda **_: lambda kind: kind, shutdown=worker.shutdown),
        "ray._private.worker": worker,
    }
    raylet = subprocess.Popen(["sleep", "600"])
    worker._global_node.all_processes["raylet"] = [SimpleNamespace(process=raylet)]
    with pytest.MonkeyPatch.context() as patch:
        for name, module in modules.items():
            patch.setitem(sys.modules, name, module)
        patch.setattr(ray_engine, "_WATCH_S", 0.01)
        patch.setattr(ray_engine, "_leave", lambda: None)
        patch.delenv("RAY_ADDRESS", raising=False)
        with RayEngine(Driver.here(())) as engine:
            waits = engine._future(SimpleNamespace(future=Future), str)  # its answer never comes
            raylet.send_signal(signal.SIGKILL)
            error = waits.exception(timeout=60)
            engine.kill("a worker")  # no call of ray, which would wait
    raylet.wait()
    assert isinstance(error, MissingDependencyError) and error.code == "CLUSTER"
    assert "raylet, exit -9" in error.message and shut == ["node"]
