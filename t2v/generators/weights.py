"""What a model's files are, as one hash: which weights made a clip is part of its record.

In: a folder or file of weights, or a LoRA as PATH[:WEIGHT]. Out: SHA-256 over names and contents.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cineloop.errors import UsageError

_IGNORED = {".md", ".txt", ".png", ".jpg", ".gif", ".mp4", ".lock", ".metadata"}  # cards and pictures decide nothing
_SHA256 = re.compile(r"[0-9a-f]{64}")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, or over relative names and hashes of the files of a folder, hidden ones and cards left out."""
    if path.is_file():
        return _sha256(path)
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*"), key=lambda file: file.relative_to(path).as_posix()):
        name = file.relative_to(path)
        hidden = any(part.startswith(".") for part in name.parts)
        if file.is_file() and not hidden and (file.suffix not in _IGNORED or file.name == "merges.txt"):
            digest.update(f"{name.as_posix()}\0{_sha256(file)}\n".encode())
    return digest.hexdigest()


def _sha256(file: Path) -> str:
    # The hub's cache names large files by their SHA-256: no need to read tens of gigabytes again.
    target = file.resolve().name
    if file.is_symlink() and _SHA256.fullmatch(target):
        return target
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@dataclass(frozen=True)
class Lora:
    """A LoRA file, folder or hub id, and how strongly it acts."""

    path: str
    weight: float = 1.0

    def record(self) -> dict[str, Any]:
        """For the manifest."""
        return {"path": self.path, "weight": self.weight, "sha256": self._hash}

    @cached_property
    def _hash(self) -> str | None:
        path = Path(self.path)
        return sha256_of(path) if path.exists() else None


def lora_of(text: str) -> Lora:
    """PATH or PATH:WEIGHT.

    Raises:
        UsageError: the weight is no number, or there is no path.
    """
    path, sign, weight = text.rpartition(":")
    if not sign or Path(text).exists():
        return Lora(text)
    try:
        number = float(weight)
    except ValueError as error:
        raise UsageError(f"expected a LoRA as PATH or PATH:WEIGHT, got {text!r}") from error
    if not path or not -10 <= number <= 10:
        raise UsageError(f"expected a LoRA as PATH or PATH:WEIGHT with a weight within -10 and 10, got {text!r}")
    return Lora(path, number)
