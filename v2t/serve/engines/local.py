"""This project's own captioner as an engine: `v2t.serve.local.server` in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from cineloop.errors import UsageError
from v2t.serve.engines import EngineCommand, child_environment, hub_environment
from v2t.serve.served import Served
from v2t.serve.settings import ServeConfig

_STARTS_IN_S = 180.0  # a starved machine may take minutes to import torch


def command(config: ServeConfig, served: Served, socket: Path) -> EngineCommand:
    """See `v2t.serve.engines.command`.

    Raises:
        UsageError: what only vLLM can do was asked for.
    """
    for name, is_set in (
        ("engine_args", bool(config.engine_args)),
        ("tensor_parallel", config.tensor_parallel > 1),
        ("pipeline_parallel", config.pipeline_parallel > 1),
        ("adapters", bool(served.adapters)),
        ("model", not served.is_ours),
    ):
        if is_set:
            raise UsageError(f"{name}: only vLLM can do that", hint="--engine vllm")
    argv = [sys.executable, "-P", "-m", "v2t.serve.local.server", "--uds", str(socket)]
    argv += ["--model", str(Path(served.source).resolve()), "--name", served.name]
    argv += ["--device", config.device, "--dtype", config.dtype]
    if config.max_model_len is not None:
        argv += ["--max-model-len", str(config.max_model_len)]
    return EngineCommand(
        argv=tuple(argv),
        env={**child_environment(config), **hub_environment(served.source), "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"},
        starts_in_s=_STARTS_IN_S,
        name="local",
        socket=socket,
        in_flight=config.limits.in_flight,
        answer_s=config.limits.answer_s,
    )
