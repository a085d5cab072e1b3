"""What verbs that score clips share: flags of the machine, the output folder, the plan of a dry run.

In: a parser, or parsed arguments. Out: keywords of `v2t_eval.core.score.score`, a locked folder, a printed plan. As in
a verb's module, whatever is heavy is imported in the functions.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cineloop.errors import UsageError
from cineloop.run_folder import STATE, RunFolder

if TYPE_CHECKING:
    from v2t_eval.core.inputs import Inputs
    from v2t_eval.core.metric import BaseMetric


def add_scoring(add: Callable[..., object], cache: str = "evidence cache of clips, shared by runs") -> None:
    """Flags of every verb that scores clips."""
    add("--workers", type=int, metavar="N", help="processes for clips (default: by cores and GPUs); same result")
    add("--cache", type=Path, metavar="DIR", help=cache)
    add_machine(add)


def add_tracking(add: Callable[..., object]) -> None:
    """Flags of the file of figures for experiment trackers."""
    add("--metrics-json", type=Path, metavar="FILE", help="also write flat names and numbers, for MLflow or W&B")
    add("--step", type=int, metavar="N", help="training step that --metrics-json names (default: 0)")


def check_tracking(args: argparse.Namespace) -> None:
    """Refuse `--step` without its file, and a step below zero.

    Raises:
        UsageError: one of these.
    """
    if args.step is not None and (args.metrics_json is None or args.step < 0):
        raise UsageError(f"--step is the step in --metrics-json FILE, at least 0; got {args.step}")


def add_machine(add: Callable[..., object], *, limits: bool = True) -> None:
    """Flags of the machine for every verb that measures: `--device`, and with `limits` `--max-clip-mb`."""
    add("--device", type=device, default="auto", metavar="NAME", help="auto (default), cpu, cuda, cuda:1")
    if limits:
        add(
            "--max-clip-mb",
            type=int,
            default=1024,
            metavar="MB",
            help="memory limit of one clip's decoded frames (default: 1024)",
        )


def device(name: str) -> str:
    """A device by its name, checked before anything is read.

    Raises:
        ArgumentTypeError: there is no such device.
    """
    from cineloop.training.runtime import check_device

    try:
        return check_device(name)
    except UsageError as error:
        raise argparse.ArgumentTypeError(error.message) from error


def lock_output(args: argparse.Namespace, stack: ExitStack) -> Path | None:
    """Lock the folder of `-o` while `stack` is open; returns the folder of the evidence cache, None for no cache.

    Raises:
        MissingDependencyError: OUTPUT_FOLDER, it cannot be made or written.
    """
    if args.output:
        stack.enter_context(RunFolder(args.output))
    return args.cache or (args.output / STATE if args.output else None)


def score_options(
    args: argparse.Namespace, stack: ExitStack, cache: Path | None, *, is_suite: bool = False
) -> dict[str, Any]:
    """Keywords of `v2t_eval.core.score.score` by the flags of `add_scoring`; while `stack` is open, the first Ctrl-C
    ends a scoring with what was measured cached.

    Raises:
        UsageError: an invalid value of a flag.
    """
    from cineloop.interrupt import Stopping
    from v2t_eval.core.score import ScoreConfig
    from v2t_eval.core.worker import ClipLimits

    try:
        limits = ClipLimits(max_clip_mb=args.max_clip_mb)
        config = ScoreConfig(workers=args.workers, cache=cache, limits=limits, is_suite=is_suite, device=args.device)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return {"config": config, "stop": stack.enter_context(Stopping()), "show_progress": not args.quiet}


def old_files(output: Path, names: Iterable[str]) -> list[Path]:
    """Those of the names that exist in the folder of -o, which must not be a file."""
    if output.suffix in (".json", ".html", ".xml", ".md") or output.is_file():
        raise UsageError(f"-o takes a folder, not a file such as {output.name!r}", hint=f"it gets {', '.join(names)}")
    return [output / name for name in names if (output / name).exists()]


def dry_run(inputs: Inputs, metrics: list[BaseMetric], args: argparse.Namespace) -> int:
    """Print what would be measured; `args` has `suite` and `json`."""
    from v2t_eval.core.score import fitting_metrics

    fitting, skipped = fitting_metrics(inputs, metrics, is_suite=args.suite is not None)
    plan: dict[str, Any] = {
        "sources": inputs.sources,
        "counts": inputs.counts,
        "reference_clips": len(inputs.references),
        "metrics": [metric.title for metric in fitting],
        "skipped": {one.metric: one.reason for one in skipped},
    }
    if args.json:
        print(json.dumps(plan, ensure_ascii=False))
        return 0
    print(", ".join(f"{name}: {count}" for name, count in inputs.counts.items()))
    for metric in fitting:
        print(f"{metric.title}\t{metric.level}\tneeds {', '.join(metric.needs)}")
    for one in skipped:
        print(f"{one.metric}\tskipped\t{one.reason}")
    return 0
