"""A stand-in engine of a few lines, supervised: it starts, dies, hangs and leaves things behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from cineloop.errors import MissingDependencyError
from v2t.serve.supervision import group as process_group
from v2t.serve.supervision import supervisor
from v2t.serve.supervision.child import EngineCommand, private_folder
from v2t.serve.supervision.supervisor import EngineProcess, Pace

pytestmark = pytest.mark.xdist_group("machine")

LONG_S = 90.0
SHARED = Path("/dev/shm")
PACE = Pace(poll_s=0.02, health_s=0.1, hang_s=3.0, first_s=0.05, most_s=0.1)
# Notes its process id and its child's; what it is asked for, it does.
STAND_IN = """
import os, signal, socket, socketserver, subprocess, sys, time
from http.server import BaseHTTPRequestHandler
path, notes, what = sys.argv[1], sys.argv[2], sys.argv[3]
if os.path.exists(notes + ".shm"):
    os.unlink(notes + ".shm")
print("hello from the stand-in \\x1b[31m", flush=True)
if what == "fail":
    sys.exit("no such \\x1b[31mmodel")
if what == "mute":
    time.sleep(600)
child = subprocess.Popen([sys.executable, "-c", "import time, signal\\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\\n"
    "import multiprocessing, os, sys\\n"
    "from multiprocessing import shared_memory, resource_tracker\\n"
    "entry = shared_memory.SharedMemory(create=True, size=64)\\n"
    "lock = multiprocessing.get_context('spawn').Lock()\\n"
    "resource_tracker.unregister(entry._name, 'shared_memory')\\n"
    "resource_tracker.unregister(lock._semlock.name, 'semaphore')\\n"
    "name = 'sem.' + lock._semlock.name.strip('/')\\n"
    "print(entry.name, name, file=open(sys.argv[1] + '~', 'w'), flush=True)\\n"
    "os.rename(sys.argv[1] + '~', sys.argv[1])\\n"
    "time.sleep(600)", notes + ".shm"])
while not os.path.exists(notes + ".shm"):
    time.sleep(0.01)
with open(notes, "a") as file:
    print(os.getpid(), child.pid, file=file)
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
        if self.path == "/metrics":
            steps = 7 if what == "stuck" else time.monotonic()
            self.wfile.write(f"steps {steps}".encode())
            return
        self.wfile.write("\\n".join(os.environ).encode())
class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
Server(path, Handler).serve_forever()
"""


class Stage:
    """A stand-in under supervision, and what was noted of it."""

    def __init__(self, folder: Path, what: str = "serve", **settings) -> None:
        script = folder / "stand_in.py"
        script.write_text(STAND_IN)
        self.notes = folder / "notes"
        self.said: list[str] = []
        home = private_folder()
        self.engine = EngineProcess(
            EngineCommand(
                argv=(sys.executable, str(script), str(home / "s"), str(self.notes), what),
                env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[4])},
                name="stand-in",
                socket=home / "s",
                **{"starts_in_s": LONG_S, "stop_s": 5.0, **settings},
            ),
            say=self.said.append,
            pace=PACE,
        )

    async def __aenter__(self) -> Stage:
        await self.engine.start()
        return self

    async def __aexit__(self, *exc) -> None:
        await self.engine.stop()

    def processes(self) -> list[int]:
        """Of each start the engine and its child, in order."""
        return [int(word) for word in self.notes.read_text().split()]

    async def until(self, condition) -> None:
        deadline = time.monotonic() + LONG_S
        while not condition():
            assert time.monotonic() < deadline, (self.engine.state, self.said)
            await asyncio.sleep(0.02)

    async def again(self) -> None:
        """Wait until it was started again and answers."""
        before = self.engine.restarts
        await self.until(lambda: self.engine.restarts > before and self.engine.state == "ready")


def shared(folder: Path) -> list[Path]:
    """The shared memory and the semaphore that the stand-in's child has made."""
    return [SHARED / name for name in (folder / "notes.shm").read_text().split()]


def is_there(process: int) -> bool:
    """Whether the process exists, if only as a zombie."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def run(main) -> None:
    asyncio.run(asyncio.wait_for(main, 4 * LONG_S))


def test_it_starts_answers_and_ends_without_a_trace(tmp_path):
    async def main() -> None:
        before = process_group.adopt(False)
        async with Stage(tmp_path) as stage:
            engine = stage.engine
            if sys.platform == "linux":
                assert process_group.adopt(True)  # its orphans come to this process
            assert engine.state == "starting"
            await engine.ready(LONG_S)
            assert engine.state == "ready" and engine.restarts == 0
            assert (await engine.client.get("/any")).status_code == 200
            assert oct(engine.command.socket.parent.stat().st_mode)[-3:] == "700"
            processes = stage.processes()
            entries = shared(tmp_path)
            assert len(processes) == 2 and all(map(is_there, processes))
            assert not SHARED.is_dir() or all(entry.exists() for entry in entries)
        assert engine.state == "stopped" and not any(map(is_there, processes))
        assert not process_group.adopt(before)
        assert not engine.command.socket.parent.exists() and not any(entry.exists() for entry in entries)
        await engine.stop()  # once more does no harm
        with pytest.raises(MissingDependencyError, match="stopped"):
            await engine.ready(1)

    run(main())


def test_a_death_is_noticed_all_of_the_group_is_ended_and_it_is_started_again(tmp_path):
    async def main() -> None:
        async with Stage(tmp_path) as stage:
            await stage.engine.ready(LONG_S)
            leader, child = stage.processes()
            entries = shared(tmp_path)
            with pytest.raises(httpx.TransportError):
                await stage.engine.client.get("/die")
            stage.engine.note_broken()
            assert stage.engine.state != "ready" or is_there(leader)
            await stage.again()
            assert not is_there(leader) and not is_there(child) and not any(entry.exists() for entry in entries)
            assert (await stage.engine.client.get("/any")).status_code == 200
            (told,) = [said for said in stage.said if "status 7" in said]
            assert "starting it again" in told and "hello from the stand-in \\u001b[31m" in told
            os.kill(stage.processes()[2], signal.SIGKILL)
            await stage.again()
            assert any("SIGKILL" in said for said in stage.said) and stage.engine.restarts == 2
        assert not any(map(is_there, stage.processes()))

    run(main())


def test_it_is_watched_on_when_somebody_clears_its_log_away(tmp_path, monkeypatch):
    async def main() -> None:
        async with Stage(tmp_path) as stage:
            await stage.engine.ready(LONG_S)
            monkeypatch.setattr(supervisor, "_SHARED_EVERY_S", 0.0)
            (stage.engine.command.socket.parent / "engine.log").unlink()
            os.kill(stage.processes()[0], signal.SIGKILL)
            await stage.again()

    run(main())


def test_a_hang_is_noticed_and_it_is_started_again(tmp_path):
    async def main() -> None:
        async with Stage(tmp_path) as stage:
            await stage.engine.ready(LONG_S)
            hanging = asyncio.create_task(stage.engine.client.get("/hang"))
            await stage.again()
            with pytest.raises(httpx.TransportError):
                await hanging
            assert any("no sign of health" in said for said in stage.said)
            assert not any(map(is_there, stage.processes()[:2]))

    run(main())


@pytest.mark.slow
@pytest.mark.parametrize("what", ["stuck", "serve"])
def test_one_that_answers_but_works_on_nothing_is_started_again(tmp_path, what):
    def steps(metrics: str) -> float:
        return float(metrics.removeprefix("steps "))

    async def main() -> None:
        async with Stage(tmp_path, what, answer_s=1.0, steps=steps) as stage:
            await stage.engine.ready(LONG_S)
            await asyncio.sleep(2.0)  # nobody asks: nothing is to be done
            assert stage.engine.restarts == 0
            if what == "serve":
                async with stage.engine.at_work():
                    await asyncio.sleep(3.0)
                assert stage.engine.state == "ready" and stage.engine.restarts == 0
                return
            while not any("worked on nothing" in said for said in stage.said):
                async with stage.engine.at_work():  # one after another, as a client that gives up and asks again
                    await asyncio.sleep(0.3)
            await stage.until(lambda: stage.engine.restarts and stage.engine.state == "ready")

    run(main())


def test_what_fails_at_its_first_start_is_not_started_again_and_its_last_words_are_told(tmp_path):
    async def main() -> None:
        async with Stage(tmp_path, "fail") as stage:
            with pytest.raises(MissingDependencyError, match="ended with status 1") as failed:
                await stage.engine.ready(LONG_S)
            assert "hello from the stand-in" in str(failed.value) and "no such" in str(failed.value)
            assert "\x1b" not in str(failed.value)
            assert stage.engine.state == "stopped" and stage.engine.restarts == 0
        assert not stage.engine.command.socket.parent.exists()

    run(main())


@pytest.mark.parametrize(("starts_in_s", "timeout_s"), [(1.0, LONG_S), (LONG_S, 1.0)])
def test_what_never_answers_is_given_up_in_time(starts_in_s, timeout_s, tmp_path):
    async def main() -> None:
        async with Stage(tmp_path, "mute", starts_in_s=starts_in_s) as stage:
            with pytest.raises(MissingDependencyError, match="did not answer within 1 s"):
                await stage.engine.ready(timeout_s)
        assert not stage.engine.command.socket.parent.exists()

    run(main())


def test_a_program_that_is_not_there_is_told(tmp_path):
    async def main() -> None:
        async with Stage(tmp_path) as stage:
            await stage.engine.stop()
        home = private_folder()
        command = EngineCommand(
            argv=(str(tmp_path / "nothing"),), env=dict(stage.engine.command.env), starts_in_s=LONG_S, name="nothing",
            socket=home / "s",
        )  # fmt: skip
        engine = EngineProcess(command, say=print, pace=PACE)
        try:
            await engine.start()
            with pytest.raises(MissingDependencyError, match="cannot start .*nothing"):
                await engine.ready(LONG_S)
        finally:
            await engine.stop()
        assert not home.exists()

    run(main())


def test_stop_in_the_middle_of_a_start_and_twice_at_once_leaves_nothing(tmp_path):
    async def main() -> None:
        async with Stage(tmp_path) as stage:
            await stage.until(stage.notes.exists)
            await asyncio.gather(stage.engine.stop(), stage.engine.stop())
        assert not any(map(is_there, stage.processes()))
        assert not stage.engine.command.socket.parent.exists()

    run(main())


def test_a_folder_that_is_not_the_engines_own_stays(tmp_path):
    async def main() -> None:
        async with Stage(tmp_path) as stage:
            kept = tmp_path / "kept"
            kept.mkdir()
        engine = EngineProcess(
            EngineCommand(argv=(sys.executable, "-c", ""), env=dict(os.environ), starts_in_s=LONG_S, name="short",
                          socket=kept / "s"), say=print, pace=PACE,
        )  # fmt: skip
        assert stage.engine.state == "stopped"
        await engine.start()
        await engine.stop()
        assert kept.is_dir()

    run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux hands orphans to somebody else than its first process")
def test_orphans_of_a_group_are_taken_in_and_buried(tmp_path):
    code = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid)"
    before = process_group.adopt(True)
    try:
        with open(tmp_path / "out", "w") as out:
            leader = subprocess.Popen(
                [sys.executable, "-c", code], stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
            assert leader.wait(LONG_S) == 0
        orphan = int((tmp_path / "out").read_text())
        assert process_group.members(leader.pid) == [orphan]
        parent = Path(f"/proc/{orphan}/stat").read_text().rpartition(") ")[2].split()[1]
        assert int(parent) == os.getpid() and not process_group.is_gone(leader.pid)
    finally:
        process_group.send(leader.pid, signal.SIGKILL)
        deadline = time.monotonic() + LONG_S
        while not process_group.is_gone(leader.pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process_group.adopt(before)
    assert not is_there(orphan)


# Killed in this way nothing of the gateway's own runs any more: only the pipe tells that it is gone.
DRIVER = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_supervision import LONG_S, Stage
async def main():
    stage = Stage(Path(sys.argv[2]))
    await stage.engine.start()
    await stage.engine.ready(LONG_S)
    print(stage.engine.command.socket.parent, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


def test_when_the_gateway_is_killed_the_engine_and_its_children_end_too(tmp_path):
    out = tmp_path / "out"
    with open(out, "wb") as file:
        driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(Path(__file__).parent), str(tmp_path)],
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[4])},
        )  # fmt: skip
    processes: list[int] = []
    try:
        deadline = time.monotonic() + LONG_S
        while not out.read_text().endswith("\n"):
            assert driver.poll() is None and time.monotonic() < deadline, out.read_text()
            time.sleep(0.02)
        folder = Path(out.read_text().strip())
        processes = [int(word) for word in (tmp_path / "notes").read_text().split()]
        entries = shared(tmp_path)
        assert folder.is_dir() and len(processes) == 2
        driver.kill()
        driver.wait()
        while folder.exists() or any(entry.exists() for entry in entries) or any(map(is_running, processes)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        driver.kill()
        driver.wait()
        for process in filter(is_running, processes):
            os.kill(process, signal.SIGKILL)


def is_running(process: int) -> bool:
    """Whether it runs; nobody may be there to bury what ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return Path("/proc").is_dir() is False and is_there(process)
