"""Files that stand for clips: a run finds them as videos, a stand-in of the decoder reads their text."""

from __future__ import annotations

from pathlib import Path


def clips_in(folder: Path, *names: str, **texts: str) -> Path:
    """A folder with `names`, which hold "video of NAME", and with texts by name (`sub__a` is `sub/a.mp4`)."""
    files = {name: f"video of {name}" for name in names}
    files |= {name.replace("__", "/"): text for name, text in texts.items()}
    for name, text in files.items():
        path = folder / (name if Path(name).suffix else f"{name}.mp4")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder
