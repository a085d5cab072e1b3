"""The verb `v2t cluster print`: the job file that runs a command on a cluster."""

from __future__ import annotations

import argparse

SUMMARY = "Print the job file that runs a command on a cluster: a Slurm array, a Kubernetes job, Ray, SkyPilot."
EXAMPLES = (
    "  v2t cluster print slurm --nodes 8 -- v2t caption clips/ -o captions/ > captions.sbatch\n"
    "  v2t cluster print slurm --nodes 8 --shards 64 -- v2t caption clips/ -o captions/ > captions.sbatch\n"
    "  v2t cluster print k8s --gpus 0 -- v2t caption clips/ -o captions/ | kubectl create -f -\n"
    "Sizes go before --, the command after it; how to submit, watch and retry stands at the head of the file."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cineloop.cluster.manifests import JobSize, engines

    add, plain = parser.add_argument, JobSize()
    add("engine", choices=engines(), metavar="ENGINE", help=", ".join(engines()))
    add("--nodes", type=int, default=plain.nodes, metavar="N", help=f"machines (default: {plain.nodes})")
    add("--shards", type=int, metavar="N", help="parts of the work where no Ray divides it (default: one a node)")
    add("--cpus", type=int, default=plain.cpus, metavar="N", help=f"cores of a process (default: {plain.cpus})")
    add("--gpus", type=int, default=plain.gpus, metavar="N", help=f"GPUs of a process (default: {plain.gpus})")
    add("words", nargs="+", metavar="COMMAND", help="the command, after --, as it is typed on one machine")


def run(args: argparse.Namespace) -> int:
    from cineloop.cluster.manifests import JobSize, fill

    size = JobSize(nodes=args.nodes, shards=args.shards, cpus=args.cpus, gpus=args.gpus)
    print(fill(args.engine, args.words, size), end="")
    return 0
