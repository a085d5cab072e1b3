"""Progress on stderr while a video is watched into notes."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any


class NoteProgress:
    """Progress on stderr while notes are taken; a context manager and a callback."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled, self._stack, self._done = enabled, ExitStack(), 0
        self._bar: Any = None

    def __enter__(self) -> NoteProgress:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def __call__(self, done: int, total: int) -> None:
        """`done` of `total` windows are finished; 0 begins."""
        from cineloop.log import Progress

        if not done:
            self._bar = self._stack.enter_context(Progress(total, "taking notes, by windows", enabled=self._enabled))
        self._bar.advance(done - self._done)
        self._done = done
        if done == total:
            self._stack.close()
            self._done = 0
