"""Names for copies of videos in formats that hold them: numbers, because users' names break readers.

A folder or file called `test` or `dev_1` makes `datasets` part the set into splits and drop the rest; a dot in a name
ends webdataset's key; and names may not be UTF-8. Each copy's row holds the clip's `id` and `path` instead.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

SKIP_TEXT = b"Made by v2t caption from the videos it captioned, and made again when captions change.\n"


def stem(number: int) -> str:
    """`000042`: the name of clip 42 of a set."""
    return f"{number:06}"


def suffix(video: Path) -> str:
    """A video's ending in lower case, `.mp4` where it has none that readers could know."""
    ending = os.path.splitext(video.name)[1].lower()
    return ending if re.fullmatch(r"\.(?!json|txt|csv|cls)[a-z0-9]{2,5}", ending) else ".mp4"
