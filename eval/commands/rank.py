"""The verb `v2t-eval rank`: generators compared in pairs, with intervals; people's votes, and who agrees with them."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from cineloop.options import add_options, load_options
from cineloop.parser import Parser
from cineloop.run_folder import refuse_existing
from v2t_eval.flags.scoring import add_scoring, lock_output, old_files, score_options
from v2t_eval.rank.settings import RankConfig

SUMMARY = "Rank generators by comparisons in pairs: of a judge, of metrics, of people's votes."
EXAMPLES = (
    "  v2t-eval rank a/ b/ c/ -o ranked/\n"
    "  v2t-eval rank a/ b/ --judge v2t:openai:http://localhost:8000/v1 -o ranked/   # shown both clips\n"
    "  v2t-eval rank a/ b/ c/ --votes votes.csv --by question_score,clipsim -o ranked/   # which metric agrees?\n"
    "  v2t-eval rank --votes arena.jsonl --json\n"
    "\n"
    "votes: prompt, left, right, winner (left, right, tie, both_bad), voter; exports of arenas are read too"
)


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("clips", nargs="*", type=Path, metavar="CLIPS", help="one folder or manifest of clips a generator, which is "
        "named by its folder; the same prompts in each")  # fmt: skip
    add("--votes", type=Path, metavar="FILE", help="people's votes: .csv, .json or .jsonl")
    add("--prompts", type=Path, metavar="FILE", help="prompt of each clip, in the forms of `v2t-eval score`")
    add_options(parser, RankConfig)
    add("-o", "--output", type=Path, metavar="DIR", help="folder for ranking.json, scores.json (clips), pairs.json "
        "(the judge), comparisons.jsonl and index.html")  # fmt: skip
    add("--overwrite", action="store_true", help="replace the ranking in the folder of -o; evidence is kept")
    add("--json", action="store_true", help="print the ranking as one JSON object on stdout")
    add_scoring(add, "evidence cache, shared by runs (default: inside -o)")


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from v2t_eval.rank import report
    from v2t_eval.rank.run import NONE, rank
    from v2t_eval.report import terminal

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    config = load_options(args, RankConfig)
    if not args.clips:
        config = replace(config, by=NONE, judge=NONE)
    if args.output:
        refuse_existing(old_files(args.output, report.NAMES), overwrite=args.overwrite)
    with ExitStack() as stack:
        cache = lock_output(args, stack)
        ranked = rank(args.clips, args.votes, config, args.prompts, **score_options(args, stack, cache))
        if args.output:
            report.write(ranked, args.output, cache)
    terminal.show(report.document(ranked, None), report.as_dict(ranked) if args.json else None)
    for problem in (ranked.votes.problems if ranked.votes else ())[:5]:
        log.logger.warning("row %d: %s: %s", problem["row"], problem["code"], log.printable(problem["message"], 160))
    return ranked.exit_code
