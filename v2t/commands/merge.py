"""The verb `v2t merge`: shards and folders of captions joined into one."""

from __future__ import annotations

import argparse
import json

from cineloop.options import comma_list
from v2t.commands import folder_or_address

SUMMARY = "Join the shards of a captioning run, or several output folders, into one."
EXAMPLES = (
    "  v2t merge captions/\n"
    "  v2t merge machine1/captions machine2/captions -o captions/\n"
    "  v2t merge s3://bucket/captions -o captions/ --format txt,webdataset\n"
    "Exit code 3 means that shards are missing or clips failed; merging again changes nothing."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folders", nargs="+", type=folder_or_address, metavar="DIR", help="output of v2t caption; also s3://BUCKET/DIR")
    add(
        "-o",
        "--output",
        type=folder_or_address,
        metavar="DIR",
        help="folder or s3:// address for the result (default: the one given)",
    )
    add("--format", type=comma_list, default=(), metavar="A,B", help="formats to write (default: those of the runs)")
    add("--allow-mixed", action="store_true", help="allow captions made with different settings")
    add("--dry-run", action="store_true", help="print what would be joined; write nothing")
    add("--json", action="store_true", help="print the result as one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from v2t.caption.merge import merge

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    merged = merge(args.folders, args.output, formats=args.format, allow_mixed=args.allow_mixed, dry_run=args.dry_run)
    if args.json:
        print(json.dumps(merged.to_dict(), ensure_ascii=False))
    else:
        for line in merged.lines():
            print(line)
    return merged.exit_code
