"""Decoding in child processes that can be killed. (Signatures first; the body follows.)"""

from __future__ import annotations

import os
from concurrent.futures import Future
from dataclasses import dataclass

from v2t.video.frames import Frames
from v2t.video.sample import SampleSpec


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one file may cost.

    Args:
        timeout_s: wall-clock seconds per decoder and file, > 0.
        memory_mb: resident memory a worker may reach, > 0.
        max_pixels: greatest height * width of a frame (default: 8K UHD passes, 16384 x 16384 does not).
        max_duration_s: greatest length of a file.
    """

    timeout_s: float = 60.0
    memory_mb: int = 2048
    max_pixels: int = 36_000_000
    max_duration_s: float = 6 * 3600.0


class DecoderPool:
    """Children that decode; use as a context manager. Thread-safe."""

    def __init__(
        self,
        num_workers: int = 1,
        limits: Limits | None = None,
        recycle_after: int = 1000,
        decoders: tuple[str, ...] = ("decord", "torchcodec", "pyav"),
    ) -> None:
        raise NotImplementedError

    def decode(
        self, path: str | os.PathLike[str], spec: SampleSpec | None = None, size: tuple[int, int] | None = None
    ) -> Frames:
        """Frames of the file at `path`; blocks. Raises ItemError with a stable code."""
        return self.submit(path, spec, size).result()

    def submit(
        self, path: str | os.PathLike[str], spec: SampleSpec | None = None, size: tuple[int, int] | None = None
    ) -> Future[Frames]:
        """As `decode`, at once: a future of the frames."""
        raise NotImplementedError

    def close(self) -> None:
        """Kill the children and cancel what has not begun."""
        raise NotImplementedError

    def __enter__(self) -> DecoderPool:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
