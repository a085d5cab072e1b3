"""One file per engine that answers behind the gateway, loaded by file name (`--engine`).

In: what is to be served. Out: an `Engine` (`v2t.serve.engine`). An engine module defines `create(config, served, say)`,
where `say` takes what the operator should know, and `command_line(config, served)`, the program it will start (none
where it runs in the gateway's process); both refuse settings that the engine cannot have.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from types import ModuleType

from cineloop import plugin
from cineloop.errors import MissingDependencyError
from v2t.serve.engine import Engine
from v2t.serve.served import Served
from v2t.serve.settings import ServeConfig


def create(config: ServeConfig, served: Served, say: Callable[[str], None]) -> Engine:
    """The engine that `config` wants, not started yet.

    Raises:
        UsageError: no such engine, or one that cannot do what is wanted. PolicyError: arguments that open it to
            strangers. MissingDependencyError: vLLM is not there.
    """
    engine: Engine = _module(config, served).create(config, served, say)
    return engine


def command_line(config: ServeConfig, served: Served) -> tuple[str, ...]:
    """The program that the engine will start; empty for one in the gateway's process. Raises as `create`."""
    argv: tuple[str, ...] = _module(config, served).command_line(config, served)
    return argv


def _module(config: ServeConfig, served: Served) -> ModuleType:
    return plugin.load("v2t.serve.engines", choose(config, served), "create")


def choose(config: ServeConfig, served: Served) -> str:
    """The engine by its file's name; "auto" takes vLLM where it is installed.

    Raises:
        MissingDependencyError: vLLM is wanted, or nothing else would do, and it is not installed.
    """
    if config.engine == "local":
        return "local"
    if find_spec("vllm") is not None:
        return "vllm"
    if config.engine == "auto" and served.is_ours and not served.adapters:
        return "local"
    why = "--engine vllm needs it"
    if config.engine == "auto":
        why = "only vLLM serves adapters" if served.is_ours else f"only vLLM serves {served.name}"
    raise MissingDependencyError(
        f"vLLM is not installed here, and {why}",
        hint="it pins a torch of its own: scripts/serve-env makes an environment for it; run v2t serve from there",
    )
