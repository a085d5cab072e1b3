"""The verb `v2t-eval gate`: clips or scores against a baseline in; one verdict with one exit code out.

`gate init` makes the baseline and `gate update` replaces it, with a reason; a verdict never does.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from cineloop.errors import UsageError
from v2t_eval.commands.gate_asked import FORMS, cache_of, planned, scored, suite_of
from v2t_eval.commands.score import STATE, add_machine

if TYPE_CHECKING:
    from v2t_eval.audit.record import Audit
    from v2t_eval.gate.sides import Named
    from v2t_eval.gate.verdict import Verdict
    from v2t_eval.scores import Scores
    from v2t_eval.suite import Suite

SUMMARY = "Pass or fail a generator's clips against a baseline, by declared rules; one verdict, one exit code."
EXAMPLES = (
    "  v2t-eval gate init main-clips/ --suite gate -o baseline.json\n"
    "  v2t-eval gate clips/ --suite gate --baseline baseline.json -o gate/\n"
    "  v2t-eval gate scores/ --suite gate --baseline baseline.json --json\n"
    "  v2t-eval gate update clips/ --suite gate --baseline baseline.json --reason '20 steps now'\n"
    "\n"
    "exit codes of a verdict:\n"
    "  0 pass, 6 fail, 8 inconclusive (more prompts, or a wider margin), 9 not comparable with the baseline;\n"
    "  5 a metric that decides could not run here, which is never a pass\n"
    "\n"
    "Write a folder named init or update as ./init. See docs/gate.md."
)
NAMES = ("verdict.json", "gate.md", "gate.html", "junit.xml")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.usage = (
        "\n  v2t-eval gate CLIPS|RESULTS --suite SUITE [--baseline FILE] [-o DIR] [more]"
        "\n  v2t-eval gate init CLIPS|RESULTS --suite SUITE -o FILE"
        "\n  v2t-eval gate update CLIPS|RESULTS --baseline FILE --reason TEXT [--suite SUITE]"
    )
    add = parser.add_argument
    add(
        "words", nargs="+", metavar="[init|update] CLIPS|RESULTS",
        help="folder of videos, run folder or manifest.jsonl, to be scored by the suite; or a scores.json, its "
        "folder or a baseline, used as they are",
    )  # fmt: skip
    add("--suite", type=Path, metavar="SUITE", help="metrics and rules: gate (shipped), or a YAML file of yours")
    add("--baseline", type=Path, metavar="FILE", help="baseline to compare with; without it only absolute rules decide")
    into = "folder for verdict.json, gate.md, gate.html, junit.xml and the scores; with init the baseline's file"
    add("-o", "--output", type=Path, metavar="PATH", help=into)
    add("--reason", metavar="TEXT", help="with update: the reason, for the baseline's history")
    add("--audit", type=Path, metavar="FILE", help="what the metrics cannot see (default: the suite's audit)")
    add("--junit", type=Path, metavar="FILE", help="write the verdict as JUnit XML")
    add("--baseline-clips", type=Path, metavar="DIR", help="the baseline's clips, shown beside those that got worse")
    add("--overwrite", action="store_true", help="replace the files of -o and --junit")
    add("--json", action="store_true", help="print the verdict as one JSON object on stdout")
    add("--dry-run", action="store_true", help="read all inputs, print what would be measured; write nothing")
    add("--workers", type=int, metavar="N", help="processes (default: by cores and GPUs); same result")
    add("--cache", type=Path, metavar="DIR", help="evidence cache, shared by runs (default: inside -o)")
    add_machine(add)


def run(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    from cineloop import log

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    form, place = _asked(args.words)
    if args.workers is not None and args.workers < 1:
        raise UsageError(f"--workers must be at least 1, got {args.workers}")
    _refuse_misfits(form, args)
    if form == "":
        return _verdict(place, args)
    from v2t_eval.commands import gate_baseline

    return gate_baseline.init(place, args) if form == "init" else gate_baseline.update(place, args)


def _asked(words: list[str]) -> tuple[str, Path]:
    """The form, "" for a verdict, and what is to be judged."""
    form, rest = (words[0], words[1:]) if words[0] in FORMS else ("", words)
    if len(rest) != 1:
        name = f"gate {form}".strip()
        got = f"got {', '.join(rest)}" if rest else "got none"
        raise UsageError(f"{name} takes one folder of clips or one result, {got}", hint="v2t-eval gate --help")
    return form, Path(rest[0])


def _refuse_misfits(form: str, args: argparse.Namespace) -> None:
    """Options of one form do nothing in another, which would go unseen."""
    of = {"": (), "init": ("baseline", "reason", "audit", "junit", "baseline_clips"),
          "update": ("output", "audit", "junit", "baseline_clips")}[form]  # fmt: skip
    misfits = [name for name in of if getattr(args, name) is not None]
    misfits += ["reason"] if form == "" and args.reason is not None else []
    if misfits:
        option = f"--{misfits[0].replace('_', '-')}" if misfits[0] != "output" else "-o"
        raise UsageError(f"{option} is not for gate {form or 'without init or update'}", hint="v2t-eval gate --help")


# --- a verdict


def _verdict(place: Path, args: argparse.Namespace) -> int:
    from cineloop.log import printable
    from v2t_eval.gate import baseline as file
    from v2t_eval.gate.run import gate
    from v2t_eval.gate.sides import named

    suite = suite_of(args)
    policy = suite.rules
    _refuse_old(args)
    before = file.read(args.baseline) if args.baseline else None
    audit = _audit(args, suite)
    found = named(place)
    if args.dry_run:
        return planned(found, suite, args, before)
    with ExitStack() as stack:
        _begin(args, stack)
        scores = scored(found, suite, args, stack)
        if args.output:
            _write_scores(scores, args, found)
        verdict = gate(
            scores, policy, baseline=before, audit=audit, suite=printable(str(args.suite)),
            candidate_told={"folder": printable(str(place))}, baseline_told=_told(args),
        )  # fmt: skip
        _write(verdict, found, args)
    _tell(verdict, as_json=args.json)
    return verdict.exit_code


def _told(args: argparse.Namespace) -> dict[str, str]:
    from cineloop.log import printable

    told = {"file": args.baseline, "folder": args.baseline_clips}
    return {key: printable(str(path)) for key, path in told.items() if path is not None}


def _audit(args: argparse.Namespace, suite: Suite) -> Audit | None:
    from v2t_eval.audit.record import audit_of, read_audit

    if args.audit is not None:
        return read_audit(args.audit)
    return audit_of(suite.policy.audit if suite.policy is not None else None)


def _outputs(args: argparse.Namespace) -> list[Path]:
    from v2t_eval.report import NAMES as REPORTS

    found = [args.output / name for name in (*NAMES, *REPORTS.values())] if args.output else []
    return found + ([args.junit] if args.junit else [])


def _refuse_old(args: argparse.Namespace) -> None:
    if args.output is not None and (args.output.suffix in (".json", ".html", ".xml", ".md") or args.output.is_file()):
        raise UsageError(
            f"-o takes a folder, not a file such as {args.output.name!r}", hint="--junit FILE takes a file"
        )
    there = [path for path in _outputs(args) if path.exists()]
    if there and not args.overwrite:
        raise UsageError(f"{there[0]} exists", code="EXISTS", hint="another place, or --overwrite (evidence is kept)")


def _begin(args: argparse.Namespace, stack: ExitStack) -> None:
    """Take the folder, and take the verdict of an earlier run away: should this one break off, it must not be read."""
    from cineloop.lock import FolderLock

    if args.output:
        stack.enter_context(FolderLock(args.output / STATE / "lock"))
    for path in [args.output / name for name in NAMES] if args.output else []:
        path.unlink(missing_ok=True)
    if args.junit:
        args.junit.unlink(missing_ok=True)


def _write_scores(scores: Scores, args: argparse.Namespace, found: Named) -> None:
    from v2t_eval.report import check, write

    write(scores, args.output, found.root, check(), cache_of(args))


def _write(verdict: Verdict, found: Named, args: argparse.Namespace) -> None:
    from cineloop.files import write_atomic
    from cineloop.log import logger, printable
    from v2t_eval.gate import junit
    from v2t_eval.gate.report import document
    from v2t_eval.report import markdown, page

    if args.junit:
        write_atomic(args.junit, junit.render(verdict))
    if not args.output:
        return
    folder: Path = args.output
    report = document(verdict, found.root, args.baseline_clips)
    made = {
        "gate.md": markdown.render(report, max_bytes=markdown.COMMENT_BYTES).encode(),
        "gate.html": page.render(report, folder),
        "junit.xml": junit.render(verdict),
        "verdict.json": as_json(verdict, indent=1),
    }
    for name, data in made.items():
        write_atomic(folder / name, data)
        logger.info("%s", printable(str(folder / name)))


def as_json(verdict: Verdict, indent: int | None = None) -> bytes:
    """The verdict as JSON, UTF-8."""
    from v2t_eval.report.json import escaped

    return escaped(json.dumps(verdict.as_dict(), ensure_ascii=False, allow_nan=False, indent=indent) + "\n")


def _tell(verdict: Verdict, *, as_json: bool) -> None:
    from v2t_eval.gate import github
    from v2t_eval.gate.report import document
    from v2t_eval.report import terminal

    github.write_summary(verdict, os.environ)
    if as_json:
        print(json.dumps(verdict.as_dict(), allow_nan=False))
    else:
        terminal.show(document(verdict))
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        github.announce(verdict, os.environ)
