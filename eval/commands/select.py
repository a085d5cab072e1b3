"""The verb `v2t-eval select`: the best of several clips per prompt by a metric, and the gain."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path

from cineloop.errors import EXIT_FAILED_ITEMS, EXIT_OK, UsageError
from cineloop.run_folder import refuse_existing
from v2t_eval.flags.scoring import add_scoring, lock_output, score_options

SUMMARY = "Keep the best of several clips a prompt, by a metric; show what the best of n is worth."
EXAMPLES = (
    "  t2v generate --prompts prompts.txt --num-videos 8 -o made/ && v2t-eval select made/ -o best/\n"
    "  v2t-eval select made/ --by 'vqascore[judge=v2t:openai:http://localhost:8000/v1]' --keep 2 -o best/\n"
    "  v2t-eval select made/ --by question_score --check obedience --json"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("clips", type=Path, metavar="CLIPS", help="run folder of t2v generate, or a manifest.jsonl with prompts")
    add("--by", default="question_score", metavar="METRIC", help="what chooses, with settings in brackets (default: "
        "question_score, the judge's answers to questions about the prompt); see `v2t-eval list`")  # fmt: skip
    add("--check", metavar="METRIC", help="a metric that only checks the choice, for example obedience")
    add("--keep", type=int, default=1, metavar="K", help="clips to keep of each prompt (default 1)")
    into = "folder for copies of the kept clips, their manifest.jsonl, selection.jsonl with all clips, and index.html"
    add("-o", "--output", type=Path, metavar="DIR", help=into)
    add("--overwrite", action="store_true", help="replace the selection in the folder of -o")
    add("--json", action="store_true", help="as one JSON object on stdout")
    add_scoring(add, "evidence cache, shared by runs (default: inside -o)")


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from v2t_eval.core.inputs import read_inputs
    from v2t_eval.core.score import score
    from v2t_eval.report import terminal
    from v2t_eval.select import report
    from v2t_eval.select.selection import select
    from v2t_eval.suites.suite import parse_metrics

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    if args.keep < 1:
        raise UsageError(f"--keep must be at least 1, got {args.keep}")
    metrics = parse_metrics(",".join(name for name in (args.by, args.check) if name))
    if len(metrics) != 1 + (args.check is not None):
        raise UsageError("--by and --check take one metric each, and not the same")
    for metric in metrics:
        if metric.level != "clip":
            raise UsageError(
                f"{metric.title} is a metric of a {metric.level}, not of single clips",
                hint="v2t-eval list shows the metrics of a clip",
            )
    inputs = read_inputs(args.clips)
    _refuse(args.output, args.clips, overwrite=args.overwrite)
    with ExitStack() as stack:
        cache = lock_output(args, stack)
        scores = score(inputs, metrics, **score_options(args, stack, cache))
        scores.require_all()
        selection = select(
            scores, metrics[0].title, keep=args.keep, check=metrics[1].title if args.check is not None else None
        )
        if args.output:
            report.write(selection, inputs, args.output, cache)
    terminal.show(report.document(selection, None), report.as_dict(selection) if args.json else None)
    whys = {one.prompt: one.error for one in selection.candidates if one.error}
    for prompt in selection.prompts_without:
        why = f" ({log.printable(whys[prompt]['message'], 160)})" if prompt in whys else ""
        log.logger.warning("no clip has a value of %s: %s%s", selection.by, log.printable(prompt), why)
    unscored = any(one.value is None for one in selection.candidates)
    return max(scores.exit_code, EXIT_FAILED_ITEMS) if unscored else EXIT_OK


def _refuse(output: Path | None, clips: Path, *, overwrite: bool) -> None:
    """Raise UsageError where the folder holds files that would be replaced."""
    from v2t_eval.select.report import NAMES

    if output is None:
        return
    if output.resolve() == (clips if clips.is_dir() else clips.parent).resolve():
        raise UsageError("-o is the folder of the clips", hint="name another folder")
    refuse_existing([output / name for name in NAMES], overwrite=overwrite)
