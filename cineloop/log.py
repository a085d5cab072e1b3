"""What a person reads while a command runs: messages and progress, all on stderr.

In: levels, texts, counts. Out: on a terminal a rich progress bar with messages above it; elsewhere one plain line
every few seconds. Results never come through here: they belong on stdout. Text from files and models is cleaned
before it reaches a terminal, so that a file name cannot move the cursor or recolour the screen.
"""

from __future__ import annotations

import logging
import sys
import time
import unicodedata
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from cineloop.files import escape_name

logger = logging.getLogger("cineloop")

# Direction overrides and isolates (Unicode TR9) can make one file name look like another.
_BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_LINE_EVERY_S = 10.0


def setup(*, verbosity: int = 0) -> logging.Logger:
    """Send the project's messages to stderr; -1 warnings only, 0 messages, 1 and more details. Returns the logger."""
    level = {-1: logging.WARNING, 0: logging.INFO}.get(min(verbosity, 1), logging.DEBUG)
    for old in list(logger.handlers):
        logger.removeHandler(old)
    handler = _StderrHandler()
    handler.setFormatter(_Formatter())
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
    if verbosity < 1:  # diffusers and peft import it for everybody; it then misses a kernel that nothing here calls
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    return logger


def printable(text: str, limit: int = 0) -> str:
    """`text` on one line, safe for a terminal: control, direction and non-UTF-8 characters spelled out.

    Args:
        text: anything, for example a file name or a caption.
        limit: cut to so many characters with an ellipsis; 0 keeps all.
    """
    if limit:
        text = text[: limit + 1]  # spelling makes nothing shorter
    if any("\udc80" <= c <= "\udcff" for c in text):
        text = escape_name(text)
    text = "".join(_spell(c) if unicodedata.category(c) in ("Cc", "Zl", "Zp") or c in _BIDI else c for c in text)
    return text if not limit or len(text) <= limit else text[: limit - 1] + "…"


def plural(count: int, noun: str) -> str:
    """A number and its noun: "1 clip", "2,000 clips"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _spell(char: str) -> str:
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(char, f"\\u{ord(char):04x}")


class Progress(AbstractContextManager["Progress"]):
    """Counts of a running job, on stderr, until the end of its `with` block.

    On a terminal it draws a bar that messages and result lines scroll above; elsewhere it writes
    a line every ten seconds. `stdout` is handed through the bar only when it is the same terminal.
    """

    def __init__(self, total: int, label: str, *, enabled: bool = True) -> None:
        self.total = total
        self.label = label
        self._done = 0
        self._enabled = enabled
        self._bar: Any = None
        self._task: Any = None
        self._started = self._last_line = time.monotonic()
        if enabled and sys.stderr.isatty():
            self._bar = _rich_bar()
            self._bar.start()
            self._task = self._bar.add_task(label, total=total, note="")

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def grow(self, count: int) -> None:
        """There are `count` items more than was thought."""
        self.total += count
        if self._bar is not None:
            self._bar.update(self._task, total=self.total)

    def advance(self, count: int, note: str = "") -> None:
        """`count` more items are finished; `note` is a short text such as the speed."""
        self._done += count
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, note=note)
        elif self._enabled and time.monotonic() - self._last_line >= _LINE_EVERY_S:
            self._last_line = time.monotonic()
            seconds = self._last_line - self._started
            left_s = seconds / max(self._done, 1) * (self.total - self._done)
            parts = (f"{self.label}: {self._done} of {self.total}", note, f"about {left_s:.0f} s left")
            logger.info("%s", ", ".join(part for part in parts if part))


def _rich_bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    return RichProgress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=Console(stderr=True),
        redirect_stdout=sys.stdout.isatty(),
        redirect_stderr=True,
    )


@contextmanager
def stopwatch(times: dict[str, float], name: str) -> Iterator[None]:
    """Add the seconds spent in the block to `times[name]`."""
    start = time.perf_counter()
    try:
        yield
    finally:
        times[name] = times.get(name, 0.0) + time.perf_counter() - start


class _StderrHandler(logging.StreamHandler):
    """Writes to whatever sys.stderr is now: rich replaces it while a bar is drawn, tests replace it too."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        """The current stderr."""
        return sys.stderr


class _Formatter(logging.Formatter):
    """Plain text; anything above information is named by its level."""

    def format(self, record: logging.LogRecord) -> str:
        """The line for one record."""
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text if record.levelno <= logging.INFO else f"{record.levelname.lower()}: {text}"
