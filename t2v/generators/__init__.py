"""Ways to get a video from a text, one file each: `dit`, `world`, `diffusers`. Plug-in = file name.

In: requests (a prompt and a seed each) and settings. Out: `Frames`, one for each request, in order. A generator is a
class `Generator(model, *, device, dtype, **options)` in a file of this folder; making it costs nothing, the first
`valid_shape`, `effective` or `generate` loads the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cineloop import plugin
from cineloop.errors import Notice
from cineloop.training.runtime import check_device
from cineloop.video.frames import Frames
from t2v.settings import GenerateSettings
from t2v.shape import Shape

OnStep = Callable[[int, int], None]  # (steps done, steps in all) of the batch in hand


@dataclass(frozen=True, kw_only=True)
class ClipRequest:
    """One clip that is wanted.

    Attributes:
        prompt: what it shall show.
        seed: of everything drawn at random, 0 to 2**63 - 1; the same request gives the same clip.
        negative_prompt: what it shall not show; "" for nothing.
        image: the clip's first frame, a picture file, for generators that take one.
    """

    prompt: str
    seed: int = 0
    negative_prompt: str = ""
    image: Path | None = None


@dataclass(frozen=True, eq=False)
class FramesOfLatents(Frames):
    """Frames with what they were decoded from.

    Attributes:
        latents: `latents` (c, t, h, w) of mean 0 and deviation 1, float32; with a path also the sampler's
            noise levels `sigmas` (steps + 1,), `path` (steps + 1, c, t, h, w) and its noise `level` ().
    """

    latents: Mapping[str, Any] = field(default_factory=dict)


class GeneratorLike(Protocol):
    """What a run needs of a generator.

    Attributes:
        name: the file of this folder.
        batch_size: clips made at once when the user says nothing.
    """

    name: str
    batch_size: int

    @property
    def fps(self) -> float:
        """Frames a second of its clips, when nothing is asked for."""
        ...

    def fingerprint(self) -> dict[str, Any]:
        """What decides over its pixels besides request and settings: model, weights_sha256 ...; loads nothing."""
        ...

    def valid_shape(self, num_frames: int | None, height: int | None, width: int | None) -> Shape:
        """The nearest shape it can make, logged once when it differs; None takes its own value."""
        ...

    def effective(self, settings: GenerateSettings) -> dict[str, Any]:
        """The settings with its own values where None stands, for the record."""
        ...

    def warnings_for(self, prompt: str) -> tuple[Notice, ...]:
        """Warnings about a prompt, such as OUT_OF_DOMAIN; none is the rule."""
        ...

    def generate(
        self, requests: Sequence[ClipRequest], settings: GenerateSettings, on_step: OnStep | None = None
    ) -> list[Frames]:
        """One clip for each request, in order. Sizes that do not fit are rounded by `valid_shape`.

        Raises:
            ItemError: one of the requests cannot be made; of a batch, any one.
            CineloopError: none can be made (no such model, no GPU).
        """
        ...


def open_generator(
    name: str,
    *,
    model: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    options: Mapping[str, Any] = {},
) -> GeneratorLike:
    """The generator of a name, not loaded yet.

    Args:
        name: a file of this folder (dit, world, diffusers), or the path of another one.
        model: a folder or hub id; None for the generator's own (the starter).
        device, dtype: "auto" or what torch calls them.
        options: what only some generators know, by name: the keyword arguments of their class.

    Raises:
        UsageError: no such generator, or an option it does not know. MissingDependencyError: no such model.
    """
    check_device(device)
    generator_class = plugin.load("t2v.generators", name, "Generator", files=True).Generator
    generator: GeneratorLike = plugin.construct(
        "generator", name, generator_class, model, device=device, dtype=dtype, options=options
    )
    return generator
