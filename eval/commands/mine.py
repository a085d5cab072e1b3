"""The verb `v2t-eval mine`: clips that captioner, judge and dual encoder disagree on, and preference pairs."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cineloop.errors import NothingMatchedError, UsageError
from cineloop.options import add_options, load_options
from cineloop.parser import Parser
from cineloop.run_folder import refuse_existing
from v2t_eval.flags.scoring import add_scoring, lock_output, old_files, score_options
from v2t_eval.mine.settings import MineConfig

if TYPE_CHECKING:
    from v2t_eval.mine.claims import MinedCaption

SUMMARY = "List clips whose captions judge and dual encoder doubt; of several captions make preference pairs."
EXAMPLES = (
    "  v2t caption clips/ -o a/ && v2t-eval mine clips/ --captions a/captions.jsonl -o mined/\n"
    "  v2t caption clips/ -o b/ --set temperature=0.8 --seed 1\n"
    "  v2t-eval mine clips/ --captions a/captions.jsonl b/captions.jsonl -o mined/   # mined/preferences.jsonl too\n"
    "  v2t-eval mine world/ --captions a/captions.jsonl b/captions.jsonl --pairs-by facts --judge none \\\n"
    "      --encoder none -o mined/\n"
    "  v2t train full/preference --set manifests=[mined/preferences.jsonl] --set root=clips"
)


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("clips", type=Path, metavar="CLIPS", help="folder of videos, a run folder, or a manifest.jsonl")
    add("--captions", type=Path, nargs="+", required=True, metavar="FILE", help="caption records, as `v2t caption` "
        "writes them; the first file's are ranked, pairs are made of all")  # fmt: skip
    add("-o", "--output", type=Path, required=True, metavar="DIR",
        help="folder for mined.jsonl, preferences.jsonl (from two files on) and index.html")  # fmt: skip
    add_options(parser, MineConfig)
    add("--truth", type=Path, metavar="FILE", help="manifest with facts, where that of CLIPS has none")
    add("--pairs-by", choices=("judge", "facts"), default="judge", help="what chooses (default: judge)")
    add(
        "--prompt",
        metavar="TEXT",
        help="what the captions answer (default: the prompt of style short, detailed, timed or notes in their records)",
    )
    add("--overwrite", action="store_true", help="replace what is in the folder of -o; evidence is kept")
    add("--json", action="store_true", help="print figures as one JSON object on stdout")
    add_scoring(add, "evidence cache, shared by runs (default: inside -o)")


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from cineloop.files import write_atomic
    from cineloop.manifest import dump_line, write_manifest
    from v2t_eval.mine import pairs as making
    from v2t_eval.mine import ranking, report
    from v2t_eval.mine.claims import examine
    from v2t_eval.report import page, terminal

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    there = old_files(args.output, (report.FILE, report.PAIRS, report.PAGE))
    refuse_existing(there, overwrite=args.overwrite)
    by_facts = args.pairs_by == "facts" or args.truth is not None
    sources = replace(load_options(args, MineConfig), facts=by_facts)
    if args.pairs_by == "judge" and sources.judge == "none" and len(args.captions) > 1:
        raise UsageError("pairs need a judge", hint="--judge v2t:MODEL, or --pairs-by facts")
    with ExitStack() as stack:
        cache = lock_output(args, stack)
        mined = examine(args.clips, args.captions, args.truth, sources, **score_options(args, stack, cache))
        ranked = ranking.rank(mined.captions)
        kinds = ranking.kinds(ranked)
        pairs = making.Preferences()
        if len(args.captions) > 1:
            pairs = making.preferences(mined.captions, args.pairs_by, mined.judge, _prompts(args.prompt))
        if not ranked and not pairs.rows:
            raise _no_match(mined.captions, pairs.counts)
        write_atomic(args.output / report.FILE, b"".join(dump_line(report.row_of(one)) for one in ranked))
        if len(args.captions) > 1:
            write_manifest(pairs.rows, args.output / report.PAIRS)
        shown = report.document(mined, ranked, kinds, pairs, folder=args.output)
        write_atomic(args.output / report.PAGE, page.render(shown, args.output, cache))
    if args.json:
        print(json.dumps(_tree(mined.counts, len(ranked), kinds, pairs), allow_nan=False))
    else:
        terminal.show(report.document(mined, ranked, kinds, pairs, folder=None))
    return mined.exit_code


def _no_match(captions: Sequence[MinedCaption], pairs: Mapping[str, int]) -> NothingMatchedError:
    """Why no clip is ranked, and no pair made."""
    unjudged = Counter(one.code for one in captions if one.code)
    counts = [f"{count} not judged: {code}" for code, count in unjudged.items()]
    counts += [f"{count} {name}" for name, count in pairs.items()]
    why = next((one.why for one in captions if one.why), "")
    return NothingMatchedError(f"no clip could be ranked, and there is no pair ({', '.join(counts)})", hint=why)


def _prompts(given: str | None) -> Callable[[MinedCaption], str]:
    """What a caption answers: the given text, or the prompt of the style in its record."""
    from cineloop.world.language.words import PROMPTS

    def prompt(one: MinedCaption) -> str:
        style = str(one.sample.row.get("style") or "short")
        if given is None and style not in PROMPTS:
            raise UsageError(f"the prompt of style {style!r} is unknown", hint="give it by --prompt")
        return PROMPTS[style] if given is None else given

    return prompt


def _tree(counts: Any, ranked: int, kinds: Any, pairs: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return {"schema": 1, "counts": dict(counts), "ranked": ranked, "kinds": [asdict(kind) for kind in kinds],
            "pairs": len(pairs.rows), "preferences": pairs.counts}  # fmt: skip
