"""Print captions beside the truth, every fact marked right, missed or wrong: the last step of scripts/demo.

In: a manifest of `v2t world`, the records of `v2t caption`, the `scores.json` of `v2t-eval score -o`. Out: text on
stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

MARKS = (("right", "32"), ("missed", "33"), ("WRONG", "31"))


def main(manifest: Path, captions: Path, score: Path) -> None:
    """Print one block a clip, then the counts of all of them."""
    truths = {row["id"]: row for row in map(json.loads, manifest.read_text("utf-8").splitlines())}
    records = {row["id"]: row for row in map(json.loads, captions.read_text("utf-8").splitlines())}
    result = next(r for r in json.loads(score.read_text("utf-8"))["results"] if r["name"] == "facts")
    coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    for item in result["items"]:
        truth, record = truths[item["id"]], records.get(item["id"], {})
        error = (record.get("error") or {}).get("code", "no record")
        print(f"\n{item['id']}")
        print(f"  starter  {record.get('caption') or f'no caption: {error}'}")
        print(f"  truth    {truth['captions']['short'][0]}")
        print(f"  facts    {verdicts(item, coloured)}")
        for warning in record.get("warnings") or ():
            print(f"  warning  {warning}")
    print()
    for kind, figure in result["figures"].items():
        good = figure["detail"]["right"]
        print(f"  {kind:<12} {good} of {figure['n']} right")


def verdicts(item: dict[str, Any], coloured: bool) -> str:
    """The facts of one clip in a line; `item["facts"]` holds per kind how many were right, missed, wrong."""
    words = []
    for kind, counts in item["facts"].items():
        for (mark, colour), count in zip(MARKS, counts, strict=True):
            if count:
                text = f"{kind} {mark}" + (f" x{count}" if count > 1 else "")
                words.append(f"\033[{colour}m{text}\033[0m" if coloured else text)
    if item["made_up"]:
        words.append(f"{item['made_up']} made up")
    return ", ".join(words)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("manifest", type=Path, help="manifest.jsonl of v2t world")
    parser.add_argument("captions", type=Path, help="captions.jsonl of v2t caption")
    parser.add_argument("score", type=Path, help="scores.json of v2t-eval score")
    main(**vars(parser.parse_args()))
