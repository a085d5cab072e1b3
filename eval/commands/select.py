"""The verb `v2t-eval select`: the best of several clips per prompt by a metric, and the gain."""

from __future__ import annotations

import argparse
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cineloop.errors import EXIT_FAILED_ITEMS, EXIT_OK, UsageError
from cineloop.run_folder import refuse_existing
from v2t_eval.commands.score import add_scoring, lock_output, score_options

if TYPE_CHECKING:
    from v2t_eval.core.inputs import Inputs
    from v2t_eval.report.document import Document
    from v2t_eval.select.selection import Selection

SUMMARY = "Keep the best of several clips a prompt, by a metric; show what the best of n is worth."
EXAMPLES = (
    "  t2v generate --prompts prompts.txt --num-videos 8 -o made/ && v2t-eval select made/ -o best/\n"
    "  v2t-eval select made/ --by 'vqascore[judge=v2t:openai:http://localhost:8000/v1]' --keep 2 -o best/\n"
    "  v2t-eval select made/ --by question_score --check obedience --json"
)
MANIFEST, TABLE, PAGE = "manifest.jsonl", "selection.jsonl", "index.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("clips", type=Path, metavar="CLIPS", help="run folder of t2v generate, or a manifest.jsonl with prompts")
    add("--by", default="question_score", metavar="METRIC", help="what chooses, with settings in brackets (default: "
        "question_score, the judge's answers to questions about the prompt); see `v2t-eval list`")  # fmt: skip
    add("--check", metavar="METRIC", help="a metric that only checks the choice, for example obedience")
    add("--keep", type=int, default=1, metavar="K", help="clips to keep of each prompt (default 1)")
    add("-o", "--output", type=Path, metavar="DIR",
        help=f"folder for copies of the kept clips, their {MANIFEST}, {TABLE} with all clips, and {PAGE}")  # fmt: skip
    add("--overwrite", action="store_true", help="replace the selection in the folder of -o")
    add("--json", action="store_true", help="as one JSON object on stdout")
    add_scoring(add, "evidence cache, shared by runs (default: inside -o)")


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from v2t_eval.core.inputs import read_inputs
    from v2t_eval.core.score import score
    from v2t_eval.report import terminal
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
        found = select(
            scores, metrics[0].title, keep=args.keep, check=metrics[1].title if args.check is not None else None
        )
        if args.output:
            _write(found, inputs, args.output, cache)
    terminal.show(_document(found, None), _tree(found) if args.json else None)
    whys = {one.prompt: one.error for one in found.candidates if one.error}
    for prompt in found.prompts_without:
        why = f" ({log.printable(whys[prompt]['message'], 160)})" if prompt in whys else ""
        log.logger.warning("no clip has a value of %s: %s%s", found.by, log.printable(prompt), why)
    unscored = any(one.value is None for one in found.candidates)
    return max(scores.exit_code, EXIT_FAILED_ITEMS) if unscored else EXIT_OK


def _refuse(output: Path | None, clips: Path, *, overwrite: bool) -> None:
    """Raise UsageError where the folder holds files that would be replaced."""
    if output is None:
        return
    if output.resolve() == (clips if clips.is_dir() else clips.parent).resolve():
        raise UsageError("-o is the folder of the clips", hint="name another folder")
    refuse_existing([output / name for name in (MANIFEST, TABLE, PAGE)], overwrite=overwrite)


def _row(one: Any) -> dict[str, Any]:
    return {"id": one.clip.id, "prompt": one.clip.prompt, "value": one.value, "check": one.check, "rank": one.rank,
            "kept": one.kept, "error": one.error}  # fmt: skip


def _tree(found: Selection) -> dict[str, Any]:
    gains = {
        name: [{"n": g.n, "value": g.value, "low": g.low, "high": g.high, "prompts": g.num_prompts} for g in each]
        for name, each in found.gains.items()
    }
    return {"schema": 1, "by": found.by, "check": found.check, "best_of": gains,
            "clips": [_row(one) for one in found.candidates]}  # fmt: skip


def _write(found: Selection, inputs: Inputs, output: Path, cache: Path | None) -> None:
    """Copies of the kept clips first, then the files that name them."""
    from cineloop.files import write_atomic
    from cineloop.manifest import dump_line, write_manifest
    from v2t_eval.report import page

    samples, rows = {sample.id: sample for sample in inputs.samples}, []
    for one in found.kept:
        sample = samples[one.clip.id]
        if sample.clip is None or sample.clip.path is None:
            continue  # a row of failures.jsonl: there is no file, and no metric of clips gave it a value
        target = output / sample.row["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        shutil.copyfile(sample.clip.path, partial)
        partial.replace(target)
        rows.append({**sample.row, "selected": {"by": found.by, "value": one.value, "rank": one.rank}})
    write_manifest(rows, output / MANIFEST)
    write_atomic(output / TABLE, b"".join(dump_line(_row(one)) for one in found.candidates))
    write_atomic(output / PAGE, page.render(_document(found, output), output, cache))


def _document(found: Selection, folder: Path | None) -> Document:
    from cineloop.log import plural
    from v2t_eval.report.document import Banner, Card, Document, Section, Table

    prompts = len({one.prompt for one in found.candidates})
    head = f"{len(found.kept)} of {plural(len(found.candidates), 'clip')} kept, for {plural(prompts, 'prompt')}"
    lines = [(gain.n, name, gain.value, f"[{gain.low:.3f}, {gain.high:.3f}]", gain.num_prompts)
             for name, gains in found.gains.items() for gain in gains]  # fmt: skip
    columns = ("Best of n", "Metric", "Mean", "95 % interval", "Prompts")
    wrong = [
        f"{kept.prompt}: {kept.clip.path or kept.clip.id} was chosen ({found.check} {kept.check:.3g}), "
        f"{better.clip.path or better.clip.id} has {better.check:.3g}"
        for kept, better in found.mistakes
    ]
    cards = tuple(
        Card(title=one.prompt, clip=folder / str(one.clip.path), labels=("clip", ""),
             lines=(f"{found.by} {one.value:.3g}",))
        for one in found.kept
    ) if folder else ()  # fmt: skip
    sections = (
        Section(title="What the best of n is worth", tables=(Table(columns=columns, rows=tuple(lines)),)),
        Section(title=f"Where {found.check} would have chosen another clip", text=tuple(wrong)),
        Section(title="Kept clips", cards=cards),
    )
    return Document(title="Selection", banner=Banner(word=head, sentence=""), sections=sections)
