"""The verb `v2t doctor`: what this machine has and lacks."""

from __future__ import annotations

import argparse

SUMMARY = "Say what this machine has, and what is missing for which command."
EXAMPLES = "  v2t doctor\n  v2t doctor --json --for caption"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    from v2t import doctor

    doctor.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    from v2t import doctor

    return doctor.run(args)
