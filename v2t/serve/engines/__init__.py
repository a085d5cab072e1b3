"""One file per engine that answers behind the gateway, loaded by file name (`--engine`).

In: what is to be served. Out: an `EngineCommand`, the child process that serves it over a socket file. An engine module
defines `command(config, served, socket)`; the child speaks OpenAI's HTTP: `GET /health` (200 once it is ready),
`GET /v1/models`, `POST /v1/chat/completions`. It opens no port, and no file or address that a client names.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from cineloop import plugin
from cineloop.errors import MissingDependencyError
from v2t.serve.served import Served
from v2t.serve.settings import ServeConfig

PREFIX = "v2t-"  # of private folders
_LONGEST_FOLDER = 60  # letters: what is put into it has names of up to 40, and a socket's path ends at 107
_HUB_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


@dataclass(frozen=True, kw_only=True)
class EngineCommand:
    """A child process that answers.

    Attributes:
        argv: program and arguments. env: the whole environment; may hold secrets.
        starts_in_s: seconds after which a start has failed.
        name: what messages call it.
        socket: the socket file it listens at, in a private folder.
        in_flight: requests that may be under way at once. answer_s: seconds between two pieces of an answer, at most.
        stop_s: seconds it is given to end by itself.
        steps: how many steps it has worked, by the text of its `GET /metrics`, None where that does not say; None where
            it has no such figure.
    """

    argv: tuple[str, ...]
    env: dict[str, str] = field(repr=False)
    starts_in_s: float
    name: str
    socket: Path
    in_flight: int = 64
    answer_s: float = 300.0
    stop_s: float = 5.0
    steps: Callable[[str], float | None] | None = None


def command(config: ServeConfig, served: Served, socket: Path) -> EngineCommand:
    """The engine that `config` wants, listening at `socket`.

    Raises:
        UsageError: no such engine, or one that cannot do what is wanted. PolicyError: arguments that open it to
            strangers. MissingDependencyError: vLLM is not there.
    """
    name = choose(config, served)
    made: EngineCommand = plugin.load("v2t.serve.engines", name, "command").command(config, served, socket)
    return made


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
    why = "--engine vllm was asked for"
    if config.engine == "auto":
        why = "adapters are served by it alone" if served.is_ours else f"{served.name} is served by it alone"
    raise MissingDependencyError(
        f"vLLM is not installed here, and {why}",
        hint="it pins a torch of its own: scripts/serve-env makes an environment for it; run v2t serve from there",
    )


def child_environment(config: ServeConfig) -> dict[str, str]:
    """The environment of a child process: this one's without the clients' keys and other people's.

    A child works on what strangers sent. What it cannot know, it cannot tell.
    """
    secret = {config.key_env, *_HUB_TOKENS}
    kept = {name: value for name, value in os.environ.items() if name not in secret and not name.endswith("_API_KEY")}
    root = str(Path(__file__).resolve().parents[3])
    paths = [path for path in kept.get("PYTHONPATH", "").split(os.pathsep) if path and path != root]
    return {**kept, "PYTHONPATH": os.pathsep.join([*paths, root])}


def hub_environment(source: str) -> dict[str, str]:
    """How the model `source` may be fetched: a folder not at all, a hub id with this user's token."""
    if Path(source).is_dir():
        return {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return {name: os.environ[name] for name in _HUB_TOKENS if name in os.environ}


def private_folder() -> Path:
    """A new folder that only this user can enter, its path short enough for a socket's."""
    parent = tempfile.gettempdir()
    if len(parent) + len(PREFIX) + 9 > _LONGEST_FOLDER and Path("/tmp").is_dir():
        parent = "/tmp"
    return Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
