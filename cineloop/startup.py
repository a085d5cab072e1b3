"""The start of a process that loads a model: without the collector of garbage.

In: the block that imports and loads. Out: the same, sooner. Importing torch and transformers makes about a million
objects that live as long as the process, and the collector walks through them again and again while they are made, and
once more when the process ends: together a third of the CPU time of captioning one clip with the starter.
Nothing heavy is imported here.
"""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def pause_collector() -> Iterator[None]:
    """No collection within the block, afterwards as before: for code that makes many objects that stay, as imports and
    the entries of a journal do, since each collection would visit all of them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def leave_quickly() -> None:
    """At the end of the process, leave what lives then to the operating system rather than to the collector."""
    atexit.unregister(_freeze)  # a second call changes nothing
    atexit.register(_freeze)


def _freeze() -> None:
    # Triton's bindings (nanobind, from triton 3.9) report whatever lives at the end as leaked, 50 lines on stderr.
    if "triton" not in sys.modules:
        gc.freeze()
