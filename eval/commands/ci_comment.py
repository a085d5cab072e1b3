"""The verb `v2t-eval ci comment`: the report of a gate as the one comment on its pull request."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from cineloop.errors import MissingDependencyError, UsageError
from cineloop.plugin import choices, load

SUMMARY = "Write a gate's report to its pull request, as one comment that later runs update."
EXAMPLES = (
    "  v2t-eval ci comment gate/\n"
    "  v2t-eval ci comment gate/ --exit-code 6 --artifacts https://example.org/run/1 --json\n"
    "\n"
    "In a job of GitHub (GITHUB_TOKEN) or GitLab (GITLAB_TOKEN). Where no comment can be written, such as for a\n"
    "fork, the report is in the step's summary (GitHub) or the log alone, which says why; the exit code is 0 then,\n"
    "since the verdict is the gate's. See docs/ci.md."
)
FORGES = "v2t_eval.forges"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("gate", type=Path, metavar="DIR", help="folder of `v2t-eval gate -o`")
    add("--exit-code", metavar="N", help="of the gate: one that is no verdict is stated in the comment")
    add("--name", default="gate", metavar="NAME", help="tells the comments of several gates apart (default: gate)")
    add("--forge", metavar="NAME", help="github or gitlab (default: where the job runs)")
    add("--number", type=int, metavar="N", help="the pull request (default: that of the job)")
    add("--artifacts", default="", metavar="URL", help="a link below the report")
    add("--json", action="store_true", help="print what was done as one JSON object on stdout")
    add("--dry-run", action="store_true", help="print the comment; send nothing")


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from v2t_eval.forges.comment import marker_of, post, text_of

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    _check(args)
    name = args.forge or _of_job()
    room = load(FORGES, name, "Forge")
    links = {"This run": room.run_url(os.environ), "Artefacts": args.artifacts}
    text = text_of(args.gate, exit_code=_code(args.exit_code), links=links)
    if args.dry_run:
        print(f"{marker_of(args.name)}\n{text}", end="")
        return 0
    marker_of(args.name)  # an invalid name is an error before anything is asked
    problem: MissingDependencyError | None = None
    try:
        forge = room.Forge(os.environ, args.number)
        done = post(forge, args.name, text)
    except MissingDependencyError as error:
        problem = error
    _report(name, text, problem)
    if problem is not None:
        tree = {"action": "none", "url": "", "code": problem.code, "reason": problem.message}
        return _say(args, tree, f"no comment was written ({problem.code}): {problem}")
    return _say(
        args, {"action": done.action, "url": done.url}, f"{done.action} the comment on {forge.place} {done.url}"
    )


def _check(args: argparse.Namespace) -> None:
    if args.number is not None and args.number < 1:
        raise UsageError(f"--number must be at least 1, got {args.number}")
    if args.artifacts and not (args.artifacts.startswith("https://") and args.artifacts.isprintable()
                               and not set(args.artifacts) & set(" ()<>")):  # fmt: skip
        raise UsageError("--artifacts must be an https address without spaces and brackets")


def _code(text: str | None) -> int | None:
    """The number of --exit-code, a text since workflows name a variable there.

    Raises:
        UsageError: it is no exit code.
    """
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 3:
        raise UsageError(f"--exit-code must be a number from 0 to 255, got {text[:20]!r}")
    return int(text)


def _of_job() -> str:
    """The forge in whose job this runs.

    Raises:
        UsageError: in none.
    """
    for name, variable in (("github", "GITHUB_ACTIONS"), ("gitlab", "GITLAB_CI")):
        if os.environ.get(variable) == "true":
            return name
    raise UsageError("this is no job of a known forge", hint=f"--forge NAME: {', '.join(choices(FORGES, 'Forge'))}")


def _report(forge: str, text: str, problem: MissingDependencyError | None) -> None:
    """The report where a reader of the run finds it: GitHub's summary of the step; else, where no comment could be
    written, the log. With the reason why there is no comment."""
    from cineloop.log import logger
    from v2t_eval.report import github
    from v2t_eval.report.markdown import plain

    note = "" if problem is None else f"> No comment was written ({problem.code}): {plain(str(problem), 500)}\n\n"
    is_shown = forge == "github" and github.append_summary(note + text, os.environ)
    if problem is not None and not is_shown:
        logger.warning("%s", note + text)


def _say(args: argparse.Namespace, tree: dict[str, Any], sentence: str) -> int:
    from cineloop.log import printable
    from v2t_eval.report.github import write_outputs

    write_outputs({"action": tree["action"], "url": tree["url"]}, os.environ)
    print(json.dumps(tree) if args.json else printable(sentence))
    return 0
