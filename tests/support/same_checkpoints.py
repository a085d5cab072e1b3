"""Whether two runs came to the same weights.

In: two run folders and a step. Out: an assertion that fails with the name of the file that differs.
"""

from __future__ import annotations

from pathlib import Path


def assert_same_checkpoints(one: Path, two: Path, step: int) -> None:
    """Weights and optimiser state of both runs at `step` are equal to the bit."""
    for name in ("weights", "optimizer"):
        files = [run / f"checkpoints/step-{step:08d}/{name}.safetensors" for run in (one, two)]
        assert files[0].read_bytes() == files[1].read_bytes(), name
