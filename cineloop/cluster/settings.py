"""Settings of a run on a cluster, and their flags.

In: `--cluster`, `--decode-workers`, `--model-workers`, `--gpus-per-worker`. Out: a checked `ClusterConfig`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from cineloop.errors import UsageError

MAX_WORKERS = 10_000
FLAGS = {name: f"cluster.{name}" for name in ("decode_workers", "model_workers", "gpus_per_worker")}
FLAGS["cluster"] = "cluster.engine"


class Size(NamedTuple):
    """Fewest and most workers of a pool."""

    least: int
    most: int


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """Where a run places its work.

    Args:
        engine: "none" for this process, "ray" for the cluster of RAY_ADDRESS, or without it one on this machine.
        decode_workers: "8..64" for a pool that grows and shrinks, "8" for a fixed one; None for 1 up to the CPUs.
        model_workers: likewise; None for 1 up to the GPUs, or without GPUs up to the nodes.
        gpus_per_worker: GPUs of a model worker, >= 0; a fraction shares one. None for 1 where the cluster has GPUs.
        cpus_per_worker: what a worker asks of the scheduler, > 0.
        item_limit_s: seconds after which a call of the model is given up and its worker is killed. Decoders have
            limits of their own.

    Raises:
        UsageError: on a value outside these ranges.
    """

    engine: Literal["none", "ray"] = "none"
    decode_workers: str | None = None
    model_workers: str | None = None
    gpus_per_worker: float | None = None
    cpus_per_worker: float = 0.5
    item_limit_s: float = 1800.0

    def __post_init__(self) -> None:
        for name in ("decode_workers", "model_workers"):
            if (text := getattr(self, name)) is not None:
                parse_size(name, text)
        if self.gpus_per_worker is not None and self.gpus_per_worker < 0:
            raise UsageError(f"gpus_per_worker must be at least 0, got {self.gpus_per_worker:g}")
        if self.cpus_per_worker <= 0 or self.item_limit_s <= 0:
            raise UsageError("cpus_per_worker and item_limit_s must be above 0")
        if self.engine == "none":
            given = [name for name in FLAGS if name != "cluster" and getattr(self, name) is not None]
            if given:
                raise UsageError(f"--{given[0].replace('_', '-')} needs --cluster ray")


def parse_size(name: str, text: str) -> Size:
    """`8..64` or `8` as a `Size`.

    Raises:
        UsageError: anything else.
    """
    match = re.fullmatch(r"(\d{1,6})(?:\.\.(\d{1,6}))?", text)
    least, most = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= least <= most <= MAX_WORKERS:
        raise UsageError(f"--{name.replace('_', '-')} must look like 8..64 or 8 (1 to {MAX_WORKERS}), not {text!r}")
    return Size(least, most)


def add_flags(add: Callable[..., Any], *, decodes: bool = True) -> None:
    """The flags of a verb that can run on a cluster; `decodes` where it reads videos."""
    add("--cluster", metavar="ENGINE", help="ray: the cluster of RAY_ADDRESS, or one on this machine")
    if decodes:
        add("--decode-workers", metavar="MIN..MAX", help="decoding workers of the cluster (default: up to its CPUs)")
    add("--model-workers", metavar="MIN..MAX", help="model workers of the cluster (default: up to its GPUs, or nodes)")
    add("--gpus-per-worker", type=float, metavar="N", help="GPUs of a model worker (default: 1 where there are GPUs)")
