"""The verb `v2t-eval score`: clips, captions or answers in; figures, reports and values of every clip out."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cineloop.cluster.settings import ClusterConfig
from cineloop.config import from_dict
from cineloop.errors import UsageError
from cineloop.options import add_options
from cineloop.parser import Parser
from cineloop.run_folder import STATE, RunFolder, other_settings, refuse_existing

if TYPE_CHECKING:
    from cineloop.cluster.workers import Session
    from v2t_eval.core.executor import Place
    from v2t_eval.core.inputs import Inputs
    from v2t_eval.core.metric import BaseMetric

SUMMARY = "Score clips, captions or answers by any of the metrics."
EXAMPLES = (
    "  v2t-eval score generated/ --suite starter -o scores/\n"
    "  v2t-eval score clips/ --prompts prompts.csv --metrics clipsim,temporal_flickering,dynamic_degree -o scores/\n"
    "  v2t-eval score generated/ --reference-clips real/ --metrics 'frechet[feature=starter-tower],kernel_distance'\n"
    "  v2t-eval score rebuilt/ --reference-videos originals/ --metrics psnr,ssim,vif -o scores/\n"
    "  v2t-eval score --captions captions.jsonl --references refs.json --metrics bleu,rouge_l,cider\n"
    "  v2t-eval score --captions captions.jsonl --truth world/manifest.jsonl -o scores/\n"
    "  v2t-eval score --answers answers.jsonl --truth world/manifest.jsonl --json"
)

_FILES = (
    (
        "prompts",
        "prompt of each clip: .jsonl or .csv with id or path and prompt, VBench's .json, or .txt, one per line",
    ),
    ("references", "true captions of the clips: .jsonl with captions or references, COCO captions .json, .csv"),
    ("captions", "caption records, as `v2t caption` writes them"),
    ("truth", "manifest with facts, questions or other inputs of a metric"),
    ("answers", "rows of id, question, answer; also kind and reference where --truth lacks them"),
)
_VIDEOS = ("reference_clips", "reference_videos")
SETTINGS = "scoring.json"  # in STATE: inputs and metrics of the folder's scores


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("clips", nargs="?", type=Path, metavar="CLIPS", help="folder of videos, a run folder, or a manifest.jsonl")
    for name, says in _FILES:
        add(f"--{name}", type=Path, metavar="FILE", help=says)
    add("--reference-clips", type=Path, metavar="DIR", help="a second set of clips, for distances between sets")
    add("--reference-videos", type=Path, metavar="DIR", help="for each clip, by id, the video it is compared with")
    add("--names", default="rows", help="vbench: take prompts from file names, PROMPT-NUMBER.mp4")
    add("--limit", type=int, metavar="N", help="only the first N samples")
    what = parser.add_argument_group("what to measure (default: facts of captions, or answers)")
    what.add_argument("--metrics", metavar="A,B", help="names, with settings in brackets; see `v2t-eval list`")
    what.add_argument(
        "--suite", type=Path, metavar="SUITE", help="a shipped list of metrics (`v2t-eval suites`) or a YAML file"
    )
    add(
        "-o", "--output", type=Path, metavar="DIR", help="folder for scores.json, report.md, report.html, clips.parquet"
    )
    add("--overwrite", action="store_true", help="replace the scores in the folder of -o")
    add("--all", action="store_true", help="print every metric, not only what one asks first; -o has all of it")
    add("--json", action="store_true", help="print the figures as one JSON object on stdout")
    add("--dry-run", action="store_true", help="read and join all inputs, print what would be measured")
    machine = parser.add_argument_group("the machine")
    add_scoring(machine.add_argument, "evidence cache, shared by runs (default: inside -o)")
    add_options(parser, ClusterConfig, prefix="cluster.")


def add_scoring(add: Callable[..., object], cache: str = "evidence cache of clips, shared by runs") -> None:
    """Flags of every verb that scores clips."""
    add("--workers", type=int, metavar="N", help="processes for clips (default: by cores and GPUs); same result")
    add("--cache", type=Path, metavar="DIR", help=cache)
    add_machine(add)


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


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from cineloop.files import write_atomic
    from v2t_eval.core.inputs import read_inputs
    from v2t_eval.core.score import score
    from v2t_eval.report import document_of, terminal, write
    from v2t_eval.suites.suite import metrics_of

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    if args.limit is not None and args.limit < 1:
        raise UsageError(f"--limit must be at least 1, got {args.limit}")
    facts = args.captions is not None and args.truth is not None
    metrics = metrics_of(args.metrics, args.suite, answers=args.answers is not None, facts=facts)
    settings = _settings(args, metrics)
    _refuse_other(args.output, settings, overwrite=args.overwrite)
    given = {name: getattr(args, name) for name in (*(name for name, _ in _FILES), *_VIDEOS)}
    inputs = read_inputs(args.clips, **given, names=args.names, limit=args.limit)
    if args.dry_run:
        return dry_run(inputs, metrics, args)
    with ExitStack() as stack:
        cache = lock_output(args, stack)
        options = score_options(args, stack, cache, is_suite=args.suite is not None)
        config = replace(options.pop("config"), place=place_of(args, cache))
        scores = score(inputs, metrics, config, **options)
        if args.output:
            write_atomic(args.output / STATE / SETTINGS, json.dumps(settings, indent=1).encode())
        document = document_of(scores, args.output, inputs.clips_root)
        written = write(scores, document, args.output, cache) if args.output else []
    terminal.show(document, scores.as_dict(items=False) if args.json else None, whole=args.all)
    for path in written:
        log.logger.info("%s", log.printable(str(path)))
    return scores.exit_code


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


def _settings(args: argparse.Namespace, metrics: list[BaseMetric]) -> dict[str, str]:
    """The settings that determine the scores, by name, each as a text."""
    from cineloop.config import to_dict

    places = {name: getattr(args, name) for name in ("clips", *(name for name, _ in _FILES), *_VIDEOS)}
    found = {name: str(path.absolute()) for name, path in places.items() if path is not None}
    found |= {} if args.limit is None else {"limit": str(args.limit)}
    found |= {"names": args.names, "metrics": ",".join(metric.title for metric in metrics)}
    for metric in metrics:
        found[metric.title] = f"version {metric.version} {json.dumps(to_dict(metric.settings), default=str)}"
    return found


def old_files(output: Path, names: Iterable[str]) -> list[Path]:
    """Those of the names that exist in the folder of -o, which must not be a file."""
    if output.suffix in (".json", ".html", ".xml", ".md") or output.is_file():
        raise UsageError(f"-o takes a folder, not a file such as {output.name!r}", hint=f"it gets {', '.join(names)}")
    return [output / name for name in names if (output / name).exists()]


def _refuse_other(output: Path | None, settings: dict[str, str], *, overwrite: bool) -> None:
    """Refuse to replace scores of other settings without --overwrite."""
    from v2t_eval.report import NAMES

    if output is None:
        return
    there = old_files(output, NAMES)
    if not there or overwrite:
        return
    try:
        before = dict(json.loads((output / STATE / SETTINGS).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        refuse_existing(there)
        return
    if before != settings:
        raise other_settings(f"the scores of {output} were", before, settings)


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
