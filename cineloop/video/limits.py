"""Limits on the decoding of one file, and the decoders there are. Imported for --help: nothing heavy here."""

from __future__ import annotations

from dataclasses import dataclass

from cineloop.errors import UsageError
from cineloop.options import setting

DECODERS = ("decord", "pyav")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one file may cost.

    Raises:
        UsageError: on a value outside its range.
    """

    timeout_s: float = setting(60.0, "wall-clock seconds per decoder and file; a film gets them for each stretch of it")
    memory_mb: int = setting(2048, "resident memory of a decoder process, MiB, at least 64")
    max_pixels: int = setting(36_000_000, "largest height * width of a frame; 8K UHD passes, 16384 x 16384 does not")
    max_duration_s: float = setting(6 * 3600.0, "longest file in seconds")
    total_s: float | None = setting(None, "wall-clock seconds for one file, however long (default: no end)")
    codecs: str = setting("", "FFmpeg's names of the decoders that may read it, with commas between (default: any)")

    def __post_init__(self) -> None:
        for name, least in (("timeout_s", 0.01), ("memory_mb", 64), ("max_pixels", 1), ("max_duration_s", 1e-3)):
            if not getattr(self, name) >= least:
                raise UsageError(f"Limits.{name} must be at least {least}, got {getattr(self, name)!r}")
        if self.total_s is not None and not self.total_s > 0:
            raise UsageError(f"Limits.total_s must be above 0, got {self.total_s!r}")
