"""`v2t serve` as its users start it: a process of its own, with its output in files, ended with all it started."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_S, STOP_S = 600.0, 90.0


class Process:
    """A server that was started; `url` is where it answers."""

    def __init__(self, folder: Path, arguments: tuple[str, ...], environment: dict[str, str]) -> None:
        self.out, self.err = folder / "out.txt", folder / "err.txt"
        self.url = ""
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "v2t.cli", "serve", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
                start_new_session=True,
            )

    def told(self) -> str:
        return self.out.read_text() + self.err.read_text(errors="replace")

    def wait(self, timeout_s: float = STOP_S) -> int:
        return self.child.wait(timeout_s)

    def ready(self) -> Process:
        end = time.monotonic() + START_S
        while not (found := re.search(r" at (http://\S+) ", self.out.read_text())):
            assert self.child.poll() is None, f"ended with {self.child.returncode}: {self.told()}"
            assert time.monotonic() < end, f"not ready: {self.told()}"
            time.sleep(0.05)
        self.url = found.group(1)
        return self

    def kill(self) -> None:
        """The gateway and, as its engine has a session of its own, that in peace before."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            self.child.send_signal(signal.SIGINT)  # a second one: at once
            try:
                self.child.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.child.pid, signal.SIGKILL)
                self.child.wait(20)


@contextmanager
def serving(folder: Path, *arguments: str, **environment: str) -> Iterator[Process]:
    """`v2t serve ARGUMENTS`, its output in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    process = Process(folder, arguments, environment)
    try:
        yield process
    finally:
        process.kill()


def family_of(pid: int) -> list[Path]:
    """Folders in /proc of a process and those whose parent, group or session it is."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        if str(pid) in (stat.parent.name, *fields[1:4]):
            found.append(stat.parent)
    return found
