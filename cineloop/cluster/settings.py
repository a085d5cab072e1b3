"""Settings of a run on a cluster, and their flags.

In: `--cluster`, `--decode-workers`, `--model-workers`, `--gpus-per-worker`. Out: a checked `ClusterConfig`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

from cineloop.errors import UsageError
from cineloop.options import option, setting

MAX_WORKERS = 10_000


class Size(NamedTuple):
    """Fewest and most workers of a pool."""

    least: int
    most: int


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """Where a run places its work.

    Raises:
        UsageError: on a value outside its range.
    """

    engine: Literal["none", "ray"] = option(
        "none",
        "ray: the cluster of RAY_ADDRESS, or one on this machine (default: none, in this process)",
        flag="--cluster",
        metavar="ENGINE",
        group="a cluster (pip install 'cineloop[cluster]')",
    )
    decode_workers: str | None = option(
        None, "decoding workers: 8, or 8..64 for as many as it needs (default: up to the CPUs)", metavar="MIN..MAX"
    )
    model_workers: str | None = option(
        None,
        "model workers: 8, or 8..64 for as many as it needs (default: up to the GPUs, or nodes)",
        metavar="MIN..MAX",
    )
    gpus_per_worker: float | None = option(
        None, "GPUs of a model worker; a fraction shares one (default: 1 where there are GPUs)", metavar="N"
    )
    cpus_per_worker: float = setting(0.5, "CPUs that a worker asks of the scheduler")
    item_limit_s: float = setting(1800.0, "seconds after which a call of the model ends, and its worker with it")

    def __post_init__(self) -> None:
        for name in ("decode_workers", "model_workers"):
            if (text := getattr(self, name)) is not None:
                parse_size(name, text)
        if self.gpus_per_worker is not None and self.gpus_per_worker < 0:
            raise UsageError(f"gpus_per_worker must be at least 0, got {self.gpus_per_worker:g}")
        if self.cpus_per_worker <= 0 or self.item_limit_s <= 0:
            raise UsageError("cpus_per_worker and item_limit_s must be above 0")
        if self.engine == "none":
            for name in ("decode_workers", "model_workers", "gpus_per_worker"):
                if getattr(self, name) is not None:
                    raise UsageError(f"--{name.replace('_', '-')} needs --cluster ray")


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
