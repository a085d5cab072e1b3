"""Whether a process that a test does not own goes on."""

from __future__ import annotations

from pathlib import Path


def is_running(pid: int) -> bool:
    """Not one that has ended and only waits for its parent to look."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False
