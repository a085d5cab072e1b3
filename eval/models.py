"""Models in memory: opened once for each device, shared by all metrics of a run, and released together.

In: a name and what opens it. Out: the same object each time until `release`. The device is a setting of the run
(`on_device`), which whatever opens a model reads; the environment of the process stays as it is.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from cineloop.errors import MissingDependencyError
from cineloop.training.runtime import check_device

Opened = TypeVar("Opened")
_DEVICE: ContextVar[str] = ContextVar("device", default="auto")
_OPEN: dict[Hashable, Any] = {}
_ON_RELEASE: list[Callable[[], None]] = []
_LOCK = threading.RLock()


@contextmanager
def on_device(name: str) -> Iterator[None]:
    """Let models that are opened within the block compute on that device; "auto" leaves the choice of an outer block.

    Raises:
        UsageError: see `check_device`. MissingDependencyError: torch does not see it.
    """
    check_device(name)
    token = _DEVICE.set(_DEVICE.get() if name == "auto" else name)
    try:
        if name.startswith("cuda"):
            device()
        yield
    finally:
        _DEVICE.reset(token)


def chosen_device() -> str:
    """The run's device as it was named: "auto" where nobody chose."""
    return _DEVICE.get()


def device(name: str = "auto") -> str:
    """The device that models compute on: `name`, or the run's where that is "auto": CUDA where there is one.

    Raises:
        MissingDependencyError: torch does not see it.
    """
    import torch

    name = _DEVICE.get() if name == "auto" else name
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda"):
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(name.partition(":")[2] or 0) >= there:
            raise MissingDependencyError(f"--device {name}: torch sees {there} CUDA devices", hint="use --device cpu")
    return name


def shared_gpus() -> list[str]:
    """The GPUs that several processes of a run share out; [] where it has none, or torch was not needed yet."""
    torch = sys.modules.get("torch")
    name = _DEVICE.get()
    if torch is None or not name.startswith(("auto", "cuda")) or not torch.cuda.is_available():
        return []
    return [name] if ":" in name else [f"cuda:{number}" for number in range(torch.cuda.device_count())]


def opened(key: Hashable, make: Callable[[], Opened]) -> Opened:
    """What `make` opens on the run's device, at its first use, and then the same object."""
    with _LOCK:
        place = (key, _DEVICE.get())
        if place not in _OPEN:
            _OPEN[place] = make()
        found: Opened = _OPEN[place]
        return found


def on_release(forget: Callable[[], None]) -> None:
    """Let `release` also call `forget`, which empties a memory that a module keeps beside its models."""
    _ON_RELEASE.append(forget)


def release() -> None:
    """Forget every model and what was computed by one, so that their memory is free once no metric holds them."""
    with _LOCK:
        _OPEN.clear()
        for forget in _ON_RELEASE:
            forget()
    if "v2t_eval.judge.judge" in sys.modules:
        sys.modules["v2t_eval.judge.judge"].release()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
