"""The verb `t2v recipes`: the shipped recipes of the generator."""

from __future__ import annotations

import argparse

from cineloop import shipped

SUMMARY = "List the shipped training recipes, or print one, to train from or to copy."
EXAMPLES = "  t2v recipes\n  t2v recipes t2v/vae > vae.yaml\n  t2v train t2v/vae --plan"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    shipped.add_arguments(parser, "recipe")


def run(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    from cineloop.training.recipe import recipes

    return shipped.run(args, recipes("t2v.train"), "recipe of t2v")
