"""A training in several processes by one command: Accelerate's launcher takes the place of this process.

In: the name of a shipped configuration (`configs/train`), the words of the command. Out: the launcher's command line.
Each process it starts runs the same words, and finds by `RANK` that it has been started.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from cineloop.errors import UsageError

WAYS = ("ddp", "fsdp2")
_FOLDER = Path(__file__).resolve().parent / "recipes" / "train"


def command_line(package: str, way: str, processes: int | None, words: Sequence[str]) -> list[str]:
    """What starts `python -m PACKAGE WORDS` in so many processes (None: one for each GPU).

    Raises:
        UsageError: there is no number of processes, or it is less than two.
    """
    if processes is None:
        import torch

        processes = torch.cuda.device_count()
    if processes < 2:
        raise UsageError(f"--launch starts at least 2 processes, not {processes}", hint="say how many: --nproc N")
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(_FOLDER / f"{way}.yaml")]
    return [*launcher, "--num_processes", str(processes), "-m", package, *words]


def start(package: str, way: str, processes: int | None, words: Sequence[str]) -> NoReturn:
    """Become the launcher; it ends as the training does."""
    line = command_line(package, way, processes, words)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(line[0], line)
