"""The checkpoints of folders, in the order of their steps.

In: folders and files. Out: `Checkpoint`s: LoRA files (`lora-000500.safetensors`), folders with an adapter
(`checkpoint-500/pytorch_lora_weights.safetensors`) and whole pipelines (`model_index.json`), as diffusers, trainers of
video models and `t2v train` write them, also one folder down in `final/`. Of two with the same weights one counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cineloop.errors import NothingMatchedError, UsageError
from cineloop.log import printable
from t2v.generators.weights import sha256_of

_PIPELINE, _WEIGHTS = "model_index.json", "*.safetensors"
_PICKLED = {".pt", ".pth", ".ckpt", ".bin"}
_FINAL = "final"  # where `t2v train` leaves them


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One to choose from. `step`: the last number of its name, None without one. `kind`: a LoRA over a model, or a
    model. `sha256` of its weights."""

    name: str
    path: Path
    kind: Literal["lora", "model"]
    step: int | None
    sha256: str


@dataclass(frozen=True, kw_only=True)
class BadCheckpoint:
    """One that cannot be drawn with. `code`: NOT_SAFETENSORS, NO_WEIGHTS, SAME_WEIGHTS, or that of the error with which
    its generator failed."""

    name: str
    path: Path
    code: str
    message: str


def read_checkpoints(places: Iterable[str]) -> tuple[list[Checkpoint], list[BadCheckpoint]]:
    """Every checkpoint in the order of names, numbers in them by their value, and those that cannot be drawn with.

    Raises:
        NothingMatchedError: a place is not there or holds none. UsageError: ONE_CHECKPOINT, fewer than two differ.
    """
    paths = [path for place in places for path in _in(Path(place))]
    names = _names(paths)
    usable, bad = list[Checkpoint](), list[BadCheckpoint]()
    known: dict[str, str] = {}
    for path in sorted(dict.fromkeys(paths), key=lambda path: _order(names[path])):
        name, weights = names[path], _weights(path)
        if weights is None:
            pickled = path.suffix in _PICKLED
            code = "NOT_SAFETENSORS" if pickled else "NO_WEIGHTS"
            expected = (
                "a pickle may run code when it is loaded" if pickled else f"no {_PIPELINE} and no {_WEIGHTS} in it"
            )
            message = f"expected safetensors or a pipeline folder, {printable(str(path))} is neither: {expected}"
            bad.append(BadCheckpoint(name=name, path=path, code=code, message=message))
            continue
        sha256 = sha256_of(weights)
        if sha256 in known:
            message = f"its weights are those of {known[sha256]}"
            bad.append(BadCheckpoint(name=name, path=path, code="SAME_WEIGHTS", message=message))
            continue
        known[sha256] = name
        kind: Literal["lora", "model"] = "model" if (weights / _PIPELINE).is_file() else "lora"
        numbers = re.findall(r"\d+", name)
        step = int(numbers[-1]) if numbers else None
        usable.append(Checkpoint(name=name, path=weights, kind=kind, step=step, sha256=sha256))
    if len(usable) < 2:
        whys = "; ".join(f"{one.name}: {one.code}, {one.message}" for one in bad[:3])
        raise UsageError(
            f"a pick needs two checkpoints that differ, got {len(usable)}{': ' * bool(whys)}{whys}",
            code="ONE_CHECKPOINT",
            hint="name the folder that holds them all, or several",
        )
    return usable, bad


def _in(place: Path) -> Iterator[Path]:
    """A checkpoint itself, or those in a folder."""
    if not place.exists():
        raise NothingMatchedError(f"no such checkpoint: {printable(str(place))}", hint="a folder or file of weights")
    if place.is_file() or _weights(place) is not None:
        yield place
        return
    inside = [path for path in sorted(place.iterdir()) if not path.name.startswith(".")]
    inside = [path for path in inside if path.is_dir() or path.suffix in {".safetensors", *_PICKLED}]
    if not inside:
        raise NothingMatchedError(
            f"{printable(str(place))} holds no checkpoint", hint=f"{_WEIGHTS}, or folders of them"
        )
    yield from inside


def _weights(path: Path) -> Path | None:
    """The file or folder that a generator opens; None where there is none."""
    if path.is_file():
        return path if path.suffix == ".safetensors" else None
    for folder in (path, path / _FINAL):
        if (folder / _PIPELINE).is_file():
            return folder
        if (folder / "pytorch_lora_weights.safetensors").is_file() or len([*folder.glob(_WEIGHTS)]) == 1:
            return folder
    return None


def _names(paths: Iterable[Path]) -> dict[Path, str]:
    """A short name of each: that of the file or folder, with its parent's where two have the same."""
    paths = list(dict.fromkeys(paths))
    short = {path: path.stem if path.is_file() else path.name or path.resolve().name for path in paths}
    twice = {name for name in short.values() if [*short.values()].count(name) > 1}
    return {path: f"{path.resolve().parent.name}/{name}" if name in twice else name for path, name in short.items()}


def _order(name: str) -> list[tuple[int, str]]:
    """`step-9` before `step-10`, and without a number first."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
