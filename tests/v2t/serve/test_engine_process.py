"""A stand-in engine of a few lines as a child process: it starts, dies, hangs, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

import live_processes
from cineloop.errors import MissingDependencyError
from live_processes import is_running
from v2t.serve import engine_process
from v2t.serve.engine_process import EngineCommand, EngineProcess, private_folder

pytestmark = pytest.mark.xdist_group("machine")

LONG_S = 90.0
ROOT = str(Path(__file__).resolve().parents[3])
PYTHONPATH = os.pathsep.join([ROOT, str(Path(live_processes.__file__).parent)])  # of programs that import this file
# Notes its process id and its child's; what it is asked for, it does.
STAND_IN = """
import os, signal, socketserver, subprocess, sys, time
from http.server import BaseHTTPRequestHandler
path, notes, what = sys.argv[1], sys.argv[2], sys.argv[3]
print("hello from the stand-in \\x1b[31m", flush=True)
if what == "fail":
    sys.exit("no such \\x1b[31mmodel")
if what == "mute":
    time.sleep(600)
child = subprocess.Popen([sys.executable, "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"])
with open(notes + "~", "w") as file:
    print(os.getpid(), child.pid, file=file)
os.rename(notes + "~", notes)
hanging = False
class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args): pass
    def address_string(self): return "socket"
    def do_GET(self):
        global hanging
        if self.path == "/die":
            os._exit(7)
        hanging = hanging or self.path == "/hang"
        if hanging:
            time.sleep(600)
        self.send_response(200)
        self.end_headers()
class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
Server(path, Handler).serve_forever()
"""


class Stage:
    """A stand-in as an engine's process, and what was noted of it."""

    def __init__(self, folder: Path, what: str = "serve", check_s: float = 1.0, **settings) -> None:
        script = folder / "stand_in.py"
        script.write_text(STAND_IN)
        self.notes = folder / "notes"
        home = private_folder()
        settings = {"argv": (sys.executable, str(script), str(home / "s"), str(self.notes), what), **settings}
        command = EngineCommand(
            env={**os.environ, "PYTHONPATH": PYTHONPATH},
            name="stand-in",
            socket=home / "s",
            **{"starts_in_s": LONG_S, "stop_s": 5.0, **settings},
        )
        self.engine = EngineProcess(command, check_s=check_s)
        self.home = home

    async def __aenter__(self) -> Stage:
        await self.engine.start()
        return self

    async def __aexit__(self, *exc) -> None:
        await self.engine.stop()

    def processes(self) -> list[int]:
        """The engine and its child."""
        return [int(word) for word in self.notes.read_text().split()]


async def until(condition) -> None:
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def run(main) -> None:
    asyncio.run(asyncio.wait_for(main, 4 * LONG_S))


@pytest.mark.slow
def test_it_starts_answers_and_ends_without_a_trace(tmp_path):
    async def main() -> None:
        async with Stage(tmp_path) as stage:
            engine = stage.engine
            assert engine.state == "starting"
            await engine.ready()
            assert engine.state == "ready"
            assert (await engine.client.get("/any")).status_code == 200
            assert oct(stage.home.stat().st_mode)[-3:] == "700"
            processes = stage.processes()
            assert processes[0] == engine.pid and all(map(is_running, processes))
        assert engine.state == "stopped" and not any(map(is_running, processes)) and not stage.home.exists()
        await engine.stop()  # once more does no harm
        with pytest.raises(MissingDependencyError) as failed:
            await engine.ready()
        assert failed.value.code == "ENGINE"

    run(main())


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(("path", "why"), [("/die", "ended with status 7"), ("/hang", "failed 3 health checks")])
def test_an_engine_that_dies_or_hangs_is_ended_with_its_children_and_reported(tmp_path, path, why):
    async def main() -> None:
        async with Stage(tmp_path) as stage:
            await stage.engine.ready()
            asking = asyncio.create_task(stage.engine.client.get(path))
            with pytest.raises(MissingDependencyError, match=why) as failed:
                await stage.engine.until_failure()
            with pytest.raises(httpx.TransportError):
                await asking
            assert "hello from the stand-in \\u001b[31m" in str(failed.value)
            assert stage.engine.state == "stopped" and not any(map(is_running, stage.processes()))
        assert not stage.home.exists()

    run(main())


@pytest.mark.slow
def test_an_engine_that_is_killed_is_reported_though_its_log_is_gone(tmp_path):
    async def main() -> None:
        async with Stage(tmp_path) as stage:
            await stage.engine.ready()
            (stage.home / "engine.log").unlink()
            os.kill(stage.processes()[0], signal.SIGKILL)
            with pytest.raises(MissingDependencyError, match=r"was killed by SIGKILL(.|\n)*\(none\)"):
                await stage.engine.until_failure()

    run(main())


@pytest.mark.slow
def test_a_failed_start_is_reported_with_the_end_of_the_log(tmp_path):
    async def main() -> None:
        async with Stage(tmp_path, "fail") as stage:
            with pytest.raises(MissingDependencyError, match="ended with status 1") as failed:
                await stage.engine.ready()
            assert "hello from the stand-in" in str(failed.value) and "no such" in str(failed.value)
            assert "\x1b" not in str(failed.value) and stage.engine.state == "stopped"
        async with Stage(tmp_path, argv=(str(tmp_path / "nothing"),)) as stage:
            with pytest.raises(MissingDependencyError, match="ended with status 127(.|\n)*nothing.*not found"):
                await stage.engine.ready()
        assert not stage.home.exists()

    run(main())


@pytest.mark.slow
def test_a_start_that_takes_too_long_is_given_up(tmp_path):
    async def main() -> None:
        async with Stage(tmp_path, "mute", starts_in_s=0.5) as stage:
            with pytest.raises(MissingDependencyError, match="did not answer within 0 s"):
                await stage.engine.ready()
        assert not stage.home.exists()

    run(main())


@pytest.mark.slow
def test_stop_in_the_middle_of_a_start_and_twice_at_once_leaves_nothing(tmp_path):
    async def main() -> None:
        async with Stage(tmp_path) as stage:
            await until(stage.notes.exists)
            await asyncio.gather(stage.engine.stop(), stage.engine.stop())
        assert not any(map(is_running, stage.processes())) and not stage.home.exists()

    run(main())


@pytest.mark.slow
def test_the_log_is_kept_short(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_process, "_MAX_LOG_BYTES", 10)

    async def main() -> None:
        async with Stage(tmp_path) as stage:
            log = stage.home / "engine.log"
            await stage.engine.ready()
            await until(lambda: log.stat().st_size == 0)

    run(main())


# Killed in this way nothing of the server's own runs any more: only the pipe shows that it is gone.
DRIVER = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_engine_process import Stage
async def main():
    stage = Stage(Path(sys.argv[2]))
    await stage.engine.start()
    await stage.engine.ready()
    print(stage.home, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


@pytest.mark.slow
def test_when_the_server_is_killed_the_engine_and_its_children_end_too(tmp_path):
    out = tmp_path / "out"
    with open(out, "wb") as file:
        driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(Path(__file__).parent), str(tmp_path)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": PYTHONPATH},
        )
    processes: list[int] = []
    try:
        deadline = time.monotonic() + LONG_S
        while not out.read_text().endswith("\n"):
            assert driver.poll() is None and time.monotonic() < deadline, out.read_text()
            time.sleep(0.02)
        folder = Path(out.read_text().strip())
        processes = [int(word) for word in (tmp_path / "notes").read_text().split()]
        assert folder.is_dir() and len(processes) == 2 and all(map(is_running, processes))
        driver.kill()
        driver.wait()
        while folder.exists() or any(map(is_running, processes)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        driver.kill()
        driver.wait()
        for process in filter(is_running, processes):
            os.kill(process, signal.SIGKILL)


def test_the_private_folder_is_private_and_short_enough_for_a_socket(monkeypatch, tmp_path):
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    monkeypatch.setattr(engine_process.tempfile, "tempdir", str(deep))
    folder = private_folder()
    try:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700 and not any(folder.iterdir())
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(folder / "engine.sock"))
        (folder / "engine.sock").unlink()
    finally:
        folder.rmdir()
