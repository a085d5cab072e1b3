"""When to send and when to wait: the patience of `v2t.captioners.endpoint`, shared by all its threads.

In: settings, and what a server's headers say. Out: seconds to wait, and a `Gate` that lets requests through. Back-off
is exponential with full jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015); a 429 slows every thread, since
they all meet the same limit, and halves the requests in flight, which widen again with each success (AIMD).
"""

from __future__ import annotations

import email.utils
import math
import random
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPMessage

from cineloop.errors import UsageError

_LONGEST_BACKOFF_S = 30.0
_SPAN = re.compile(r"([\d.]+)(ms|s|m|h|d)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to wait for a server.

    Attributes:
        connect_s: for a connection.
        read_s: longest silence while an answer is due.
        total_s: for one request with all its tries and waits.
        retries: further tries after a fault. A 429 is no fault: only `total_s` ends those.
        backoff_s: upper end of the first wait; it doubles with each try, to 30 s at most.
    """

    connect_s: float = 10.0
    read_s: float = 300.0
    total_s: float = 900.0
    retries: int = 6
    backoff_s: float = 1.0

    def __post_init__(self) -> None:
        for name in ("connect_s", "read_s", "total_s", "retries", "backoff_s"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or value < 0:
                raise UsageError(f"{name} must be a number >= 0, got {value!r}")
            if value == 0 and name.endswith("_s") and name != "backoff_s":
                raise UsageError(f"{name} must be greater than 0")

    def at_most(self, *, total_s: float = math.inf, retries: int = 1000) -> Patience:
        """The same with less of it."""
        return replace(self, total_s=min(self.total_s, total_s), retries=min(self.retries, retries))

    def jitter_s(self, num_tries: int) -> float:
        """Seconds to wait after so many tries, >= 1: anything up to the doubled first wait."""
        return random.uniform(0, min(_LONGEST_BACKOFF_S, self.backoff_s * 2 ** min(num_tries - 1, 16)))


class TryAgain(Exception):
    """A fault that may pass. `wait_s`: what the server asks for; `slows`: it asks everybody."""

    def __init__(self, reason: str, *, wait_s: float | None = None, slows: bool = False) -> None:
        super().__init__(reason)
        self.wait_s, self.slows = wait_s, slows


class Gate:
    """Who may send now: so many requests at once, and none before the moment a server named."""

    def __init__(self, width: int) -> None:
        self.width = width
        self._limit = float(width)
        self._active = 0
        self._until = 0.0
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, deadline: float) -> Iterator[None]:
        """A place among the requests in flight. Raises TryAgain when none is free before `deadline` (monotonic)."""
        with self._changed:
            while (now := time.monotonic()) < self._until or self._active >= max(1, int(self._limit)):
                if now >= deadline or (now < self._until and self._until >= deadline):
                    raise TryAgain("its rate limit leaves no turn in time", wait_s=math.inf)
                self._changed.wait(min(deadline, self._until if now < self._until else deadline) - now)
            self._active += 1
        try:
            yield
        finally:
            with self._changed:
                self._active -= 1
                self._changed.notify_all()

    def pause(self, wait_s: float, *, narrow: bool) -> None:
        """Nobody sends for `wait_s`. `narrow` halves the requests in flight, once for answers that came together."""
        with self._changed:
            now = time.monotonic()
            if narrow and now >= self._until:
                self._limit = max(1.0, self._limit / 2)
            self._until = max(self._until, now + wait_s)

    def widen(self) -> None:
        """A success: about one more in flight for each round of them."""
        with self._changed:
            if self._limit < self.width:
                self._limit = min(float(self.width), self._limit + 1 / self._limit)
                self._changed.notify_all()


def retry_after_s(headers: HTTPMessage) -> float | None:
    """Seconds to wait by `retry-after-ms` or `Retry-After` (seconds or a date), >= 0; None where neither says."""
    for name, unit_s in (("retry-after-ms", 0.001), ("Retry-After", 1.0)):
        value = (headers.get(name) or "").strip()
        if re.fullmatch(r"\d+(\.\d+)?", value):
            return float(value) * unit_s
        if value and name == "Retry-After":
            try:
                return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
            except (ValueError, OverflowError):
                continue
    return None


def reset_s(headers: HTTPMessage) -> float | None:
    """Seconds until a limit of which nothing remains is full again, by the `x-ratelimit-*` headers; else None."""
    waits = []
    for kind in ("requests", "tokens"):
        if (headers.get(f"x-ratelimit-remaining-{kind}") or "").strip() in ("0", "0.0"):
            reset = (headers.get(f"x-ratelimit-reset-{kind}") or "").strip()
            if re.fullmatch(r"\d+(\.\d+)?", reset):
                reset += "s"
            if reset and not _SPAN.sub("", reset):
                waits.append(sum(float(number) * _UNIT_S[unit] for number, unit in _SPAN.findall(reset)))
    return max(waits, default=None)
