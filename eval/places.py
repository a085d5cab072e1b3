"""Files and folders that a setting names: what they are called, and what they hold, wherever they lie.

In: a setting such as `i3d:/data/i3d.pt#SHA256`, `v2t:runs/judge/final` or `dis`. Out: the same without the place on
this machine: with the file's name for people (`shown`), with a hash of its content for fingerprints (`identified`). So
equal weights at two places are one metric, and no path leaves the machine in a result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

_OF_MODELS = (".safetensors", ".json", ".jinja", ".model", ".txt")  # what decides in a model's folder
_DIGITS = 16


class _Named(NamedTuple):
    before: str
    path: str
    after: str


def shown(setting: Any) -> Any:
    """The setting with the name of its file or folder in the place of the path; what names none stays as it is."""
    found = _find(setting)
    return setting if found is None else f"{found.before}{Path(found.path).resolve().name}"


def identified(setting: Any) -> Any:
    """The setting with the content's hash in the place of the path; what names no file stays as it is.

    Raises:
        MissingDependencyError: the file cannot be read, or its hash is not the one that the setting states.
    """
    found = _find(setting)
    return setting if found is None else f"{found.before}sha256:{_content(Path(found.path), found.after)}"


def without_places(texts: Mapping[str, str], settings: Mapping[str, Any]) -> dict[str, str]:
    """The texts of a fingerprint with every path that `settings` name replaced by the content's hash.

    Raises:
        MissingDependencyError: as `identified`.
    """
    cleaned = dict(texts)
    for setting in settings.values():
        found = _find(setting)
        if found is None:
            continue
        content, name = f"sha256:{_content(Path(found.path), found.after)}", Path(found.path).resolve().name
        for key, text in cleaned.items():
            text = text.replace(found.path + found.after, content).replace(found.path, content)
            # A captioner is called by its folder's name, NAME@REVISION.
            cleaned[key] = content + text[len(name) :] if text.startswith(f"{name}@") else text
    return cleaned


def _find(setting: Any) -> _Named | None:
    """The path in a setting, and what stands before and after it; None where nothing there exists."""
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
    from v2t_eval.features import file_sha256

    if path.is_file():
        return file_sha256(path, stated.removeprefix("#"))[:_DIGITS]
    files = sorted(each for each in path.rglob("*") if each.suffix in _OF_MODELS and each.is_file())
    parts = "".join(f"{each.relative_to(path).as_posix()}={file_sha256(each)};" for each in files)
    return hashlib.sha256(parts.encode("utf-8", "surrogateescape")).hexdigest()[:_DIGITS]
