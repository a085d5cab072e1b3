"""Python processes that begin with heavy modules imported: a start costs milliseconds instead of the seconds of torch.

`Starter(imports)` runs one process that imports them and does nothing else; each program is a fork of it, in a session
of its own, with its own environment, arguments, random numbers and exit. Linux alone: forks after imports are safe
where no thread runs yet, so OMP_NUM_THREADS is 1.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

# What every training imports; torch's optimisers import torch._dynamo, another three seconds.
TRAINING = ("accelerate", "torch._dynamo", "torch.nn.parallel")

_SERVER = """
import atexit, gc, importlib, json, os, sys, threading, traceback

def go(program):
    try:
        exec(compile(program, "program", "exec"), {"__name__": "__main__"})
        return 0
    except SystemExit as end:
        return end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1

def answer(value):
    os.write(reply, (json.dumps(value) + "\\n").encode())

reply = os.dup(1)
os.dup2(2, 1)  # what programs print goes beside the answers
orders = os.fdopen(os.dup(0), "r")
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
sys.path[:0] = json.loads(orders.readline())
for name in json.loads(orders.readline()):
    importlib.import_module(name)
gc.freeze()
answer("ready")
while line := orders.readline():
    order, children = json.loads(line), []
    for env in order["envs"]:
        child = os.fork()
        if not child:
            os.close(reply)
            os.setsid()
            os.environ.update(env)
            sys.argv = ["-c", *order["arguments"]]
            code = go(order["program"])
            threading._shutdown()
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # to take the interpreter apart costs a copy of all that was imported: seconds
        children.append(child)
    answer([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""


class Starter:
    """A context manager; `run` starts programs and waits for them."""

    def __init__(self, imports: list[str], paths: list[str]) -> None:
        paths = [os.path.dirname(__file__), *paths]
        env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
        self._server = subprocess.Popen(
            [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )
        self._tell(paths)
        self._tell(imports)
        assert self._heard() == "ready"

    def __enter__(self) -> Starter:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stdin.close()
        self._server.wait(timeout=60)
        self._server.stdout.close()

    def run(self, program: str, arguments: list[str], envs: list[dict[str, str]] | None = None) -> list[int]:
        """Exit codes (minus the signal for one that was killed) of a program started once per environment, at once."""
        self._tell({"program": program, "arguments": arguments, "envs": envs or [{}]})
        return self._heard()

    def _tell(self, value: object) -> None:
        self._server.stdin.write(json.dumps(value) + "\n")
        self._server.stdin.flush()

    def _heard(self) -> object:
        line = self._server.stdout.readline()
        assert line, f"the starting process ended with {self._server.wait(timeout=60)}"
        return json.loads(line)
