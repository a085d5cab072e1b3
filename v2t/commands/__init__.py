"""One file per verb of `v2t`: its arguments, and the call of the package that does the work.

A verb's module is its name and defines `SUMMARY`, `EXAMPLES`, `add_arguments(parser)` and `run(args) -> exit code`. It
is imported for `--help`, so heavy packages are imported in `run`. Options: `cineloop.options`.
"""

from __future__ import annotations

from pathlib import Path


def folder_or_address(text: str) -> Path | str:
    """An output that may be on an object store."""
    from cineloop.store import is_store

    return text.rstrip("/") if is_store(text) else Path(text)
