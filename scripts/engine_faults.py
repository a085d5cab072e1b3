"""Generator for `t2v generate --generator scripts/engine_faults.py`: the bundled one, run by an engine with a fault.

In: requests, and the fault by name (`options: {fault: late_sigma}`). Out: clips as a broken engine makes them. The
faults are those that inference engines have had: a step too few in a cache, a table of noise levels shifted by one,
embeddings of another request. `round_off` is not a fault: it is what nondeterministic kernels do, drawn at random,
other in every run. Letters: B clips of a batch, T frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from cineloop.errors import UsageError
from cineloop.video.frames import Frames
from t2v.generators import ClipRequest, OnStep
from t2v.generators.dit import Generator as DitGenerator
from t2v.settings import GenerateSettings

Predict = Callable[..., Any]
FAULTS = ("none", "round_off", "late_sigma", "swapped_channels", "stale_cache", "other_prompt", "rare", "compiled")
ROUND_OFF = 2.0**-9  # relative error of a value rounded to bfloat16
STALE_STEPS = 4  # a prediction is used in so many steps
RARE = 8  # one request in so many gets its neighbour's prompt


class Generator(DitGenerator):
    """The bundled generator with a fault of `FAULTS`; `run` seeds the noise of round_off.

    Raises:
        UsageError: an unknown fault.
    """

    name = "engine_faults"

    def __init__(self, model: str | None = None, *, fault: str = "none", run: int = 0, **options: Any) -> None:
        super().__init__(model, **options)
        if fault not in FAULTS:
            raise UsageError(f"fault must be one of {', '.join(FAULTS)}, got {fault!r}")
        self.fault, self.rng = fault, torch.Generator().manual_seed(run)

    def load(self) -> Any:
        pipe = super().load()
        if self.fault == "compiled":
            pipe.transformer.compile()
        if self.fault in _PREDICTIONS:
            pipe._predict = _PREDICTIONS[self.fault](self, pipe, pipe._predict)
        return pipe

    def generate(
        self, requests: Sequence[ClipRequest], settings: GenerateSettings, on_step: OnStep | None = None
    ) -> list[Frames]:
        """As of the base class."""
        if self.fault == "other_prompt":  # each gets the words of the request before it
            before = [*requests[-1:], *requests[:-1]]
            requests = [replace(one, prompt=other.prompt) for one, other in zip(requests, before, strict=True)]
        if self.fault == "rare":
            words = [one.prompt for one in requests]
            requests = [
                replace(one, prompt=words[n - 1]) if n % RARE == RARE - 1 else one for n, one in enumerate(requests)
            ]
        clips = super().generate(requests, settings, on_step)
        if self.fault == "swapped_channels":
            clips = [replace(clip, pixels=np.ascontiguousarray(clip.pixels[..., ::-1])) for clip in clips]
        return clips


def _late_sigma(generator: Generator, pipe: Any, predict: Predict) -> Predict:
    """The network gets the noise level of the step after this one."""

    def late(latents: torch.Tensor, timestep: torch.Tensor, *rest: Any) -> Any:
        table = pipe.scheduler.timesteps
        place = int((table - timestep).abs().argmin())
        return predict(latents, table[min(place + 1, len(table) - 1)], *rest)

    return late


def _stale_cache(generator: Generator, pipe: Any, predict: Predict) -> Predict:
    """A prediction is used for `STALE_STEPS` steps."""
    kept: dict[str, Any] = {}

    def stale(latents: torch.Tensor, timestep: torch.Tensor, *rest: Any) -> Any:
        place = int((pipe.scheduler.timesteps - timestep).abs().argmin())
        if place % STALE_STEPS == 0:
            kept["prediction"] = predict(latents, timestep, *rest)
        return kept["prediction"]

    return stale


def _round_off(generator: Generator, pipe: Any, predict: Predict) -> Predict:
    """Every prediction is off by a relative error of `ROUND_OFF`, drawn anew."""

    def noisy(*inputs: Any) -> Any:
        return tuple(
            None if each is None else each * (1 + ROUND_OFF * torch.randn(each.shape, generator=generator.rng))
            for each in predict(*inputs)
        )

    return noisy


_PREDICTIONS: dict[str, Callable[[Generator, Any, Predict], Predict]] = {
    "late_sigma": _late_sigma, "stale_cache": _stale_cache, "round_off": _round_off,
}  # fmt: skip
