"""The verb `v2t-eval check-set`: what a trainer does with a folder of clips and captions; a set that fits it."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from cineloop.errors import EXIT_FAILED_ITEMS, EXIT_OK, UsageError
from cineloop.options import add_options, load_options
from cineloop.parser import Parser
from cineloop.run_folder import refuse_existing
from v2t_eval.flags.scoring import add_scoring, lock_output, old_files, score_options
from v2t_eval.trainers.settings import CheckSetConfig

if TYPE_CHECKING:
    from v2t_eval.trainers.rows import CheckedSet

SUMMARY = (
    "Say what a trainer of video models drops, cuts and changes of a folder of clips and captions; write one that fits."
)
EXAMPLES = (
    "  v2t-eval check-set clips/ --for musubi\n"
    "  v2t-eval check-set clips/ --for diffusion-pipe --set frames=[33,81] --set resolution=[512] -o check/\n"
    "  v2t-eval check-set clips/ --for ltx2 --captions captions/ --write set/\n"
    "  v2t-eval check-set clips/ --for ai-toolkit --tokenizer google/umt5-xxl --encoder none --json"
)


def add_arguments(parser: Parser) -> None:
    from v2t_eval.trainers.rules import trainers

    names = ", ".join(trainers())
    add = parser.add_argument
    add("folder", type=Path, metavar="FOLDER", help="folder of clips, with captions as the trainer reads them")
    add("--for", dest="trainer", required=True, metavar="NAME", help=f"the trainer: {names}, or a YAML file of rules")
    add("--model", metavar="NAME", help="of the trainer's models (default: the first of its rules)")
    add("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="a setting of the trainer, as "
        "frames=[81], resolution=[960,544], take=full, source_fps=30")  # fmt: skip
    add("--captions", type=Path, metavar="PATH", help="where captions are, if not in FOLDER: a folder of .txt, a list")
    add_options(parser, CheckSetConfig)
    add("-o", "--output", type=Path, metavar="DIR", help="folder for report.html, a row a clip, and check.json")
    add("--write", type=Path, metavar="DIR", help="make a set that fits: clips at the model's rate, counts and sizes, "
        "captions in the trainer's form, its configuration; nothing in FOLDER is changed")  # fmt: skip
    add("--keep", default="", metavar="CODES", help="findings that do not keep a clip out of --write, such as "
        "REPEATED_CAPTION,CUT_OFF")  # fmt: skip
    add("--overwrite", action="store_true", help="replace what is in the folder of -o")
    add("--json", action="store_true", help="as one JSON object on stdout")
    add_scoring(add, "cache of what is in files, shared by runs (default: inside -o)")


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from v2t_eval.report import terminal
    from v2t_eval.trainers import report
    from v2t_eval.trainers.check import check_set
    from v2t_eval.trainers.findings import CODES
    from v2t_eval.trainers.rules import load_rules
    from v2t_eval.trainers.write import write_fitting

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    rules = load_rules(args.trainer, args.model, args.settings)
    keep = frozenset(filter(None, args.keep.split(",")))
    if unknown := sorted(keep - CODES.keys()):
        raise UsageError(f"--keep: no finding is called {', '.join(unknown)}", hint=f"codes: {', '.join(CODES)}")
    if not args.folder.is_dir():
        raise UsageError(f"{log.printable(str(args.folder))} is no folder")
    _refuse(args)
    with ExitStack() as stack:
        cache = lock_output(args, stack)
        options = score_options(args, stack, cache)
        asked = load_options(args, CheckSetConfig)
        shared = {"stop": options["stop"], "show_progress": options["show_progress"]}
        checked = check_set(args.folder, rules, asked, options["config"], captions=args.captions, **shared)
        tree = report.as_json(checked)
        if args.output is not None:
            _write_report(args, checked, cache)
        if args.write is not None:
            written = write_fitting(checked, args.write, args.trainer, asked, keep=keep, workers=args.workers, **shared)
            tree["written"] = written.as_tree()
            log.logger.info("%s", log.printable(str(written.place)))
        terminal.show(report.document(checked, None), tree if args.json else None)
    return EXIT_OK if checked.is_sound else EXIT_FAILED_ITEMS


def _refuse(args: argparse.Namespace) -> None:
    """Raise UsageError for folders that would be written over, or among the clips."""
    from v2t_eval.trainers import report

    if args.output is not None:
        refuse_existing(old_files(args.output, (report.PAGE, report.ROWS)), overwrite=args.overwrite)
    for name, path in (("-o", args.output), ("--write", args.write)):
        if path is not None and path.resolve().is_relative_to(args.folder.resolve()):
            raise UsageError(f"{name} lies in the folder of the clips", hint="name another folder")


def _write_report(args: argparse.Namespace, checked: CheckedSet, cache: Path | None) -> None:
    from cineloop.files import write_atomic
    from cineloop.log import logger, printable
    from v2t_eval.report import page
    from v2t_eval.trainers import report

    write_atomic(args.output / report.ROWS, json.dumps(report.as_json(checked), ensure_ascii=False, indent=1).encode())
    shown = page.render(report.document(checked, args.output), args.output, cache)
    write_atomic(args.output / report.PAGE, shown)
    logger.info("%s", printable(str(args.output / report.PAGE)))
