"""Stand-ins for sbatch, srun and scontrol: an array runs for real, as local processes.

    python slurm_stand_in.py sbatch [--array=1-4%2] JOB.sbatch [ARGUMENT ...]

What counts of Slurm is kept: options of the script below those of the command line, one batch shell for each task with
its variables, so many at a time, logs by pattern and appended to, arguments handed on, a task that `scontrol requeue`
named runs again with a higher restart count. Unlike the true one it waits for the end. State is in $SLURM_STAND_IN: the
process of each batch shell (`task-I`), and `ends.jsonl` with every end of a task.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PROGRAMS = ("sbatch", "srun", "scontrol")
FIRST_JOB = 1000


def install(folder: Path) -> dict[str, str]:
    """Put the programs into a folder; returns the environment in which they are found."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PROGRAMS:
        (folder / name).write_text(f'#!/bin/sh\nexec {sys.executable} -S -E {__file__} {name} "$@"\n')
        (folder / name).chmod(0o755)
    state = folder / "state"
    state.mkdir()
    path = os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"PATH": path, "SLURM_STAND_IN": str(state), "OMP_NUM_THREADS": "1"}


def options_of(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """(--key=value options up to the first other word, the words from there on)."""
    count = next((i for i, word in enumerate(words) if not word.startswith("--")), len(words))
    return {word[2:].split("=")[0]: word.partition("=")[2] for word in words[:count]}, words[count:]


def numbers(array: str) -> list[int]:
    """`1-3,7` as numbers."""
    ends = [list(map(int, part.split("-"))) for part in array.split(",")]
    return [number for each in ends for number in range(each[0], each[-1] + 1)]


def sbatch(words: list[str]) -> None:
    given, (script, *arguments) = options_of(words)
    lines = re.findall(r"^#SBATCH (--\S+)", Path(script).read_text(), re.MULTILINE)
    options = options_of(lines)[0] | given
    array, _, at_once = options["array"].partition("%")
    state = Path(os.environ["SLURM_STAND_IN"])

    def run(index: int) -> None:
        job, restarts = FIRST_JOB + index, 0
        log = Path(options["output"].replace("%x", options["job-name"]).replace("%A", "1").replace("%a", str(index)))
        while True:
            env = os.environ | {"SLURM_ARRAY_TASK_ID": str(index), "SLURM_JOB_ID": str(job)}
            env["SLURM_RESTART_COUNT"] = str(restarts)
            with open(log, "a" if options["open-mode"] == "append" else "w") as out:
                shell = subprocess.Popen(["bash", script, *arguments], env=env, stdout=out, stderr=out)
                (state / f"task-{index}").write_text(str(shell.pid))
                code = shell.wait()
            with open(state / "ends.jsonl", "a") as ends:
                ends.write(json.dumps({"task": index, "restarts": restarts, "code": code}) + "\n")
            asked = state / f"requeue-{job}"
            if not asked.exists():
                return
            asked.unlink()
            restarts += 1

    print("Submitted batch job 1", flush=True)
    indexes = numbers(array)
    with ThreadPoolExecutor(int(at_once or len(indexes))) as threads:
        list(threads.map(run, indexes))


def srun(words: list[str]) -> None:
    _, command = options_of(words)
    os.execvp(command[0], command)


def scontrol(words: list[str]) -> None:
    assert words[0] == "requeue"
    (Path(os.environ["SLURM_STAND_IN"]) / f"requeue-{words[1]}").touch()


if __name__ == "__main__":
    {"sbatch": sbatch, "srun": srun, "scontrol": scontrol}[sys.argv[1]](sys.argv[2:])
