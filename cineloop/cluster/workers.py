"""The workers of a run: pools that decode and pools that run the model, on the cluster of a `ClusterConfig`.

In: the two steps of a job, each an object that is pickled and makes a worker's object. Out: pools to submit calls to.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cineloop.cluster.pool import Ask, Pool, Step
from cineloop.cluster.settings import ClusterConfig, Size, parse_size


@dataclass(frozen=True)
class Workers:
    """The open pools of a run."""

    models: Pool
    decoders: Pool | None


class Session(ExitStack):
    """One engine for the runs of a job, one after another: the first starts it, and it ends with the block."""

    _engine: Any = None

    def engine(self, paths: Sequence[Path]) -> Any:
        """The engine, whose new workers look for these paths."""
        from cineloop.cluster.node import Driver
        from cineloop.cluster.ray_engine import RayEngine

        driver = Driver.here(paths)
        self._engine = self._engine or self.enter_context(RayEngine(driver))
        self._engine.driver = driver
        return self._engine


@contextmanager
def open_workers(
    config: ClusterConfig,
    model: Step,
    decoder: Step | None,
    paths: Sequence[Path],
    session: Session | None = None,
) -> Iterator[Workers]:
    """Open the pools of a run.

    Args:
        config: with an engine.
        model: makes the object of a model worker from the worker's name.
        decoder: of a decoding worker; None for a job that decodes nothing.
        paths: files and folders that every machine must see as this one does.
        session: of several runs; None for an engine that ends with this one.

    Raises:
        MissingDependencyError: no ray, no cluster. UsageError: an address of no cluster. Later errors (a machine that
            lacks the model, a package or the paths) come from the futures of the pools.
    """
    with ExitStack() as stack:
        engine = (session or stack.enter_context(Session())).engine(paths)
        gpus = config.gpus_per_worker
        if gpus is None:
            gpus = 1.0 if engine.num_gpus else 0.0
        models = Size(1, max(1, int(engine.num_gpus / gpus) if gpus else engine.num_nodes))
        if config.model_workers:
            models = parse_size("model_workers", config.model_workers)
        decoders = Size(1, engine.num_cpus)
        if config.decode_workers:
            decoders = parse_size("decode_workers", config.decode_workers)

        def opened(step: Step, kind: str, size: Size, ask: Ask, limit_s: float) -> Pool:
            return stack.enter_context(Pool(engine, step, kind=kind, size=size, ask=ask, limit_s=limit_s))

        asks = Ask(cpus=config.cpus_per_worker)  # a decoding worker has the limits of its child process
        yield Workers(
            opened(model, "model", models, Ask(cpus=config.cpus_per_worker, gpus=gpus), config.item_limit_s),
            opened(decoder, "decode", decoders, asks, math.inf) if decoder else None,
        )
