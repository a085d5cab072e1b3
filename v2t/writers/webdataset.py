"""`webdataset/000000.tar …`: shards of video, record and caption, for webdataset and Hugging Face `datasets`.

A sample is `N.mp4` (the file's own ending), `N.txt` (the caption, as it is) and `N.json` (the record); N counts up over
all shards. A shard ends at about 1 GB or 10,000 clips. The same clips make the same bytes: order by id, no dates, no
owners. Failed clips, parts of a file, and videos that are gone or have changed are left out.
"""

from __future__ import annotations

import io
import os
import tarfile
from contextlib import ExitStack
from pathlib import Path

from cineloop.discovery import SKIP_FILE
from cineloop.errors import ItemError
from cineloop.manifest import dump_line
from v2t.writers import Rows
from v2t.writers.videofolder import SKIP_TEXT, suffix

NAME = "webdataset"
OWN = r"\d{6,}\.tar|" + SKIP_FILE.replace(".", r"\.")
COPIES_VIDEOS = True
SHARD_BYTES = 1_000_000_000
SHARD_CLIPS = 10_000


def write(rows: Rows, target: Path, place: Path) -> None:
    """All shards."""
    target.mkdir()
    (target / SKIP_FILE).write_bytes(SKIP_TEXT)
    number = shard = in_shard = 0
    with ExitStack() as stack:
        tar: tarfile.TarFile | None = None
        for record, video in rows.with_videos():
            try:
                source = open(video, "rb")
            except OSError as error:
                rows.leave_out(record, ItemError(f"cannot be read: {error.strerror}", code="UNREADABLE"))
                continue
            with source:
                size = os.fstat(source.fileno()).st_size
                if tar is None or in_shard == SHARD_CLIPS or tar.offset + size > SHARD_BYTES:
                    stack.close()
                    tar = stack.enter_context(tarfile.open(target / f"{shard:06}.tar", "w"))
                    shard, in_shard = shard + 1, 0
                key = f"{number:06}"
                tar.addfile(_member(key + suffix(video), size), source)
                for ending, data in ((".json", dump_line(record)), (".txt", record["caption"].encode("utf-8"))):
                    tar.addfile(_member(key + ending, len(data)), io.BytesIO(data))
            number, in_shard = number + 1, in_shard + 1


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o644
    return member
