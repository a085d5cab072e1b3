"""The model that is served, as the gateway needs to know it: its name, the frames it wants, what they cost in tokens.

In: a `ServeConfig`. Out: a `Served`, read from small JSON files; no weights, no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cineloop.errors import UsageError
from cineloop.video.sample import SampleSpec
from v2t.backends import choose
from v2t.backends.abilities import Abilities
from v2t.serve import adapters
from v2t.serve.adapters import Adapter
from v2t.serve.settings import ServeConfig

_FOREIGN = SampleSpec(sampler="fps", fps=2.0, max_frames=64)  # as v2t.backends.openai samples for a served model


@dataclass(frozen=True, kw_only=True)
class Served:
    """What the gateway knows of the model.

    Attributes:
        name: what clients call it. adapters: what is served beside it, by name.
        source: a folder, or a hub id.
        is_ours: a model of `v2t.model`, which takes packed frames and knows their times.
        spec: the frames it wants. frame_size: (H, W) to decode to, or None for as they are.
        segment_frames, tokens_per_segment: F and Q of our models, 0 of others.
        about: the domain it was trained on, in a few words; may be empty. abilities: what it declares of itself.
    """

    name: str
    source: str
    is_ours: bool
    spec: SampleSpec
    frame_size: tuple[int, int] | None = None
    segment_frames: int = 0
    tokens_per_segment: int = 0
    adapters: Mapping[str, Adapter] = field(default_factory=dict)
    about: str = ""
    abilities: Abilities = field(default_factory=Abilities)

    def visual_tokens(self, num_frames: int) -> int | None:
        """Visual tokens of `num_frames` frames, ceil(T / F) * Q; None where only the engine can tell."""
        if not self.segment_frames:
            return None
        return -(-num_frames // self.segment_frames) * self.tokens_per_segment


def read(config: ServeConfig) -> Served:
    """What `config` wants served.

    Raises:
        MissingDependencyError: no usable model in the folder. UsageError: an engine or adapters it cannot have.
    """
    beside = {name: adapters.read(folder) for name, folder in config.adapters.items()}
    if beside and config.engine == "local":
        raise UsageError("--engine local serves no adapters", hint="--engine vllm, or serve the merged captioner")
    if choose(config.model) == "openai":
        raise UsageError(f"model {config.model!r} is a server already; name a folder or a hub id")
    if choose(config.model) != "local":
        if config.engine == "local":
            raise UsageError(
                f"--engine local serves this project's own models, not {config.model!r}", hint="--engine vllm"
            )
        name = config.name or config.model.rstrip("/").rpartition("/")[2]
        return Served(name=name, source=config.model, is_ours=False, spec=_FOREIGN, adapters=beside)
    from v2t.backends.local import Backend, _read_json

    captioner = Backend(config.model)
    settings = _read_json(captioner.folder / "processor_config.json")
    length = settings.get("video_processor", {}).get("segment_frames", 16)
    adapters.check_base(beside, captioner.revision)
    name = config.name or captioner.name
    if name in beside:
        raise UsageError(f"the model and an adapter are both called {name!r}", hint="--name")
    return Served(
        name=name,
        source=str(captioner.folder),
        is_ours=True,
        spec=captioner.spec,
        frame_size=captioner.frame_size,
        segment_frames=length,
        tokens_per_segment=settings.get("tokens_per_segment", 32),
        adapters=beside,
        about=captioner.about,
        abilities=captioner.abilities,
    )
