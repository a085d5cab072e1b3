"""The verb `v2t cluster status`: how far a captioning run over many processes is."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cineloop.log import printable
from v2t.commands import folder_or_address

if TYPE_CHECKING:
    from v2t.caption.status import ShardStatus

SUMMARY = "Show how far a captioning run is, over all shards and nodes: done, failed, in hand, lost, speed, time left."
EXAMPLES = (
    "  v2t cluster status captions/\n"
    "  v2t cluster status captions/ --json\n"
    '  sbatch --array="$(v2t cluster status captions/ --retry)" captions.sbatch --retry-failed'
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "folder",
        type=folder_or_address,
        metavar="DIR",
        help="output of v2t caption, also while it is written; also s3://BUCKET/DIR",
    )
    add("--retry", action="store_true", help="print only the numbers of shards to start again: failed, lost, stopped")
    add("--json", action="store_true", help="print the state as one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    from cineloop.errors import NothingMatchedError
    from v2t.caption.status import status_of

    status = status_of(args.folder)
    if args.json:
        print(json.dumps(status.to_dict(), ensure_ascii=False))
    elif args.retry:
        if not status.retry:
            raise NothingMatchedError("no shard has failed or lost clips")
        print(",".join(map(str, status.retry)))
    else:
        _print_table(status.shards)
        print(status.line())
    return 0


def _print_table(rows: Sequence[ShardStatus]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("shard", "node", "state", "starts", "clips", "done", "failed", "clips/s", box=None, pad_edge=False)
    for row in rows:
        numbers = (row.starts, row.clips or "", row.done, row.failed, row.per_s or "")
        table.add_row(row.name, printable(row.node), row.state, *map(str, numbers))
    Console(highlight=False, markup=False).print(table)
