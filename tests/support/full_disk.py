"""A limit on the size of files stands for a full disk: the kernel refuses what goes beyond it in the same way."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def full_disk(most_bytes: int) -> Iterator[None]:
    """No file grows beyond `most_bytes` within; nor is bytecode written, which Python 3.11 would leave truncated."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def python_on_full_disk(
    code: str, *words: object, most_bytes: int, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """A Python of its own runs `code` with `words` under such a limit; its children have the limit too."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({most_bytes}, {most_bytes}))\n"
    command: Sequence[str] = [sys.executable, "-c", limit + code, *map(str, words)]
    # A module first imported under the limit would leave a truncated .pyc, which no later import survives.
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=300)
