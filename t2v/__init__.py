"""Text to video: the bundled generator and the drivers for big ones. Layers: v2t_eval -> (v2t | t2v) -> cineloop.

`import t2v.pipeline` makes the classes known to diffusers; this file stays light so that commands start fast.
"""

from __future__ import annotations

from pathlib import Path

STARTER = Path(__file__).resolve().parent / "starter"  # the weights that come with the package
