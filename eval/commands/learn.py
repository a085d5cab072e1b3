"""The verb `v2t-eval learn`: a generator learns from rewards of its own clips, watched by measures outside of them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from cineloop.cluster.settings import FLAGS as CLUSTER
from cineloop.cluster.settings import add_flags

SUMMARY = "Teach a generator by a judge: draw, judge, learn, measure; stop when it only learns to please."
EXAMPLES = (
    "  v2t-eval learn -o learnt/                                  # the bundled generator and its judge\n"
    "  v2t-eval learn recipe.yaml -o learnt/ --set objective=rwr --set rounds=20\n"
    "  v2t-eval learn -o learnt/ --set model=Wan-AI/Wan2.1-T2V-1.3B-Diffusers --set generator=diffusers \\\n"
    "      --set rank=16 --set drawn=made/ --set rewards=mine.jsonl --set rounds=1   # rewards by hand\n"
    "  v2t-eval learn -o learnt/ --cluster ray --model-workers 1..8       # clips drawn and judged by many machines"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("recipe", nargs="?", type=Path, metavar="RECIPE", help="YAML file of settings (docs/learning.md)")
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for all rounds and the report")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting over the recipe's")
    add("--json", action="store_true", help="print the result as one JSON object on stdout")
    add_flags(parser.add_argument_group("a cluster (pip install 'cineloop[cluster]')").add_argument)


def run(args: argparse.Namespace) -> int:
    from cineloop import config as configs
    from cineloop import log
    from v2t_eval.learn.report import as_dict, document
    from v2t_eval.learn.run import run as learn
    from v2t_eval.learn.settings import LearnConfig
    from v2t_eval.report import terminal

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    flags = {key: getattr(args, name) for name, key in CLUSTER.items()}
    config = configs.load(LearnConfig, file=args.recipe, sets=args.set, flags=flags)
    found = learn(config, args.output)
    if args.json:
        print(json.dumps(as_dict(found), allow_nan=False))
    else:
        terminal.show(document(found, config, args.output))
    return 0
