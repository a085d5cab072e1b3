"""The verb `v2t recipes`: the shipped recipes of the captioner."""

from __future__ import annotations

import argparse

from cineloop import shipped

SUMMARY = "List the shipped training recipes, or print one, to train from or to copy."
EXAMPLES = "  v2t recipes\n  v2t recipes starter/tower > tower.yaml\n  v2t train starter/tower --plan"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shipped.add_arguments(parser, "recipe")


def run(args: argparse.Namespace) -> int:
    from cineloop.training.recipe import recipes

    return shipped.run(args, recipes("v2t.train"), "recipe of v2t")
