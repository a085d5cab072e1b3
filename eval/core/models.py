"""Models: opened once per device, shared by all metrics of a run, released together, identified by content.

In: a name and what opens it. Out: the same object each time until `release`. The device is a setting of the run
(`on_device`), read by all that opens a model; the environment of the process is unchanged. A setting may name a
file or folder (`i3d:/data/i3d.pt#SHA256`, `v2t:runs/judge/final`): titles show the file's name (`display_name`),
fingerprints a hash of its content (`content_id`). So equal weights at two paths are one metric, and no result contains
a path of the machine.
"""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from cineloop.errors import MissingDependencyError
from cineloop.training.runtime import check_device, find_device

Opened = TypeVar("Opened")
_DEVICE: ContextVar[str] = ContextVar("device", default="auto")
_OPEN: dict[Hashable, Any] = {}
_ON_RELEASE: list[Callable[[], None]] = []
_LOCK = threading.RLock()
_OF_MODELS = (".safetensors", ".json", ".jinja", ".model", ".txt")  # files that determine a model in its folder
_DIGITS = 16


@contextmanager
def on_device(name: str) -> Iterator[None]:
    """Use that device for models opened within the block; "auto" keeps the choice of an outer block.

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
    """The run's device as it was named: "auto" by default."""
    return _DEVICE.get()


def device(name: str = "auto") -> str:
    """The device that models compute on: `name`, or the run's where that is "auto": CUDA where there is one.

    Raises:
        MissingDependencyError: torch does not see it.
    """
    return find_device(_DEVICE.get() if name == "auto" else name)


def shared_gpus() -> list[str]:
    """The GPUs that several processes of a run share out; [] where it has none, or torch was not needed yet."""
    torch = sys.modules.get("torch")
    name = _DEVICE.get()
    if torch is None or not name.startswith(("auto", "cuda")) or not torch.cuda.is_available():
        return []
    return [name] if ":" in name else [f"cuda:{number}" for number in range(torch.cuda.device_count())]


def open_model(key: Hashable, make: Callable[[], Opened]) -> Opened:
    """The result of `make` on the run's device, opened at first use and then cached."""
    with _LOCK:
        place = (key, _DEVICE.get())
        if place not in _OPEN:
            _OPEN[place] = make()
        opened: Opened = _OPEN[place]
        return opened


def on_release(forget: Callable[[], None]) -> None:
    """Register `forget`, which empties a module's own cache, to be called by `release`."""
    _ON_RELEASE.append(forget)


def release() -> None:
    """Drop every model and what was computed by one, so that memory is freed with the last reference."""
    with _LOCK:
        _OPEN.clear()
        for forget in _ON_RELEASE:
            forget()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def file_sha256(path: str | Path, expected: str = "") -> str:
    """sha256 of a file, hex; cached by path, size and modification time.

    Raises:
        MissingDependencyError: the file cannot be read, or its hash does not begin with `expected`.
    """
    path = Path(path)
    try:
        about = path.stat()
        digest = _sha256(str(path.resolve()), about.st_size, about.st_mtime_ns)
    except OSError as error:
        raise MissingDependencyError(f"cannot read {path}: {error.strerror}", code="MODEL") from error
    if expected and not digest.startswith(expected.lower()):
        raise MissingDependencyError(
            f"{path} has sha256 {digest}, expected {expected}", code="MODEL", hint="get the file again"
        )
    return digest


@lru_cache(maxsize=256)
def _sha256(path: str, size: int, mtime_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Named(NamedTuple):
    before: str
    path: str
    after: str


def display_name(setting: Any) -> Any:
    """The setting with its path replaced by the file's or folder's name; unchanged without a path."""
    place = _find(setting)
    return setting if place is None else f"{place.before}{Path(place.path).resolve().name}"


def content_id(setting: Any) -> Any:
    """The setting with its path replaced by the content's hash; unchanged without a path.

    Raises:
        MissingDependencyError: the file cannot be read, or its hash is not the one that the setting states.
    """
    place = _find(setting)
    return setting if place is None else f"{place.before}sha256:{_content(Path(place.path), place.after)}"


def anonymise(texts: Mapping[str, str], settings: Mapping[str, Any]) -> dict[str, str]:
    """The texts of a fingerprint with every path that `settings` name replaced by the content's hash.

    Raises:
        MissingDependencyError: as `content_id`.
    """
    cleaned = dict(texts)
    for setting in settings.values():
        place = _find(setting)
        if place is None:
            continue
        content, name = f"sha256:{_content(Path(place.path), place.after)}", Path(place.path).resolve().name
        for key, text in cleaned.items():
            text = text.replace(place.path + place.after, content).replace(place.path, content)
            # Captioners are named by their folder, NAME@REVISION.
            cleaned[key] = content + text[len(name) :] if text.startswith(f"{name}@") else text
    return cleaned


def _find(setting: Any) -> _Named | None:
    """The path in a setting, and the text before and after it; None if it does not exist."""
    if not isinstance(setting, str) or not setting:
        return None
    whole, mark, digest = setting.partition("#")
    starts = [0, *(number + 1 for number, char in enumerate(whole) if char == ":")]
    if whole.startswith("open_clip:") and "/" in whole:  # MODEL/FILE
        starts.append(whole.index("/") + 1)
    for start in starts:
        path = whole[start:]
        # A bare word such as "prompt" is a choice, though a folder of that name may lie here.
        if path and (start or "/" in path or "." in path) and _exists(path):
            return _Named(whole[:start], path, mark + digest)
    return None


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # longer than a name may be, or with a zero byte: no path
        return False


def _content(path: Path, stated: str) -> str:
    if path.is_file():
        return file_sha256(path, stated.removeprefix("#"))[:_DIGITS]
    files = sorted(each for each in path.rglob("*") if each.suffix in _OF_MODELS and each.is_file())
    parts = "".join(f"{each.relative_to(path).as_posix()}={file_sha256(each)};" for each in files)
    return hashlib.sha256(parts.encode("utf-8", "surrogateescape")).hexdigest()[:_DIGITS]


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch and OpenCV to one thread within the block, since splitting sums over threads changes their last bits.
    The previous numbers are restored, so that a training or a notebook around a scoring is not slowed down."""
    torch, cv2 = sys.modules.get("torch"), sys.modules.get("cv2")
    threads = torch.get_num_threads() if torch is not None else 1
    of_cv2 = cv2.getNumThreads() if cv2 is not None else 1
    try:
        if torch is not None and threads != 1:
            torch.set_num_threads(1)
        if cv2 is not None and of_cv2 != 1:
            cv2.setNumThreads(1)
        yield
    finally:
        if torch is not None and threads != 1:
            torch.set_num_threads(threads)
        if cv2 is not None and of_cv2 != 1:
            cv2.setNumThreads(of_cv2)
