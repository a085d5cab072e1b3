"""The flags `--cluster.*` of verbs that measure on many machines too.

In: a parser, or parsed arguments. Out: the place of the measurements.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cineloop.cluster.settings import ClusterConfig
from cineloop.config import from_dict
from cineloop.errors import UsageError
from cineloop.options import add_options
from cineloop.parser import Parser
from cineloop.run_folder import STATE

if TYPE_CHECKING:
    from cineloop.cluster.workers import Session
    from v2t_eval.core.executor import Place


def add_cluster(parser: Parser) -> None:
    """Declare the flags."""
    add_options(parser, ClusterConfig, prefix="cluster.")


def place_of(args: argparse.Namespace, cache: Path | None, session: Session | None = None) -> Place | None:
    """The cluster of the flags, for one scoring or those of a session; None for this machine. What a run that died left
    in the output folder is taken into the cache.

    Raises:
        UsageError: a value that cannot be, a cluster without an output folder.
    """
    from v2t_eval.core.cluster import place_on

    flags = {key.removeprefix("cluster."): value for key, value in vars(args).items() if key.startswith("cluster.")}
    config = from_dict(ClusterConfig, {key: value for key, value in flags.items() if value is not None}, "cluster.")
    if args.output is not None:
        return place_on(config, args.output / STATE, cache, session)
    if config.engine != "none":
        raise UsageError("a scoring on a cluster needs an output folder", hint="give it by -o")
    return None
