"""One loop of retries and one back-off, for every request that may succeed when it is sent again.

In: a call, and what decides after each of its errors: seconds to wait, or None where no retry would help. Out: its
result, or its last error.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from typing import TypeVar

from cineloop.errors import CineloopError
from cineloop.log import logger

_PAUSE_S = 0.25  # doubled before each retry
_FINAL = (CineloopError, FileNotFoundError, IsADirectoryError, PermissionError, ImportError)
_FINAL_NAMES = ("Credential", "Validation")  # in the classes of errors that derive from none of these
T = TypeVar("T")


def retry(work: Callable[[], T], pause_s: Callable[[Exception, int], float | None]) -> T:
    """The result of `work`, called again after each error for which `pause_s(error, number of errors so far)` is a
    number of seconds; where it is None, the error is raised."""
    errors = 0
    while True:
        try:
            return work()
        except Exception as error:  # each service has errors of its own
            errors += 1
            wait_s = pause_s(error, errors)
            if wait_s is None:
                raise
            logger.debug("%s; the next try in %.2g s", type(error).__name__, wait_s)
        time.sleep(wait_s)


def backoff_s(error: Exception, errors: int, tries: int) -> float | None:
    """`pause_s` of a request for a file: twice as long each time, at random so that many workers do not come back at
    once; None after `tries` errors, and for an error that would come again."""
    if is_final(error) or errors >= tries:
        return None
    return float(_PAUSE_S * 2**errors * random.uniform(0.5, 1.0))


def retry_after_s(value: str | None, least_s: float) -> float:
    """Seconds of a Retry-After header, `least_s` where it is missing, shorter or a date."""
    return max(least_s, float(value)) if value and re.fullmatch(r"\d+(\.\d+)?", value.strip()) else least_s


def is_final(error: Exception) -> bool:
    """Whether a service of files would answer the same again: the file is missing, or the credentials are."""
    return isinstance(error, _FINAL) or any(word in type(error).__name__ for word in _FINAL_NAMES)
