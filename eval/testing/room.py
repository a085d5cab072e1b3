"""What one session of tests keeps: its options, its folders, and the models and clips behind `v2t_eval.testing.looks`.

In: pytest's config. Out: `Room`. Nothing heavy is imported before a clip is looked at.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from v2t_eval.testing.looks import Looks

_LONGEST_NAME = 100


class Room:
    """What one session keeps: models, decoder, evidence; made when first asked for.

    Args:
        config: of the session; None outside of pytest, where nothing is kept.
    """

    def __init__(self, config: Any = None) -> None:
        self.config = config
        self.test = ""  # that runs now
        self._looks: Looks | None = None
        self._pictures: Path | None = None

    def looks(self) -> Looks:
        """What clips are looked at with."""
        if self._looks is None:
            from v2t_eval.testing.looks import Looks

            self._looks = Looks(self.cache())
        return self._looks

    def cache(self) -> Path | None:
        """Folder for evidence; None where pytest keeps nothing (`-p no:cacheprovider`)."""
        kept = getattr(self.config, "cache", None)
        return None if kept is None else Path(kept.mkdir("cineloop"))

    def option(self, name: str, default: Any = None) -> Any:
        """An option of the command line."""
        return default if self.config is None else self.config.getoption(name)

    def find(self, path: str | Path) -> Path:
        """The path as it is; a relative one that is not there, from pytest's root folder."""
        given = Path(path)
        if self.config is None or given.is_absolute() or given.exists():
            return given
        rooted = self.config.rootpath / given
        return rooted if rooted.exists() else given

    def picture(self, clip: str) -> Path:
        """Where the picture of a clip that did not pass goes."""
        if self._pictures is None:
            import tempfile

            given = self.option("cineloop_report")
            self._pictures = Path(given) if given else Path(tempfile.mkdtemp(prefix="clips-"))
        name = re.sub(r"[^\w.-]+", "_", f"{self.test or 'clip'}-{Path(clip).stem}").strip("_")[-_LONGEST_NAME:]
        return self._pictures / f"{name}.webp"

    def close(self) -> None:
        """Let go of everything."""
        if self._looks is not None:
            self._looks.close()
            self._looks = None
