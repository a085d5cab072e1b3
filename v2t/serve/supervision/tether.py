"""A program that does not outlive who started it: `python -m v2t.serve.supervision.tether PIPE FOLDER PROGRAM …`.

In: the reading end of a pipe whose other end only the starter holds, a private folder, a program. This process becomes
the program; a small child of it, in the same process group, waits at the pipe. When the starter is gone, however it
ended, the pipe breaks: the child ends the whole group, removes the folder and frees the group's shared memory.
A parent-death signal would not do: it comes at the end of the starter's thread, and to the program alone, not to its
own children.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path

from v2t.serve.supervision import group as process_group

_GRACE_S, _TICK_S = 5.0, 0.1


def main(argv: list[str]) -> None:
    """Become the program; returns never."""
    line, folder, program = int(argv[0]), argv[1], argv[2:]
    others = process_group.shared_entries()
    if os.fork() == 0:
        try:
            _wait_and_end(line, folder, others)
        finally:
            os._exit(1)
    os.close(line)
    try:
        os.execvp(program[0], program)
    except OSError as error:
        print(f"cannot start {program[0]}: {error}", file=sys.stderr, flush=True)
        os._exit(127)


def _wait_and_end(line: int, folder: str, others: set[Path]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # these are the program's to heed
    program = os.getppid()
    os.read(line, 1)
    left = process_group.shared_memory(os.getpgrp()) - others
    os.killpg(0, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_S
    while os.getppid() == program and time.monotonic() < deadline:
        time.sleep(_TICK_S)
    for entry in left:
        entry.unlink(missing_ok=True)
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
