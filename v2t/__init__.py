"""Video to text: model, training, captions, questions, serving. This file stays light so that commands start fast."""

from __future__ import annotations

from pathlib import Path

STARTER = Path(__file__).resolve().parent / "starter"  # the weights that come with the package
