"""`two_file/videos.txt` and `two_file/prompts.txt`: one path and one caption a line, in the same order.

What finetrainers and the CogVideoX trainers read. Paths are relative to the folder of these files. A caption's line
breaks of every kind (those of `str.splitlines`) become one space, and spaces at its ends go, so that line n of one file
always belongs to line n of the other. Left out, and named in a warning: no caption, or one with NUL; a file name that
is not a line of UTF-8; a clip that is a part of a file.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from cineloop.errors import ItemError
from v2t.writers import Rows

NAME = "two_file"
OWN = r"videos\.txt|prompts\.txt"
_BREAKS = re.compile("[ \t]*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+[ \t]*")


def write(rows: Rows, target: Path, place: Path) -> None:
    """Both files, line by line together."""
    target.mkdir()
    with (
        open(target / "videos.txt", "w", encoding="utf-8", newline="\n") as videos,
        open(target / "prompts.txt", "w", encoding="utf-8", newline="\n") as prompts,
    ):
        for record, video in rows.with_videos():
            try:
                path, caption = _path_line(os.path.relpath(video, place)), one_line(record["caption"])
            except ItemError as error:
                rows.leave_out(record, error)
                continue
            videos.write(path + "\n")
            prompts.write(caption + "\n")


def one_line(caption: str) -> str:
    """A caption on one line.

    Raises:
        ItemError: code BAD_CAPTION, it holds NUL or nothing that a line could show.
    """
    line = _BREAKS.sub(" ", caption).strip()
    if not line:
        raise ItemError("it has no caption", code="BAD_CAPTION", hint="write its .txt file, or caption it")
    if "\0" in line:
        raise ItemError("its caption holds a NUL character", code="BAD_CAPTION", hint="edit its .txt file")
    return line


def _path_line(path: str) -> str:
    is_line = path == path.strip() and len(path.splitlines()) == 1
    if not is_line or any("\ud800" <= c <= "\udfff" for c in path):
        raise ItemError("the file's name is not a line of UTF-8 text", code="BAD_NAME", hint="rename the video")
    return path
