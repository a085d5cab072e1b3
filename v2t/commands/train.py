"""The verb `v2t train`: one stage of the captioner."""

from __future__ import annotations

import argparse

from cineloop.cli import add_training_arguments, run_training

SUMMARY = "Train one stage of the captioner from a recipe."
EXAMPLES = "  v2t train starter/tower --plan\n  v2t train mine.yaml --set loop.steps=100"

add_arguments = add_training_arguments


def run(args: argparse.Namespace) -> int:
    return run_training("v2t", args)
