"""The verb `t2v train`: one stage of the generator."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "Train one stage of the generator from a recipe."
EXAMPLES = (
    "  t2v train configs/starter/dit.yaml --plan\n"
    "  t2v train configs/starter/dit.yaml --set loop.steps=100 -o runs/dit\n"
    "  t2v train configs/starter/dit.yaml -o runs/dit --resume"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the recipe, a YAML file (see configs/)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting, as a.b=c")
    parser.add_argument("-o", "--out", type=Path, metavar="DIR", help="run folder, instead of the recipe's")
    parser.add_argument("--plan", action="store_true", help="print parameters, memory, FLOPs and time; train nothing")
    parser.add_argument("--resume", action="store_true", help="go on from the run folder's last checkpoint")
    parser.add_argument("--overwrite", action="store_true", help="begin anew in a folder that holds a run")
    parser.add_argument("--json", action="store_true", help="with --plan: JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    from t2v import train
    from v2t.base import log

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    return train.run(
        args.config,
        sets=args.set,
        out=args.out,
        plan=args.plan,
        resume=args.resume,
        overwrite=args.overwrite,
        as_json=args.json,
    )
