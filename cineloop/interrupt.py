"""Ctrl-C that loses nothing: the first asks to finish what is in hand, the second quits at once.

In: SIGINT and SIGTERM while a `with` block runs. Out: a flag to ask between steps. Everything saved so far is in a
journal that was flushed, so quitting at once is safe too.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

from cineloop.errors import EXIT_INTERRUPTED


class Stopping:
    """`with Stopping() as stop:` then ask `stop()`; outside the main thread it only ever says False."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __call__(self) -> bool:
        return self.asked

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            # No unwinding: native code or a full disk could hold it up. The workers end when their pipe closes.
            os.write(2, b"\nstopped at once; what was finished is saved\n")
            os._exit(EXIT_INTERRUPTED)
        self.asked = True
        os.write(2, b"\nstopping after the batch in hand; press Ctrl-C again to quit at once\n")
