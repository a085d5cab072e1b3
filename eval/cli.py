"""The command `v2t-eval`: reads arguments, calls the room that does the work, turns errors into exit codes.

In: the command line. Out: an exit code (see `v2t.base.errors`); results on stdout, everything else on stderr.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from v2t.base.command import guarded
from v2t.base.errors import UsageError

_EXAMPLES = """examples:
  v2t-eval score --captions out/captions.jsonl --truth world/manifest.jsonl
  v2t-eval score --answers answers.jsonl --truth world/manifest.jsonl --json
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `v2t-eval`; returns the exit code."""
    args = _parser().parse_args(argv)
    return guarded(lambda: int(args.run(args)), traceback=bool(args.verbose))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="v2t-eval",
        description="Score captions and generated videos.",
        epilog="Exit codes: 0 done, 1 unexpected, 2 usage, 3 finished with failed or missing rows, 4 nothing matched.",
    )
    verbs = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    score = verbs.add_parser(
        "score",
        help="captions or answers against the truth",
        description="Score captions or answers against the truth of a manifest, joined by id.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = score.add_mutually_exclusive_group(required=True)
    what.add_argument("--captions", type=Path, metavar="FILE", help="caption records, as `v2t caption` writes them")
    what.add_argument("--answers", type=Path, metavar="FILE", help="rows of id, kind, question, answer, reference")
    score.add_argument("--truth", type=Path, metavar="FILE", help="manifest with facts, or with questions for answers")
    score.add_argument("--metrics", default="facts", metavar="A,B", help="for captions (default: facts)")
    score.add_argument("--style", default="auto", help="short, detailed or timed (default: what the records say)")
    score.add_argument("--json", action="store_true", help="the report as one JSON object on stdout")
    score.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write the report with a verdict per row (.json)"
    )
    score.add_argument("--overwrite", action="store_true", help="replace the file of -o")
    score.add_argument("-v", "--verbose", action="store_true", help="tracebacks")
    score.set_defaults(run=_score)
    return parser


def _score(args: argparse.Namespace) -> int:
    from eval.score import score_answers, score_captions
    from v2t.base.files import write_atomic

    if args.output and args.output.suffix != ".json":
        raise UsageError(f"the report is JSON: the name must end in .json, not {args.output.name!r}")
    if args.output and args.output.exists() and not args.overwrite:
        raise UsageError(f"{args.output} exists", code="EXISTS", hint="another name, or --overwrite")
    if args.captions is not None:
        if args.truth is None:
            raise UsageError("captions are scored against --truth MANIFEST")
        names = tuple(name.strip() for name in args.metrics.split(",") if name.strip())
        if not names:
            raise UsageError("--metrics names no metric")
        report = score_captions(args.captions, args.truth, names, args.style)
    else:
        report = score_answers(args.answers, args.truth)
    if args.output:
        write_atomic(args.output, (json.dumps(report.as_dict(), ensure_ascii=False, indent=1) + "\n").encode("utf-8"))
    print(json.dumps(report.as_dict(items=False), ensure_ascii=False) if args.json else report.table())
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
