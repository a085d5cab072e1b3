"""What `gate`, `gate init` and `gate update` share: the suite and its rules, and clips or results as scores.

In: the arguments. Out: a suite, a policy, `Scores`, or what a dry run tells.
"""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from cineloop.errors import UsageError
from v2t_eval.commands.score import STATE, config_of, dry_run

if TYPE_CHECKING:
    from v2t_eval.gate.baseline import Baseline
    from v2t_eval.gate.sides import Named
    from v2t_eval.scores import Scores
    from v2t_eval.suite import Suite

FORMS = ("init", "update")


def suite_of(args: argparse.Namespace) -> Suite:
    """The suite that was named.

    Raises:
        UsageError: none was, or it cannot be read.
    """
    from v2t_eval.suite import read_suite

    if args.suite is None:
        raise UsageError("which metrics, and which rules?", hint="--suite gate, which is shipped, or a file of yours")
    return read_suite(args.suite)


def scored(found: Named, suite: Suite | None, args: argparse.Namespace, stack: ExitStack) -> Scores:
    """The scores that were named, or those of the clips by the suite.

    Raises:
        UsageError: clips without a suite; else as `v2t_eval.score.score`.
    """
    from cineloop.interrupt import Stopping
    from v2t_eval.gate.sides import results_of
    from v2t_eval.score import ScoreConfig

    if suite is None:
        return results_of(found)
    config = config_of(ScoreConfig, args, cache_of(args))
    stop = stack.enter_context(Stopping())
    return found.scored(suite.metrics, config, stop, show_progress=not args.quiet)


def cache_of(args: argparse.Namespace) -> Path | None:
    """Where evidence is kept: what was named, or inside of the folder for the verdict."""
    if args.cache is not None or args.output is None or args.words[0] in FORMS:
        cache: Path | None = args.cache
        return cache
    return Path(args.output / STATE)


def planned(found: Named, suite: Suite | None, args: argparse.Namespace, before: Baseline | None) -> int:
    """Say what would be done; returns the exit code."""
    from cineloop.log import logger

    if before is not None:
        logger.info("baseline: %d clips, %d metrics", len(before.scores.clips), len(before.scores.results))
    if found.inputs is not None and suite is not None:
        return dry_run(found.inputs, suite.metrics, args)
    scores = scored(found, None, args, ExitStack())
    plan = {"clips": len(scores.clips), "metrics": [result.name for result in scores.results]}
    print(json.dumps(plan) if args.json else f"{plan['clips']} clips with scores by {', '.join(plan['metrics'])}")  # type: ignore[arg-type]
    return 0
