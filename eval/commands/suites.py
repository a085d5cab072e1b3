"""The verb `v2t-eval suites`: the shipped lists of metrics."""

from __future__ import annotations

import argparse

from cineloop import shipped

SUMMARY = "List the shipped suites of metrics, or print one, to score by or to copy."
EXAMPLES = (
    "  v2t-eval suites\n  v2t-eval suites gate > gate/suite.yaml\n  v2t-eval score clips/ --suite starter -o scores/"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shipped.add_arguments(parser, "suite")


def run(args: argparse.Namespace) -> int:
    from v2t_eval.suites.suite import suites

    return shipped.run(args, suites(), "suite")
