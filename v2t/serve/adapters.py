"""LoRA adapters that are served by name beside their base: read and checked before an engine is started.

In: folders that `v2t train` (`final/adapter`) or peft wrote. Out: their ranks; refusals of what would answer wrongly or
is not safe to load. JSON and file names alone are read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cineloop.documents import read_json
from cineloop.errors import MissingDependencyError, UsageError


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """An adapter: its folder, its rank r, and the revision of the captioner it was trained on, where that is known."""

    folder: Path
    rank: int
    base_revision: str | None


def read(folder: Path) -> Adapter:
    """The adapter in a folder.

    Raises:
        MissingDependencyError: no adapter there, or weights that are not safetensors.
        UsageError: a kind of adapter that engines do not serve.
    """
    try:
        config: dict[str, Any] = read_json(folder / "adapter_config.json")
        kind, rank = config["peft_type"], int(config["r"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MissingDependencyError(
            f"no usable adapter in {folder}: adapter_config.json: {error}",
            code="ADAPTER",
            hint="expected the folder final/adapter of a run of v2t train, or one that peft saved",
        ) from error
    if not (folder / "adapter_model.safetensors").is_file():
        raise MissingDependencyError(f"{folder} contains no adapter_model.safetensors", code="ADAPTER")
    if kind != "LORA" or config.get("use_dora"):
        raise UsageError(
            f"{folder} is {'DoRA' if config.get('use_dora') else kind}; engines serve plain LoRA beside a base",
            hint="serve the merged captioner, the folder final/, instead",
        )
    revision = config.get("revision")
    return Adapter(folder=folder, rank=rank, base_revision=revision if isinstance(revision, str) else None)


def check_base(adapters: Mapping[str, Adapter], revision: str) -> None:
    """Return when the adapters were trained on the captioner of this revision (`v2t.backends.local.revision_of`).

    Raises:
        UsageError: MISMATCH, one was trained on another.
    """
    for name, adapter in adapters.items():
        if adapter.base_revision is not None and adapter.base_revision != revision:
            raise UsageError(
                f"adapter {name} was trained on the captioner {adapter.base_revision}, this one is {revision}",
                code="MISMATCH",
                hint="serve it beside the folder it was trained on (base_model_name_or_path in its config names it)",
            )
