"""The verb `v2t-eval score`: clips, captions or answers in; figures, reports and values of every clip out."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cineloop.documents import read_json
from cineloop.errors import UsageError
from cineloop.parser import Parser
from cineloop.run_folder import STATE, other_settings, refuse_existing
from v2t_eval.flags.cluster import add_cluster, place_of
from v2t_eval.flags.scoring import (
    add_scoring,
    add_tracking,
    check_tracking,
    dry_run,
    lock_output,
    old_files,
    score_options,
)

if TYPE_CHECKING:
    from v2t_eval.core.metric import BaseMetric

SUMMARY = "Score clips, captions or answers by any of the metrics."
EXAMPLES = (
    "  v2t-eval score generated/ --suite starter -o scores/\n"
    "  v2t-eval score clips/ --prompts prompts.csv --metrics clipsim,temporal_flickering,dynamic_degree -o scores/\n"
    "  v2t-eval score generated/ --reference-clips real/ --metrics 'frechet[feature=starter-tower],kernel_distance'\n"
    "  v2t-eval score rebuilt/ --reference-videos originals/ --metrics psnr,ssim,vif -o scores/\n"
    "  v2t-eval score --captions captions.jsonl --references refs.json --metrics bleu,rouge_l,cider\n"
    "  v2t-eval score --captions captions.jsonl --truth world/manifest.jsonl -o scores/\n"
    "  v2t-eval score --answers answers.jsonl --truth world/manifest.jsonl --json\n"
    "  v2t-eval score --results vbench_eval_results.json -o scores/"
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
LABELS = "true answers to the judge's questions about some clips: rows of id, question, answer; .jsonl or .csv"
SHIPPED = Path("starter")
AUDIT = "audit whose counts of the judge's errors correct its figures (default: starter, the bundled judge's)"
_VIDEOS = ("reference_clips", "reference_videos")
SETTINGS = "scoring.json"  # in STATE: inputs and metrics of the folder's scores


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("clips", nargs="?", type=Path, metavar="CLIPS", help="folder of videos, a run folder, or a manifest.jsonl")
    for name, says in _FILES:
        add(f"--{name}", type=Path, metavar="FILE", help=says)
    add("--reference-clips", type=Path, metavar="DIR", help="a second set of clips, for distances between sets")
    add("--reference-videos", type=Path, metavar="DIR", help="for each clip, by id, the video it is compared with")
    add("--labels", type=Path, metavar="FILE", help=LABELS)
    add("--audit", type=Path, default=SHIPPED, metavar="FILE", help=AUDIT)
    results = parser.add_argument_group("results of VBench, lmms-eval, FastVideo, taken as they are (docs/ci.md)")
    results.add_argument(
        "--results", type=Path, metavar="FILE", help="file, or folder of FastVideo's, in place of clips"
    )
    results.add_argument(
        "--results-format", metavar="NAME", help="vbench, lmms_eval, fastvideo (default: by its content)"
    )
    text = "version of the tool that wrote it, where the file does not say it (VBench): others are not compared"
    results.add_argument("--results-version", metavar="TEXT", help=text)
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
    add_tracking(add)
    machine = parser.add_argument_group("the machine")
    add_scoring(machine.add_argument, "evidence cache, shared by runs (default: inside -o)")
    add_cluster(parser)


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from cineloop.files import write_atomic
    from v2t_eval.audit.record import read_audit
    from v2t_eval.core.inputs import read_inputs
    from v2t_eval.core.score import score
    from v2t_eval.correction.labels import read_labels
    from v2t_eval.correction.scoring import with_corrections
    from v2t_eval.report import document_of, terminal, tracking, write
    from v2t_eval.suites.suite import audit_path, metrics_of

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    if args.limit is not None and args.limit < 1:
        raise UsageError(f"--limit must be at least 1, got {args.limit}")
    check_tracking(args)
    if args.metrics_json:
        refuse_existing([args.metrics_json], overwrite=args.overwrite)
    if args.results is not None or args.results_format or args.results_version:
        return _import(args)
    facts = args.captions is not None and args.truth is not None
    metrics = metrics_of(args.metrics, args.suite, answers=args.answers is not None, facts=facts)
    settings = _settings(args, metrics)
    _refuse_other(args.output, settings, overwrite=args.overwrite)
    given = {name: getattr(args, name) for name in (*(name for name, _ in _FILES), *_VIDEOS)}
    inputs = read_inputs(args.clips, **given, names=args.names, limit=args.limit)
    audit = read_audit(audit_path(args.audit))
    labels = read_labels(args.labels, inputs.samples) if args.labels else None
    if args.dry_run:
        return dry_run(inputs, metrics, args)
    with ExitStack() as stack:
        cache = lock_output(args, stack)
        options = score_options(args, stack, cache, is_suite=args.suite is not None)
        config = replace(options.pop("config"), place=place_of(args, cache))
        scores = with_corrections(score(inputs, metrics, config, **options), inputs.samples, audit, labels)
        if args.output:
            write_atomic(args.output / STATE / SETTINGS, json.dumps(settings, indent=1).encode())
        document = document_of(scores, args.output, inputs.clips_root)
        written = write(scores, document, args.output, cache) if args.output else []
    if args.metrics_json:
        tracking.write(tracking.of_scores(scores), args.metrics_json, args.step)
    terminal.show(document, scores.as_dict(items=False) if args.json else None, whole=args.all)
    for path in written:
        log.logger.info("%s", log.printable(str(path)))
    return scores.exit_code


def _import(args: argparse.Namespace) -> int:
    """Read results of another tool, and report them as a scoring; returns the exit code."""
    from cineloop import log
    from cineloop.files import write_atomic
    from v2t_eval.imports.reading import read_results
    from v2t_eval.report import document_of, terminal, tracking, write

    names = ("clips", "metrics", "suite", "limit", *(name for name, _ in _FILES), *_VIDEOS)
    if others := [name for name in names if getattr(args, name) is not None]:
        raise UsageError(f"--results takes results as they are, and nothing to score them by; got {', '.join(others)}")
    if args.results is None:
        raise UsageError("--results-format and --results-version belong to --results FILE")
    given = {
        "results": str(args.results.absolute()),
        "format": args.results_format or "",
        "version": args.results_version or "",
    }
    _refuse_other(args.output, given, overwrite=args.overwrite)
    scores = read_results(args.results, args.results_format, args.results_version)
    document, written = document_of(scores, args.output), list[Path]()
    if args.output and not args.dry_run:
        with ExitStack() as stack:
            lock_output(args, stack)
            write_atomic(args.output / STATE / SETTINGS, json.dumps(given, indent=1).encode())
            written = write(scores, document, args.output)
    if args.metrics_json and not args.dry_run:
        tracking.write(tracking.of_scores(scores), args.metrics_json, args.step)
    terminal.show(document, scores.as_dict(items=False) if args.json else None, whole=args.all)
    for path in written:
        log.logger.info("%s", log.printable(str(path)))
    return scores.exit_code


def _settings(args: argparse.Namespace, metrics: list[BaseMetric]) -> dict[str, str]:
    """The settings that determine the scores, by name, each as a text."""
    from cineloop.config import to_dict

    places = {name: getattr(args, name) for name in ("clips", *(name for name, _ in _FILES), *_VIDEOS)}
    settings = {name: str(path.absolute()) for name, path in places.items() if path is not None}
    settings |= {"labels": str(args.labels.absolute())} if args.labels else {}
    settings |= {"audit": str(args.audit)} if args.audit != SHIPPED else {}
    settings |= {} if args.limit is None else {"limit": str(args.limit)}
    settings |= {"names": args.names, "metrics": ",".join(metric.title for metric in metrics)}
    for metric in metrics:
        settings[metric.title] = f"version {metric.version} {json.dumps(to_dict(metric.settings), default=str)}"
    return settings


def _refuse_other(output: Path | None, settings: dict[str, str], *, overwrite: bool) -> None:
    """Refuse to replace scores of other settings without --overwrite."""
    from v2t_eval.report import NAMES

    if output is None:
        return
    there = old_files(output, NAMES)
    if not there or overwrite:
        return
    try:
        before = dict(read_json(output / STATE / SETTINGS))
    except (OSError, ValueError, TypeError):
        refuse_existing(there)
        return
    if before != settings:
        raise other_settings(f"the scores of {output} were", before, settings)
