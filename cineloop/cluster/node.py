"""What runs on a worker, and what it must find on its machine.

In: a step, the paths and package versions of the driver. Out: results of calls, or the errors of the step as values.
Nothing here depends on the engine that runs the workers.
"""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from cineloop.cluster.pool import Step
from cineloop.errors import CineloopError, MissingDependencyError, UsageError
from cineloop.log import logger, printable

_SAME = ("cineloop", "python")  # others may differ, and are warned of: the last bits of results may too
_COMPARED = ("cineloop", "torch", "transformers", "diffusers", "decord", "av")


@dataclass(frozen=True)
class PlacedResult:
    """A result in two parts: `value` travels to the driver, `bulk` stays on its machine.

    The driver gets a `PlacedResult` whose `bulk` is a handle, and passes it on to another worker. Only a call of one
    item may return one.
    """

    value: Any
    bulk: Any


@dataclass(frozen=True)
class Driver:
    """What the driver sees, for comparison: files with their sizes (-1 for a folder), and versions by package; `folder`
    is the one it works in, where relative paths begin."""

    files: tuple[tuple[str, int], ...]
    versions: dict[str, str]
    folder: str

    @classmethod
    def here(cls, paths: Sequence[Path]) -> Driver:
        """Of this process."""
        return cls(tuple((os.path.abspath(path), _size(path)) for path in paths), versions(), str(Path.cwd()))


def versions() -> dict[str, str]:
    """Versions of the compared packages, without build tags, and of Python."""
    installed = {"python": ".".join(platform.python_version_tuple()[:2])}
    for name in _COMPARED:
        try:
            installed[name] = metadata.version(name).partition("+")[0]
        except metadata.PackageNotFoundError:
            installed[name] = "not installed"
    return installed


def check(driver: Driver, node: str) -> list[str]:
    """What differs between this machine and the driver's without harm.

    Raises:
        UsageError: NOT_SHARED, a file of the driver is not here. MissingDependencyError: CLUSTER_VERSIONS.
    """
    for path, size in driver.files:
        if _size(Path(path)) != size:
            raise UsageError(
                f"node {node} does not see {printable(path)} as this machine does",
                code="NOT_SHARED",
                hint="clips and output must be at the same absolute paths on every node",
            )
    here = versions()
    other = [f"{name} {here[name]}, the driver {driver.versions[name]}" for name in here
             if here[name] != driver.versions[name]]  # fmt: skip
    if any(here[name] != driver.versions[name] for name in _SAME):
        raise MissingDependencyError(f"node {node} has {'; '.join(other)}", code="CLUSTER_VERSIONS",
                                     hint="install the same versions on every node")  # fmt: skip
    return other


class Host:
    """A worker: makes its step, then answers calls. Errors travel as values, since an engine wraps exceptions."""

    def __init__(self, step: Step, name: str, driver: Driver) -> None:
        self.make, self.name, self.driver = step, name, driver

    def ready(self) -> tuple[Exception | None, str, list[str]]:
        """(error, node, differences), once the step is made."""
        node = f"{socket.gethostname()} ({os.getpid()})"
        try:
            with suppress(OSError):  # a path to a model may be relative; others do not need it
                os.chdir(self.driver.folder)
            differences = check(self.driver, node)
            self.step = self.make(self.name)
            return None, node, differences
        except Exception as error:  # of any class, even one that cannot be pickled
            return _portable(error, node), node, []

    def call(self, method: str, items: Sequence[Any], *bulks: Any) -> Any:
        """((error or None, results, whether there is a bulk), bulk) of one call; see `PlacedResult`."""
        try:
            results = getattr(self.step, method)(items, bulks)
        except Exception as error:  # as above
            return (_portable(error, socket.gethostname()), [], False), None
        if len(items) == 1 and isinstance(results[0], PlacedResult):
            return (None, [results[0].value], True), results[0].bulk
        return (None, results, False), None


def _portable(error: Exception, node: str) -> CineloopError:
    if isinstance(error, CineloopError):
        return type(error)(f"node {node}: {error.message}", code=error.code, hint=error.hint)
    logger.debug("a step failed", exc_info=error)
    return MissingDependencyError(f"node {node}: {type(error).__name__}: {printable(str(error), 300)}", code="CLUSTER")


def _size(path: Path) -> int:
    try:
        return -1 if path.is_dir() else path.stat().st_size
    except OSError:
        return -2
