"""VBench's imaging quality: MUSIQ's judgement of each frame as a photograph (distortion, noise, blur).

In: frames. Out: the mean over all frames of MUSIQ (Ke et al. 2021, arXiv:2108.05997, trained on SPAQ) / 100. Frames are
brought to 512 pixels at the longer side where that is longer (other rules: `resize`), bilinear without antialias, as
the reference does. MUSIQ's weights come with the package pyiqa, whose licences forbid commercial use, so it is no
dependency here: who has it can use it. A clip's value is 0 to 1, where the reference's lists say 0 to 100.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from cineloop.errors import ItemError, MissingDependencyError, UsageError
from v2t_eval.core import models
from v2t_eval.core.sample import Sample
from v2t_eval.extractors.pixels import resize_tensor, to_floats
from v2t_eval.extractors.torchscript import load_script
from v2t_eval.vbench.dimension import Dimension, FrameSettings, Part

SIDE = 512
GET = (
    "pip install pyiqa (licences: no commercial use; fetches MUSIQ's weights at first use), or model=torchscript:FILE, "
    "a module f(float (1, 3, H, W) in 0..1) -> score in 0..100; without either, sharpness runs with no weights"
)


@dataclass(frozen=True, kw_only=True)
class ImagingSettings(FrameSettings):
    """Attributes in addition to those of every dimension:

    model: `pyiqa:NAME` (a metric of that package) or `torchscript:FILE[#sha256]`.
    resize: which side is brought to 512 pixels where it is longer; `shorter_centercrop` also cuts the middle out.
    """

    model: str = "pyiqa:musiq-spaq"
    resize: Literal["longer", "shorter", "shorter_centercrop", "none"] = "longer"


class Metric(Dimension):
    name = "imaging_quality"
    value_range = (-math.inf, math.inf)
    detects = "blur, noise, compression, over-exposure"
    misses = "order and time (shuffled, reversed and frozen clips score alike), what is shown"
    requires = "MUSIQ: pip install pyiqa (no commercial use), or model=torchscript:FILE"
    fooled_by_frozen = False
    reference = "MUSIQ (SPAQ) of pyiqa"
    families = ("pyiqa:musiq", "torchscript:")
    Settings = ImagingSettings

    def prepare(self) -> None:
        import torch

        self._device = models.device()
        family, _, where = self.settings.model.partition(":")
        if family == "torchscript":
            self._model, self._about = load_script(where, family, self._device, GET)
        elif family == "pyiqa" and where:
            try:
                import pyiqa  # type: ignore[import-not-found]
            except (ImportError, RuntimeError) as error:
                raise MissingDependencyError(f"imaging_quality needs MUSIQ: {error}", hint=GET) from error
            try:
                self._model = pyiqa.create_metric(where, device=torch.device(self._device), as_loss=False)
            except (OSError, RuntimeError, ValueError, KeyError) as error:
                raise MissingDependencyError(f"pyiqa cannot load {where}: {error}", code="MODEL", hint=GET) from error
            self._about = f"pyiqa {getattr(pyiqa, '__version__', '')}"
        else:
            raise UsageError(f"model must be pyiqa:NAME or torchscript:FILE, not {self.settings.model!r}")

    def ready(self) -> None:
        if not hasattr(self, "_model"):
            self.prepare()

    def describe(self) -> dict[str, str]:
        self.ready()
        return {"backbone": self._about, "preprocess": f"{self.settings.resize} {SIDE}, bilinear, no antialias"}

    def backbone(self) -> str:
        return str(self.settings.model)

    def is_reference(self) -> bool:
        return bool(self.settings.model == "pyiqa:musiq-spaq")

    def part(self, sample: Sample, start: int, stop: int) -> Part:
        """One term for each frame; equal frames are judged once."""
        self.ready()
        pixels = sample.frames.pixels
        known: dict[bytes, float] = {}
        scores = []
        for number in range(start, stop):
            key = pixels[number].tobytes()
            if key not in known:
                known[key] = self._score(pixels[number])
            scores.append(known[key])
        return Part(sum=math.fsum(scores) / 100, count=stop - start, more={})

    def _score(self, frame: np.ndarray) -> float:
        import torch

        try:
            with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                output: Any = self._model(model_input(frame, self.settings.resize, self._device))
        except RuntimeError as error:
            raise ItemError(f"{self.settings.model} failed: {error}", code="MODEL_ERROR") from error
        score = float(output.reshape(-1)[0])
        if not math.isfinite(score) or output.numel() != 1:
            raise ItemError(
                f"{self.settings.model} gave {output.tolist()}, one finite number expected", code="MODEL_ERROR"
            )
        return score


def model_input(frame: np.ndarray, rule: str, device: str) -> Any:
    """float32 tensor (1, 3, h, w) around 0..1 of a uint8 (H, W, 3) frame, resized by `rule`."""
    values = to_floats(frame[None], device)  # (1, 3, H, W)
    height, width = frame.shape[:2]
    side = max(height, width) if rule == "longer" else min(height, width)
    if rule != "none" and side > SIDE:
        size = int(SIDE / side * height), int(SIDE / side * width)
        values = resize_tensor(values, size, "bilinear")
    if rule == "shorter_centercrop" and side > SIDE:
        top, left = (round((length - SIDE) / 2) for length in values.shape[2:])
        values = values[:, :, top : top + SIDE, left : left + SIDE]
    return values / 255
