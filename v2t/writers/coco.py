"""`coco/results.json` and `coco/images.json`: captions as COCO results, what pycocoevalcap's `loadRes` reads.

`results.json` is `[{"image_id", "caption"}]`; `images.json` is `{"images": [{"id", "file_name", "clip"}]}`, the images
part of a COCO reference file, which says the clip of each id. A clip whose id is a whole number (as in a manifest made
from COCO) keeps it; any other id is hashed to 52 bits, so that it is the same in every run and a reference file stays
right when clips are added. Any caption is held as it is (JSON escapes).
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from cineloop.errors import ItemError
from v2t.writers import Rows

NAME = "coco"
OWN = r"results\.json|images\.json"


def write(rows: Rows, target: Path, place: Path) -> None:
    """Both files, entry by entry together."""
    target.mkdir()
    taken: set[int] = set()
    with (
        open(target / "results.json", "w", encoding="ascii", newline="\n") as results,
        open(target / "images.json", "w", encoding="ascii", newline="\n") as images,
    ):
        results.write("[")
        images.write('{"images": [')
        for record in rows.with_captions():
            number = image_id(record["id"])
            if number in taken:
                rows.leave_out(record, ItemError(f"another clip has the image id {number}", code="SAME_NAME"))
                continue
            mark = ",\n" if taken else "\n"
            taken.add(number)
            results.write(mark + _json({"image_id": number, "caption": record["caption"]}))
            images.write(mark + _json({"id": number, "file_name": record["path"], "clip": record["id"]}))
        results.write("\n]\n")
        images.write("\n]}\n")


def image_id(clip_id: str) -> int:
    """The COCO id of a clip: its own number, or a hash in [2^31, 2^52), a range without COCO ids."""
    if re.fullmatch(r"0|[1-9][0-9]{0,8}", clip_id):
        return int(clip_id)
    digest = hashlib.sha256(clip_id.encode("utf-8")).digest()
    return (1 << 31) + int.from_bytes(digest[:8], "big") % ((1 << 52) - (1 << 31))


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False)
