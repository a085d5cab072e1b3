"""`clip.mp4` → `clip.txt`: the caption alone, UTF-8 without BOM, one newline at the end.

The sidecar that trainers of video models read (musubi-tuner, kohya, diffusion-pipe). Holds any caption as it is.
"""

from __future__ import annotations

from v2t.writers import Record

SUFFIX = ".txt"


def render(record: Record) -> bytes:
    """The caption of an `ok` record as the content of its sidecar; a prefix's or suffix's spaces are kept."""
    caption: str = record["caption"]
    return caption.encode("utf-8") + b"\n"


def read(data: bytes) -> str:
    """The caption in a sidecar, perhaps changed by hand (a BOM and invalid UTF-8 are accepted)."""
    return data.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").strip()
