"""Video to text, and the base of all three packages. This file stays light so that commands start fast."""

from __future__ import annotations

from pathlib import Path

STARTER = Path(__file__).resolve().parent / "starter"  # the weights that come with the package
