"""What a run of `t2v generate` did, as data and in words.

In: counts and failures. Out: `GenerateSummary`, which knows the exit code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cineloop.errors import EXIT_FAILED_ITEMS, EXIT_INTERRUPTED, EXIT_OK
from cineloop.log import plural, printable

Row = dict[str, Any]


@dataclass(kw_only=True)
class GenerateSummary:
    """What a run did. `seconds` are those of generating, loading left out."""

    asked: int
    made: int = 0
    skipped: int = 0
    failures: list[Row] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False
    folder: Path | None = None

    @property
    def exit_code(self) -> int:
        """0, 3 when clips failed, 130 when the run was stopped."""
        return EXIT_INTERRUPTED if self.interrupted else EXIT_FAILED_ITEMS if self.failures else EXIT_OK

    def to_dict(self) -> Row:
        """The summary as JSON-able data."""
        each = round(self.seconds / self.made, 3) if self.made else None
        return {
            "asked": self.asked,
            "made": self.made,
            "skipped": self.skipped,
            "failed": len(self.failures),
            "seconds": round(self.seconds, 3),
            "seconds_per_clip": each,
            "interrupted": self.interrupted,
            "folder": None if self.folder is None else str(self.folder),
        }

    def lines(self) -> list[str]:
        """The summary in words."""
        text = (
            f"{plural(self.asked, 'clip')}: {self.made} made, {self.skipped} there already, {len(self.failures)} failed"
        )
        lines = [text + (f"; {self.seconds / self.made:.2f} s a clip" if self.made else "")]
        if self.folder is not None and (self.made or self.skipped):
            lines.append(f"look at {printable(str(self.folder / 'index.html'))} and contact_sheet.png")
        return lines
