"""One file per verb of `v2t`: its arguments, and the call of the package that does the work.

A verb's module is its name and defines `SUMMARY`, `EXAMPLES`, `add_arguments(parser)` and `run(args) -> exit code`. It
is imported for `--help`, so heavy packages are imported in `run`. Options: `cineloop.options`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from v2t.caption.summary import CaptionSummary


def folder_or_address(text: str) -> Path | str:
    """An output that may be on an object store."""
    from cineloop.store import is_store

    return text.rstrip("/") if is_store(text) else Path(text)


def show_record(row: dict[str, Any], *, as_json: bool, quiet: bool) -> None:
    """Print a record of a run over files, or the planned action on one."""
    from cineloop import log

    if as_json:
        kind = "plan" if "action" in row else "record"
        print(json.dumps({"type": kind, **row}, ensure_ascii=False, allow_nan=False), flush=True)
    elif "action" in row:
        print(f"{row['action']}\t{log.printable(row['id'])}")
    elif row["status"] == "ok" and not quiet:
        name, lines = log.printable(row["id"]), row["caption"].splitlines()
        if sys.stdout.isatty() and len(lines) > 1:  # for a person on separate lines, indented
            print("\n".join([name, *(f"    {log.printable(line)}" for line in lines)]), flush=True)
        else:  # one line for programs
            print(f"{name}\t{log.printable(row['caption'])}", flush=True)


def show_summary(summary: CaptionSummary, *, as_json: bool) -> int:
    """Print the summary of such a run and log its lines; returns its exit code."""
    from cineloop.log import logger

    if as_json:
        print(json.dumps({"type": "summary", **summary.to_dict()}, ensure_ascii=False, allow_nan=False), flush=True)
    for level, line in summary.report():
        logger.log(level, "%s", line)
    return summary.exit_code
