"""Whatever video pipeline `DiffusionPipeline.from_pretrained` loads (one with a `model_index.json`, so no modular one),
from a folder or the hub.

In: prompts. Out: `Frames`. There is no table of models: which lengths and sizes a pipeline can make is read from its
autoencoder and transformer, its frame rate from the signature of its call or the example in its documentation.
"""

from __future__ import annotations

import inspect
import re
from functools import cached_property
from typing import Any

from cineloop.errors import UsageError
from cineloop.log import logger
from t2v.generators.pipelines import RATES, PipelineGenerator
from t2v.shape import Shape, valid_shape

_USUAL_FPS = 16.0


class Generator(PipelineGenerator):
    """A video pipeline of diffusers with a `model_index.json`; see `PipelineGenerator`."""

    name = "diffusers"

    @cached_property
    def _fps(self) -> float:
        for name in RATES:
            rate = self.parameters.get(name)
            if isinstance(rate, int | float) and rate > 0:
                return float(rate)
        documented = re.search(r"\bfps\s*=\s*(\d+)", inspect.getdoc(type(self.pipeline).__call__) or "")
        if documented:
            return float(documented[1])
        logger.warning(
            "%s does not say its frame rate, so clips are written at %g; --fps sets it", self.model, _USUAL_FPS
        )
        return _USUAL_FPS

    @property
    def fps(self) -> float:
        """The pipeline's frame rate, by its call's default or its documented example."""
        return self._fps

    def nearest(self, num_frames: int | None, height: int | None, width: int | None) -> Shape:
        """The nearest shape by the pipeline's own compression in time and space."""
        pipe = self.pipeline
        down = compression(pipe, "spatial") * patch(pipe)
        usual = self._usual()
        return valid_shape(
            usual.num_frames if num_frames is None else num_frames,
            usual.height if height is None else height,
            usual.width if width is None else width,
            frame_step=compression(pipe, "temporal"),
            size_step=down,
        )

    def _usual(self) -> Shape:
        """The shape it makes when nothing is asked: of its call, of the pipeline, or of the model's config."""
        pipe, config = self.pipeline, denoiser(self.pipeline).config
        space = compression(pipe, "spatial")

        def first(name: str, fallback: int) -> int:
            mine = self.parameters.get(name)
            mine = mine if isinstance(mine, int) else getattr(pipe, f"default_{name}", None)
            if mine is not None:
                return int(mine)
            size = config.get(f"sample_{name}") or config.get("sample_size")
            return int(size) * space if isinstance(size, int) else fallback

        frames = self.parameters.get("num_frames")
        return Shape(
            num_frames=frames if isinstance(frames, int) else int(config.get("sample_frames") or 1),
            height=first("height", 512),
            width=first("width", 512),
        )


def denoiser(pipe: Any) -> Any:
    """The network that takes the noise away.

    Raises:
        UsageError: the pipeline has none of the known names.
    """
    for name in ("transformer", "unet", "transformer_2"):
        if getattr(pipe, name, None) is not None:
            return getattr(pipe, name)
    raise UsageError(f"{type(pipe).__name__} is no video pipeline: it has neither transformer nor unet")


def compression(pipe: Any, way: str) -> int:
    """How many pixels ("spatial") or frames ("temporal") its autoencoder makes one of; 1 where it says nothing.

    Pipelines name it in their own ways: vae_scale_factor_temporal, vae_temporal_compression_ratio ...
    """
    for name, value in vars(pipe).items():
        if name.startswith("vae") and way in name and isinstance(value, int) and not isinstance(value, bool):
            return value
    for owner in (getattr(pipe, "vae", None), getattr(getattr(pipe, "vae", None), "config", None)):
        value = getattr(owner, f"{way}_compression_ratio", None)
        if isinstance(value, int):
            return value
    value = getattr(pipe, "vae_scale_factor", 1)
    return value if way == "spatial" and isinstance(value, int) else 1


def patch(pipe: Any) -> int:
    """Latent places of one token, down or across; 1 where there are no tokens."""
    size = denoiser(pipe).config.get("patch_size") or getattr(pipe, "patch_size", 1)
    return int(max(size[-2:]) if isinstance(size, list | tuple) else size)
