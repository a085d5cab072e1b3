"""Runs of several processes on gloo, each a fork of one started Python (see `started_python`)."""

from __future__ import annotations

import socket
from pathlib import Path

from started_python import Starter

SHARDED = {"ACCELERATE_USE_FSDP": "true"}


def run_ranks(
    starter: Starter, processes: int, program: str, arguments: list[str], env: dict[str, str] | None = None
) -> list[int]:
    """Exit codes of `program` in so many processes, as torchrun would start them."""
    port = str(free_port())
    shared = {"ACCELERATE_USE_CPU": "true", **(env or {})}
    if processes > 1:
        shared |= {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        shared |= {"GLOO_SOCKET_IFNAME": "lo"}
    ranks = [{"RANK": str(n), "LOCAL_RANK": str(n)} if processes > 1 else {} for n in range(processes)]
    return starter.run(program, arguments, [shared | rank for rank in ranks])


def free_port() -> int:
    """A port that no process of this machine listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def modules_folder() -> list[str]:
    """Where the programs find `test_loop` and the packages."""
    root = Path(__file__).resolve().parents[2]
    return [str(root / "tests/cineloop/training"), str(root)]
