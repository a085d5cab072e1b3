"""The served model as the gateway sees it: name, frame sampling, visual tokens; and its LoRA adapters.

In: a `ServeConfig`, with folders of adapters that `v2t train` (`final/adapter`) or peft wrote. Out: a `ServedModel`,
read from small JSON files and file names, without weights and torch; refusals of unsuitable or unsafe models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cineloop.documents import read_json
from cineloop.errors import MissingDependencyError, UsageError
from cineloop.video.sample import SampleSpec
from v2t.backends import choose
from v2t.backends.abilities import Abilities
from v2t.backends.endpoint import address_of
from v2t.serve.settings import ServeConfig

_FOREIGN = SampleSpec(sampler="fps", fps=2.0, max_frames=64)  # as v2t.backends.openai samples for a served model


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """An adapter: its folder, its rank r, and the revision of the captioner it was trained on, if known."""

    folder: Path
    rank: int
    base_revision: str | None


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """What the gateway knows about the model.

    Attributes:
        source: a folder, or a hub id. is_ours: of `v2t.model`, which takes packed frames and knows their times.
        frame_size: (H, W) to decode to; None keeps their size. max_side: pixels of the longer side at most.
        segment_frames, tokens_per_segment: F and Q of our models, 0 of others.
        about: the domain it was trained on, in a few words; may be empty. abilities: what it declares of itself.
    """

    name: str
    source: str
    is_ours: bool
    spec: SampleSpec
    frame_size: tuple[int, int] | None = None
    max_side: int | None = None
    segment_frames: int = 0
    tokens_per_segment: int = 0
    adapters: Mapping[str, Adapter] = field(default_factory=dict)
    about: str = ""
    abilities: Abilities = field(default_factory=Abilities)


def read(config: ServeConfig) -> ServedModel:
    """The served model of `config`. Raises MissingDependencyError: no usable model in the folder; UsageError: an
    unsupported engine or adapters."""
    if config.is_relay:
        return _relay_model(config)
    adapters = {name: read_adapter(folder) for name, folder in config.adapters.items()}
    if adapters and config.engine == "local":
        raise UsageError("--engine local serves no adapters", hint="--engine vllm, or serve the merged captioner")
    if choose(config.model) == "openai":
        raise UsageError(
            f"model {config.model!r} is a server already; name a folder or a hub id",
            hint=f"to stand before that server: --engine {config.model}",
        )
    if choose(config.model) != "local":
        if config.engine == "local":
            raise UsageError(
                f"--engine local serves this project's own models, not {config.model!r}", hint="--engine vllm"
            )
        name = config.name or config.model.rstrip("/").rpartition("/")[2]
        return ServedModel(name=name, source=config.model, is_ours=False, spec=_FOREIGN, adapters=adapters)
    from v2t.backends.local import Backend, _read_json

    captioner = Backend(config.model)
    settings = _read_json(captioner.folder / "processor_config.json")
    length = settings.get("video_processor", {}).get("segment_frames", 16)
    for name, adapter in adapters.items():
        if adapter.base_revision not in (None, captioner.revision):
            raise UsageError(
                f"adapter {name} was trained on the captioner {adapter.base_revision}, "
                f"this one is {captioner.revision}",
                code="MISMATCH",
                hint="serve it with the folder it was trained on (base_model_name_or_path in its config names it)",
            )
    name = config.name or captioner.name
    if name in adapters:
        raise UsageError(f"the model and an adapter are both called {name!r}", hint="--name")
    return ServedModel(
        name=name,
        source=str(captioner.folder),
        is_ours=True,
        spec=captioner.spec,
        frame_size=captioner.frame_size,
        segment_frames=length,
        tokens_per_segment=settings.get("tokens_per_segment", 32),
        adapters=adapters,
        about=captioner.about,
        abilities=captioner.abilities,
    )


def _relay_model(config: ServeConfig) -> ServedModel:
    """The model of another server; its name is empty where that server chooses."""
    _, name = address_of(config.engine)
    if config.model != ServeConfig.model or config.adapters or config.engine_args:
        raise UsageError(
            "--engine openai:URL serves the models of that server; no model, adapter or argument is loaded here",
            hint="name its model in the address: --engine openai:URL#model",
        )
    upstream = config.upstream
    return ServedModel(
        name=name,
        source=config.engine,
        is_ours=False,
        spec=SampleSpec(sampler="fps", fps=_FOREIGN.fps, max_frames=min(_FOREIGN.max_frames, upstream.max_pictures)),
        max_side=upstream.max_side,
        about="a model of another server, which gets pictures with their times",
        abilities=Abilities(window_s=upstream.window_s),
    )


def read_adapter(folder: Path) -> Adapter:
    """The adapter in a folder. Raises MissingDependencyError: no adapter there, or weights that are not safetensors;
    UsageError: a kind of adapter that engines do not serve."""
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
            f"{folder} is {'DoRA' if config.get('use_dora') else kind}; engines serve only plain LoRA on a base",
            hint="serve the merged captioner, the folder final/, instead",
        )
    revision = config.get("revision")
    return Adapter(folder=folder, rank=rank, base_revision=revision if isinstance(revision, str) else None)
