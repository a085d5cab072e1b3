"""Job files for cluster engines, with a user's command in them: what `v2t cluster print` writes.

In: an engine's name, a command of ours, sizes. Out: the text of the job file. The templates are the files of
`recipes/cluster` (`configs/cluster` in the repository); a new one there is a new engine. An engine without Ray runs the
command once for each shard (`--shard I/N`), one with Ray runs it once (`--cluster ray`). The command is parsed by its
own program first, so that a wrong option fails here and not in the queue.
"""

from __future__ import annotations

import importlib
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cineloop.errors import UsageError
from cineloop.log import printable
from cineloop.options import option
from cineloop.parser import PROGRAMS

FOLDER = Path(__file__).resolve().parents[1] / "recipes" / "cluster"
_RAY = "ray"  # ends the name of an engine that runs Ray


@dataclass(frozen=True, kw_only=True)
class JobSize:
    """What a job asks of its engine."""

    nodes: int = option(8, "machines, or processes at a time where the engine places them", metavar="N")
    shards: int | None = option(
        None, "parts of the work where no Ray divides it; more than nodes even out slow ones (default: one a node)",
        metavar="N",
    )  # fmt: skip
    cpus: int = option(8, "cores of a process", metavar="N")
    gpus: int = option(1, "GPUs of a process", metavar="N")

    def __post_init__(self) -> None:
        for name, least in (("nodes", 1), ("shards", 1), ("cpus", 1), ("gpus", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{name} must be at least {least}, got {value}")


def engines() -> list[str]:
    """Names of the engines there are templates for."""
    return sorted(path.name.split(".")[0] for path in FOLDER.glob("*.j2"))


def fill(engine: str, words: Sequence[str], size: JobSize) -> str:
    """The job file of an engine.

    Args:
        engine: one of `engines()`.
        words: the command, such as `v2t caption clips/ -o captions/`.
        size: of the job.

    Raises:
        UsageError: the command is not one of ours, lacks an output folder, or cannot be divided by this engine.
        SystemExit: the command's own parser refused it; its message is on stderr.
    """
    import jinja2

    args = _parse(words)
    has_ray, text, name = engine.endswith(_RAY), shlex.join(words), f"{words[0]} {args['command']}"
    option, key = ("cluster", "cluster.engine") if has_ray else ("shard", "shard")
    if not {"cluster.engine", "shard"} & args.keys():
        raise UsageError(
            f"{name} is one process for each GPU, not work that an engine divides: it has no --shard and no --cluster",
            hint="start it on each machine by torchrun or accelerate launch, see docs/training.md",
        )
    if key not in args:
        other = "an engine with Ray, such as slurm-ray" if option == "shard" else "an engine without Ray, such as slurm"
        raise UsageError(f"{name} has no --{option}, which {engine} needs", hint=other)
    if args.get("output") is None:
        raise UsageError(f"{name} has no output folder, and all processes write into one", hint="give it by -o")
    if has_ray:
        if args[key] not in (None, "ray"):
            raise UsageError(f"--cluster {printable(args[key])} is given, and {engine} needs --cluster ray")
        text += "" if args[key] else " --cluster ray"
    elif args[key] is not None:
        raise UsageError(f"--shard {printable(args[key])} is given, and {engine} numbers the shards itself")
    (path,) = FOLDER.glob(f"{engine}.*.j2")
    sandbox = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True)
    sandbox.filters["quoted"] = lambda value: json.dumps(value, ensure_ascii=False)  # a YAML string too
    return sandbox.from_string(path.read_text("utf-8")).render(
        command=text,
        name=name.replace(" ", "-"),
        output=shlex.quote(str(args["output"])),
        nodes=size.nodes,
        shards=size.shards or size.nodes,
        cpus=size.cpus,
        gpus=size.gpus,
    )


def _parse(words: Sequence[str]) -> dict[str, Any]:
    from cineloop.cli import build_parser

    if words[0] not in PROGRAMS:
        raise UsageError(
            f"{printable(words[0])!r} is not a command of Cineloop", hint=f"begin with {', '.join(PROGRAMS)}"
        )
    package = PROGRAMS[words[0]]
    verbs = importlib.import_module(f"{package}.cli").VERBS
    args: dict[str, Any] = vars(build_parser(words[0], "", verbs, package).parse_args(words[1:]))
    return args
