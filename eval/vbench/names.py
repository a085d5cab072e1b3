"""Names of VBench's video files: `a cat eats-3.mp4` is the fourth clip of the prompt "a cat eats".

In: a path. Out: the prompt and the number. Clips of one prompt are one cluster.
"""

from __future__ import annotations

import re
from pathlib import Path

from cineloop.errors import UsageError

_NAME = re.compile(r"(?P<prompt>.+?)(?:-(?P<index>\d+)(?:-Scene-\d+)?|-Scene-\d+)(?:_\d+)?")


def prompt_and_index(path: str | Path) -> tuple[str, int]:
    """The prompt and the number of its clip; pieces of VBench-Long (`-0_003`, `-Scene-1_000`) are understood.

    Raises:
        UsageError: the name does not end in a number.
    """
    found = _NAME.fullmatch(Path(path).stem)
    if found is None:
        raise UsageError(
            f"{Path(path).name} is not named as VBench names its videos",
            hint="PROMPT-INDEX.mp4, such as 'a cat eats-0.mp4', or give the prompts with --prompts",
        )
    return found["prompt"], int(found["index"] or 0)
