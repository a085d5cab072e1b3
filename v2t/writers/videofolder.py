"""`videofolder/metadata.jsonl` and `videofolder/videos/`: a Hugging Face `datasets` "videofolder".

`load_dataset("videofolder", data_dir="OUT/videofolder")` gives columns `video, text, id, path`, and of a curated set
`license, origin, source, split`. `datasets` refuses videos outside the folder, so each is hard-linked there (no space
on the disk; a change to the original is one to the link) or, on another file system, copied. Copies are numbered: a
file called `test` or `dev_1` makes `datasets` split the set and drop the rest, a dot ends webdataset's key, and names
may not be UTF-8. Any caption is held as it is (JSON escapes). Failed clips, parts of a file, and videos that are gone
or have changed are left out.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from cineloop.discovery import SKIP_FILE
from cineloop.errors import ItemError
from cineloop.files import link_or_copy, raise_if_full
from cineloop.manifest import dump_line
from v2t.writers import Rows

NAME = "videofolder"
OWN = r"metadata\.jsonl|videos|" + SKIP_FILE.replace(".", r"\.")
COPIES_VIDEOS = True
SKIP_TEXT = b"Made by v2t caption from the videos it captioned, and made again when captions change.\n"
_CARRIED = ("license", "origin", "source", "split")  # of a curated set


def write(rows: Rows, target: Path, place: Path) -> None:
    """The videos, and their rows in the order of their ids."""
    (target / "videos").mkdir(parents=True)
    (target / SKIP_FILE).write_bytes(SKIP_TEXT)
    number = 0
    with open(target / "metadata.jsonl", "wb") as file:
        for record, video in rows.with_videos():
            name = f"videos/{number:06}{suffix(video)}"
            try:
                link_or_copy(video, target / name)
            except OSError as error:
                raise_if_full(error, place)
                rows.leave_out(record, ItemError(f"cannot be read: {error.strerror}", code="UNREADABLE"))
                continue
            row = {"file_name": name, "text": record["caption"], "id": record["id"], "path": record["path"]}
            file.write(dump_line(row | {key: record[key] for key in _CARRIED if key in record}))
            number += 1


def suffix(video: Path) -> str:
    """A video's ending in lower case, `.mp4` where it has none that readers could know."""
    ending = os.path.splitext(video.name)[1].lower()
    return ending if re.fullmatch(r"\.(?!json|txt|csv|cls)[a-z0-9]{2,5}", ending) else ".mp4"
