"""The verb `v2t-eval ci`: ready workflows that gate pull requests."""

from __future__ import annotations

import argparse
from pathlib import Path

from cineloop import shipped

SUMMARY = "Print a ready CI workflow that gates every pull request; its header lists the files it needs."
EXAMPLES = "  v2t-eval ci github > .github/workflows/gate.yml\n  v2t-eval ci gitlab > .gitlab-ci.yml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shipped.add_arguments(parser, "workflow")


def run(args: argparse.Namespace) -> int:
    folder = Path(__file__).resolve().parent.parent / "workflows"
    return shipped.run(args, {path.stem: path for path in sorted(folder.glob("*.yml"))}, "workflow")
