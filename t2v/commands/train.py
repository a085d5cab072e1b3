"""The verb `t2v train`: one stage of the generator."""

from __future__ import annotations

import argparse

from cineloop.cli import add_training_arguments, run_training

SUMMARY = "Train one stage of the generator from a recipe."
EXAMPLES = (
    "  t2v train t2v/vae --plan\n"
    "  t2v train t2v/vae --set loop.steps=100 -o runs/vae\n"
    "  t2v train t2v/vae -o runs/vae --resume"
)

add_arguments = add_training_arguments


def run(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    return run_training("t2v", args)
