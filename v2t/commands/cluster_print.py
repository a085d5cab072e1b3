"""The verb `v2t cluster print`: the job file that runs a command on a cluster."""

from __future__ import annotations

import argparse

from cineloop.cluster.manifests import JobSize, engines, fill
from cineloop.options import add_options, load_options
from cineloop.parser import Parser

SUMMARY = "Print the job file that runs a command on a cluster: a Slurm array, a Kubernetes job, Ray, SkyPilot."
EXAMPLES = (
    "  v2t cluster print slurm --nodes 8 -- v2t caption clips/ -o captions/ > captions.sbatch\n"
    "  v2t cluster print slurm --nodes 8 --shards 64 -- v2t caption clips/ -o captions/ > captions.sbatch\n"
    "  v2t cluster print k8s --gpus 0 -- v2t caption clips/ -o captions/ | kubectl create -f -\n"
    "Sizes go before --, the command after it; how to submit, watch and retry stands at the head of the file."
)


def add_arguments(parser: Parser) -> None:
    parser.add_argument("engine", choices=engines(), metavar="ENGINE", help=", ".join(engines()))
    add_options(parser, JobSize)
    parser.add_argument("words", nargs="+", metavar="COMMAND", help="the command, after --, as typed on one machine")


def run(args: argparse.Namespace) -> int:
    print(fill(args.engine, args.words, load_options(args, JobSize)), end="")
    return 0
