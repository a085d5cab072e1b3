"""The verb `v2t-eval curate`: films in; a table of clips with measured columns and verdicts out, nothing deleted."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cineloop.errors import EXIT_FAILED_ITEMS, EXIT_OK, UsageError
from cineloop.parser import Parser
from cineloop.run_folder import STATE, RunFolder
from v2t_eval.flags.cluster import add_cluster, place_of

if TYPE_CHECKING:
    from v2t_eval.clips.cut import Cut
    from v2t_eval.curate.clip import FilmClip
    from v2t_eval.curate.write import CutFit, Outcome
    from v2t_eval.trainers.rules import TrainerRules

SUMMARY = "Cut films into clips, measure them, and ask for a training set by limits; nothing is deleted."
EXAMPLES = (
    "  v2t-eval curate films/ -o set/\n"
    "  v2t-eval curate films/ -o set/ --recipe t2v --dry-run\n"
    "  v2t-eval curate films/ -o set/ --recipe t2v --set limits.sharpness.least=q0.2\n"
    "  v2t-eval curate set/ --explain 'film.mp4#t=12.000,19.500'\n"
    "  v2t-eval curate films/ -o set/ --recipe t2v --for musubi --write musubi\n"
    "  v2t-eval curate set/ --write webdataset,manifest"
)


def add_arguments(parser: Parser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add(
        "films",
        metavar="FILMS",
        help="folder of films, a film, or a manifest.jsonl; with --explain and --write also the set",
    )
    add(
        "-o",
        "--output",
        type=Path,
        metavar="SET",
        help="folder for clips.jsonl (measured), clips.parquet (verdicts) and report.html",
    )
    add("--recipe", type=Path, metavar="RECIPE", help="steps and limits: t2v, t2v-lora, v2t, or a YAML file (default: "
        "all steps, no limits)")  # fmt: skip
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting of the recipe, as a.b=c")
    add(
        "--against",
        type=Path,
        metavar="HELD_OUT",
        help="folder or manifest of a held-out set: clips that are near copies of one of it are dropped (leak)",
    )
    add("--for", dest="trainer", metavar="NAME", help="a trainer of `v2t-eval check-set`: limits by its rules (below "
        "those of --set), and clips that fit it; its name is a format of --write then")  # fmt: skip
    add("--trainer-set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the trainer, as "
        "frames=[81], or model=NAME")  # fmt: skip
    add("--explain", metavar="ID", help="say why this clip is in the set or not, from the table alone")
    add("--write", metavar="A,B", help="cut the kept clips out and write them as webdataset, lance, videofolder, "
        "two_file, parquet, manifest")  # fmt: skip
    add("--cut", choices=("exact", "copy"), default="exact", help="encode every clip as H.264 (default), or copy "
        "packets where a key frame allows")  # fmt: skip
    add("--blur-faces", type=Path, metavar="MODEL", help="blur the faces that this detector finds (YuNet as an ONNX "
        "file) in written clips")  # fmt: skip
    add("--dry-run", action="store_true", help="print films, steps and limits; write nothing")
    add("--json", action="store_true", help="as one JSON object on stdout")
    add("--workers", type=int, metavar="N", help="processes for films (default: by cores and films); same result")
    add("--cache", type=Path, metavar="DIR", help="cache of surveys of films, shared by runs (default: inside -o)")
    add_cluster(parser)


def run(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    from cineloop import log
    from cineloop.cluster.workers import Session
    from cineloop.discovery import discover
    from cineloop.interrupt import Stopping
    from v2t_eval.clips.store import JOURNAL
    from v2t_eval.core.executor import ExecutorConfig
    from v2t_eval.curate import page, report, table, write
    from v2t_eval.curate.recipe import read_plan
    from v2t_eval.curate.run import curate, held_out_films, known_films, read_origins
    from v2t_eval.report import terminal
    from v2t_eval.trainers.fitted import curation_sets

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    table.check()
    if args.explain is not None:
        document, tree = report.explain(args.output or Path(args.films), args.explain)
        terminal.show(document, tree if args.json else None)
        return EXIT_OK
    if args.workers is not None and args.workers < 1:
        raise UsageError(f"--workers must be at least 1, got {args.workers}")
    rules, writers = _rules(args), _writers(args)
    if writers and args.output is None and (Path(args.films) / table.PARQUET).is_file():
        return _write_alone(args, writers)
    sets = [] if rules is None else curation_sets(rules)
    plan = read_plan(args.recipe, [*sets, *args.set], is_against=args.against is not None)
    _check_output(args.output, Path(args.films))
    sources = discover([args.films])
    against = [] if args.against is None else held_out_films(args.against)
    if args.dry_run:
        films = known_films(sources, plan, args.output) if args.output else {}
        steps = {step.name: list(step.columns) for step in plan.steps}
        tree = {"films": len(sources), "known": len(films), "steps": steps}
        terminal.show(report.plan_document(plan, sources, len(films)), tree if args.json else None)
        return EXIT_OK
    if args.output is None:
        raise UsageError("a curation needs an output folder", hint="give it by -o")
    with ExitStack() as stack:
        folder = stack.enter_context(RunFolder(args.output, journal=JOURNAL))
        cache, session = args.cache or folder.state, stack.enter_context(Session())
        config = ExecutorConfig(workers=args.workers, cache=cache, place=place_of(args, cache, session))
        stop = stack.enter_context(Stopping())
        given = read_origins(Path(args.films))
        done = curate(
            sources, plan, args.output, config, against=against, given=given, stop=stop, show_progress=not args.quiet
        )
        write.remember_films(folder.state, Path(args.films))
        terminal.show(report.funnel(done), report.as_json(done) if args.json else None)
        for path in (args.output / table.PARQUET, page.write(done, plan, sources, args.output, cache, _command(args))):
            log.logger.info("%s", log.printable(str(path)))
        left_out = _write(folder, args, writers, stop).failed if writers else {}
    return EXIT_FAILED_ITEMS if done.failed or left_out else EXIT_OK


def _rules(args: argparse.Namespace) -> TrainerRules | None:
    """The rules of --for, with the settings and the model of --trainer-set."""
    from v2t_eval.trainers.rules import load_rules

    if args.trainer is None:
        if args.trainer_set:
            raise UsageError("--trainer-set needs a trainer", hint="give it by --for")
        return None
    models = [each.removeprefix("model=") for each in args.trainer_set if each.startswith("model=")]
    sets = [each for each in args.trainer_set if not each.startswith("model=")]
    return load_rules(args.trainer, models[-1] if models else None, sets)


def _writers(args: argparse.Namespace) -> dict[str, Any]:
    """The writers of --write, that of the trainer among them."""
    from v2t_eval.curate import write
    from v2t_eval.trainers.layout import TrainerWriter

    names, rules = [] if args.write is None else args.write.split(","), _rules(args)
    own = {}
    if rules is not None and args.trainer in names:
        own = {args.trainer: TrainerWriter(args.trainer, rules, Path(args.films).name)}
    return write.load_writers([name for name in names if name not in own]) | own


def _fit(args: argparse.Namespace) -> CutFit:
    """How clips are cut: as the trainer of --for wants them."""
    from v2t_eval.trainers.fitted import fitted_cut

    rules = _rules(args)

    def fit(clip: FilmClip, cut: Cut) -> Cut:
        if rules is None or clip.width is None or clip.height is None or clip.fps is None:
            return cut
        return fitted_cut(rules, cut, (clip.width, clip.height), clip.fps)

    return fit


def _write_alone(args: argparse.Namespace, writers: dict[str, Any]) -> int:
    """Write the set that FILMS names; returns the exit code."""
    from cineloop.interrupt import Stopping
    from v2t_eval.clips.store import JOURNAL

    with RunFolder(Path(args.films), journal=JOURNAL) as folder, Stopping() as stop:
        done = _write(folder, args, writers, stop)
    if args.json:
        print(json.dumps(done.as_tree(), ensure_ascii=False))
    return EXIT_FAILED_ITEMS if done.failed else EXIT_OK


def _write(folder: RunFolder, args: argparse.Namespace, writers: dict[str, Any], stop: Callable[[], bool]) -> Outcome:
    """Write the set of a folder."""
    from cineloop.log import logger, plural, printable
    from v2t_eval.curate.write import write_set

    done = write_set(
        folder, writers, copy=args.cut == "copy", faces=args.blur_faces, fit=_fit(args), workers=args.workers,
        stop=stop, show_progress=not args.quiet,
    )  # fmt: skip
    for place in done.places:
        logger.info("%s", printable(str(place)))
    logger.info("%s written, %d left out", plural(done.num_clips, "clip"), len(done.failed))
    return done


def _command(args: argparse.Namespace) -> str:
    """The command that makes this set, to be gone on with."""
    words = ["v2t-eval", "curate", args.films, "-o", str(args.output)]
    words += ["--recipe", str(args.recipe)] if args.recipe else []
    words += ["--for", args.trainer] if args.trainer else []
    words += [word for each in args.trainer_set for word in ("--trainer-set", each)]
    return shlex.join([*words, *(word for each in args.set for word in ("--set", each))])


def _check_output(output: Path | None, films: Path) -> None:
    """Raise UsageError where the set would be written among the films or over a file."""
    if output is None:
        return
    if output.is_file():
        raise UsageError(f"-o takes a folder, and {output.name!r} is a file")
    if films.is_dir() and output.resolve() == films.resolve() and not (output / STATE).is_dir():
        raise UsageError("-o is the folder of the films", hint="name another folder")
