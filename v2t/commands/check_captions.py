"""The verb `v2t check-captions`: do captions have the form that a video model wants."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

SUMMARY = "Check captions that exist against the words a video model wants (wan, ltx2, hunyuan, cogvideox, h3)."
EXAMPLES = (
    "  v2t check-captions captions/ --style wan\n"
    "  v2t check-captions dataset/ --style ltx2 --json          # any folder of .txt files\n"
    "  v2t check-captions prompts.jsonl --style hunyuan --tokenizer models/HunyuanVideo-1.5/tokenizer\n"
    "Exit code 3 means that captions have errors: the model would read another text, or not the form of its guide.\n"
    "Advice (too short, no word on the camera) is counted and changes no exit code."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "place", type=Path, metavar="PLACE", help="output of v2t caption, a folder of .txt files, a .jsonl or .txt file"
    )
    add("--style", required=True, metavar="NAME", help="wan, ltx2, hunyuan, cogvideox, h3, or a YAML file read as one")
    add("--encoder", default="", metavar="NAME", help="another text encoder than the style's, such as hunyuan")
    add(
        "--tokenizer",
        default="",
        metavar="DIR",
        help="folder or hub id of its tokenizer (default: tokens are estimated)",
    )
    add("--json", action="store_true", help="print the result as one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from v2t import styles
    from v2t.caption.check import check
    from v2t.caption.wording import Wording

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    dialect = styles.load(args.style).dialect
    encoder = args.encoder or (dialect.reader.name if dialect and dialect.reader and args.tokenizer else "")
    result = check(args.place, args.style, Wording(encoder=encoder, tokenizer=args.tokenizer))
    if args.json:
        print(json.dumps(result.to_dict(), ensure_ascii=False))
    else:
        for line in result.lines():
            print(line)
    return result.exit_code
