"""The verb `v2t doctor`: check the installation and the machine."""

from __future__ import annotations

import argparse

SUMMARY = (
    "Check the installation: packages, devices, decoders, disk, models; exit code 5 when something needed is missing."
)
EXAMPLES = "  v2t doctor\n  v2t doctor --json\n  v2t doctor --model Qwen/Qwen3.5-4B"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from v2t import doctor

    doctor.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from v2t import doctor

    return doctor.run(args)
