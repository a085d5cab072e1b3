"""The verb `v2t-eval calibrate`: a judge's chances, fitted on clips of known truth."""

from __future__ import annotations

import argparse
from pathlib import Path

from cineloop.errors import PolicyError, UsageError
from cineloop.run_folder import refuse_existing

SUMMARY = (
    "Calibrate a judge's probabilities on drawn clips of known truth, and report its reliability before and after."
)
EXAMPLES = (
    "  v2t-eval calibrate runs/mine/final -o runs/mine/final/judge.json\n"
    "  v2t-eval calibrate openai:http://localhost:8000/v1 -o judge.json\n"
    "\n"
    "A judge takes judge.json from the folder of its model. Another calibration is another judge: baselines of gates\n"
    "that were made with the old one are no longer comparable."
)
FEWEST = 200  # clips; with fewer, intervals of some kinds of fact reach from chance to perfect
PACKAGES = tuple(Path(__file__).resolve().parents[2] / name for name in ("v2t", "t2v", "eval", "v2t_eval"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help="starter, a folder, a hub id, or openai:URL")
    add("-o", "--output", type=Path, metavar="FILE", required=True, help="the calibration, such as MODEL/judge.json")
    add("--num", type=int, default=400, metavar="N", help=f"clips to ask about (default: 400; at least {FEWEST})")
    add("--few", action="store_true", help=f"allow fewer than {FEWEST} clips, for trials")
    add("--seed", type=int, default=6021, metavar="N", help="seed of the clips (default: 6021)")
    add("--size", type=int, default=64, metavar="N", help="width and height of the clips in pixels (default: 64)")
    add("--overwrite", action="store_true", help="replace the file of -o")


def run(args: argparse.Namespace) -> int:
    from cineloop import log

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    _check(args)
    from v2t.backends import open_backend
    from v2t_eval.audit.calibrating import calibration_of
    from v2t_eval.judge.judge import Judge

    fitted, tables = calibration_of(Judge(open_backend(args.model)), num=args.num, seed=args.seed, size=args.size)
    print(tables)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    fitted.save(args.output)
    print(f"wrote {log.printable(str(args.output))}: {len(fitted.maps)} maps, fitted on all clips")
    return 0


def _check(args: argparse.Namespace) -> None:
    """Check the arguments before any question is asked."""
    target: Path = args.output
    if args.num < (2 if args.few else FEWEST):
        hint = "--few allows fewer, to try things out" if not args.few else "2 or more"
        raise UsageError(f"--num {args.num} is too few clips to fit chances on, expected {FEWEST} or more", hint=hint)
    if target.is_dir():
        raise UsageError(f"-o takes a file, and {target} is a folder", hint=f"-o {target / 'judge.json'}")
    if any(target.resolve().is_relative_to(folder.resolve()) for folder in PACKAGES):
        raise PolicyError(
            f"-o {target} is inside the installed package: it would change the judge of every project here",
            hint="another file; one next to a model of your own is found",
        )
    refuse_existing([target], overwrite=args.overwrite)
