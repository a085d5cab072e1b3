"""Detect shared weights between generator, captioner and judge.

In: names of captioner and judge, the generator as stated in the clips' rows. Out: sentences. Weight files are
compared by content where all of them are in local folders, else models by their names: a captioner that shares its text
encoder with the generator shares its biases.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from v2t_eval.models import file_sha256

_MOST_BYTES = 4 << 30  # hashing more would take longer than the round trip


def warnings_for(captioner: str, judge: str | None, about: Mapping[str, str]) -> list[str]:
    """Caveats about shared weights.

    Args:
        captioner, judge: as `v2t --model` has them; None for no judge.
        about: `generator` and `model` of the clips, where known.
    """
    generator, model = about.get("generator", ""), about.get("model", "")
    lines = []
    if judge is not None and judge == captioner:
        lines.append(
            f"Judge and captioner are one model ({captioner}): their errors coincide, so the cells understate them."
        )
    if not generator:
        return [
            *lines,
            "The generator of the clips is not known: shared weights with judge or captioner cannot be checked.",
        ]
    if generator == "world":
        return [*lines, "The clips are drawn by a program: it has no weights to share."]
    for role, name in {"captioner": captioner, **({} if judge in (None, captioner) else {"judge": str(judge)})}.items():
        lines.append(_shared(role, name, model))
    if model == "starter" and "starter" in (captioner, judge):
        lines.append("The starters were trained separately, but on the same cartoon world and its words.")
    return lines


def _shared(role: str, name: str, model: str) -> str:
    ours, theirs = _hashes(_folder(name, "v2t")), _hashes(_folder(model, "t2v"))
    if not ours or not theirs:
        if name == model:
            return f"The {role} has the same name as the generator ({name}): they may share weights."
        return f"The {role} ({name}) and the generator ({model}) are compared by name alone: they differ."
    common = ours & theirs
    if common:
        files = f"{len(common)} files of weights"
        return f"The {role} ({name}) shares {files} with the generator ({model}): it is not independent."
    return f"The {role} ({name}) shares no file of weights with the generator ({model}), its text encoder included."


def _folder(name: str, package: str) -> Path | None:
    if name == "starter":
        return Path(__file__).resolve().parents[2] / package / "starter"
    path = Path(name)
    try:
        return path if path.is_dir() else None
    except OSError:
        return None


def _hashes(folder: Path | None) -> frozenset[str]:
    """SHA-256 of each file of weights; empty without a folder, or above `_MOST_BYTES`."""
    files = [] if folder is None else [path for path in folder.rglob("*.safetensors") if path.is_file()]
    if sum(path.stat().st_size for path in files) > _MOST_BYTES:
        return frozenset()
    return frozenset(map(file_sha256, files))
