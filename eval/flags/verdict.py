"""The files of a verdict, for the verbs that give one: those that may not be replaced, those of an earlier run, those
of this one; and its lines on a terminal and in a CI."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cineloop.run_folder import refuse_existing
from v2t_eval.flags.scoring import old_files

if TYPE_CHECKING:
    from v2t_eval.gate.verdict import Verdict
    from v2t_eval.report.document import Document

NAMES = ("verdict.json", "gate.md", "gate.html", "junit.xml")


def refuse_old(args: argparse.Namespace) -> None:
    """Raises UsageError where a file of -o or --junit exists and may not be replaced."""
    from v2t_eval.report import NAMES as REPORTS

    there = old_files(args.output, (*NAMES, *REPORTS)) if args.output else []
    there += [path for path in (args.junit, args.metrics_json) if path]
    refuse_existing(there, overwrite=args.overwrite)


def delete_verdict(args: argparse.Namespace) -> None:
    """Delete the verdict of an earlier run, which must not be read should this run fail."""
    for path in [args.output / name for name in NAMES] if args.output else []:
        path.unlink(missing_ok=True)
    for path in (args.junit, args.metrics_json):
        if path:
            path.unlink(missing_ok=True)


def write_verdict(verdict: Verdict, report: Document, args: argparse.Namespace) -> None:
    """Write the files of -o and --junit."""
    from cineloop.documents import utf8_bytes
    from cineloop.files import write_atomic
    from cineloop.log import logger, printable
    from v2t_eval.report import junit, markdown, page, tracking

    if args.metrics_json:
        tracking.write(tracking.of_verdict(verdict), args.metrics_json, args.step)
    if args.junit:
        write_atomic(args.junit, junit.render(report))
    if not args.output:
        return
    folder: Path = args.output
    tree = json.dumps(verdict.as_dict(), ensure_ascii=False, allow_nan=False, indent=1)
    written = {
        "gate.md": markdown.render(report, max_bytes=markdown.COMMENT_BYTES).encode(),
        "gate.html": page.render(report, folder),
        "junit.xml": junit.render(report),
        "verdict.json": utf8_bytes(tree + "\n"),
    }
    for name, data in written.items():
        write_atomic(folder / name, data)
        logger.info("%s", printable(str(folder / name)))


def show_verdict(verdict: Verdict, report: Document, *, as_json: bool) -> None:
    """Print the verdict, and tell a CI that reads it."""
    from v2t_eval.report import github, terminal

    github.write_summary(report, os.environ)
    if as_json:
        print(json.dumps(verdict.as_dict(), allow_nan=False))
    else:
        terminal.show(report)
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        github.announce(report, os.environ)
