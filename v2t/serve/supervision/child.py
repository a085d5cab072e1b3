"""A child process that answers, before it is started: its command line, environment and private folder.

In: settings. Out: an `EngineCommand` for `v2t.serve.supervision.supervisor`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

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
