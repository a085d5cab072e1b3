"""LPIPS: how different a clip looks from its reference video to a network (Zhang et al. 2018, arXiv:1801.03924).

In: a clip and its reference video, and weights of version 0.1 with AlexNet in one safetensors file: `features.N.weight`
and `.bias` as torchvision has them, and `linK.model.1.weight` as in the package lpips. They are not shipped; with both
packages available

    net = lpips.LPIPS(net="alex"); backbone = torchvision.models.alexnet(weights="DEFAULT").state_dict()
    save_file({k: v for k, v in {**backbone, **net.state_dict()}.items()
               if k.startswith("features.") or k.startswith("lin") and "lins" not in k}, "lpips-alex.safetensors")

Out: the mean over frames, 0 for equal ones; frames are shown in their own size.
Letters: n frames, C channels, h w size of features.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from cineloop.errors import MissingDependencyError
from v2t_eval.core import models
from v2t_eval.core.models import file_sha256
from v2t_eval.metrics.paired import PairedMetric

_LAYERS = ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1))  # number, stride, padding
_POOLED = (3, 6)  # layers that a pooling goes before
_AT_ONCE = 16  # frames
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_HINT = "name a file of them, lpips[weights=lpips-alex.safetensors]; the head of v2t_eval/metrics/lpips.py makes it"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`weights`: the safetensors file, see the module's head."""

    weights: str = ""


class Metric(PairedMetric):
    name = "lpips"
    higher_is_better = False
    value_range = (0.0, float("inf"))
    least = 32
    detects = "whether textures and shapes are similar, much as people judge patches"
    misses = "motion, since each frame is compared by itself"
    requires = "weights=FILE.safetensors"
    Settings = Settings

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._weights: dict[str, Any] = {}

    def prepare(self) -> None:
        if self._weights:
            return
        if not self.settings.weights:
            raise MissingDependencyError("lpips needs weights, which are not shipped", code="MODEL", hint=_HINT)
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = Path(self.settings.weights)
        try:
            weights = load_file(path, device=models.device(models.chosen_device()))
        except (OSError, SafetensorError) as error:
            raise MissingDependencyError(f"lpips cannot read {path.name}: {error}", code="MODEL", hint=_HINT) from error
        wanted = {f"lin{k}.model.1.weight" for k in range(len(_LAYERS))}
        wanted |= {f"features.{number}.{part}" for number, _, _ in _LAYERS for part in ("weight", "bias")}
        if lacking := sorted(wanted - weights.keys()):
            raise MissingDependencyError(f"{path.name} has no {lacking[0]}", code="MODEL", hint=_HINT)
        self._weights = {name: weights[name].float() for name in wanted}

    def describe(self) -> dict[str, str]:
        self.prepare()
        return {"model": "AlexNet, LPIPS 0.1", "weights": file_sha256(self.settings.weights)}

    def compare(self, clip: np.ndarray, reference: np.ndarray) -> float:
        import torch

        self.prepare()
        values: list[float] = []
        with torch.inference_mode():
            for start in range(0, len(clip), _AT_ONCE):
                ours, theirs = (self._features(frames[start : start + _AT_ONCE]) for frames in (clip, reference))
                distance = torch.zeros(len(ours[0]), device=ours[0].device)  # (n,)
                for k, (a, b) in enumerate(zip(ours, theirs, strict=True)):
                    weight = self._weights[f"lin{k}.model.1.weight"].view(1, -1, 1, 1)
                    distance += ((a - b) ** 2 * weight).sum(1).mean((1, 2))
                values += distance.tolist()
        return fmean(values)

    def _features(self, frames: np.ndarray) -> list[Any]:
        """Of each layer (n, C, h, w), of length 1 over C."""
        import torch
        from torch.nn import functional as F

        device = self._weights["features.0.weight"].device
        shift, scale = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (_SHIFT, _SCALE))
        x = torch.from_numpy(np.ascontiguousarray(frames)).to(device).permute(0, 3, 1, 2).float()  # (n, 3, H, W)
        x = (x / 127.5 - 1 - shift) / scale
        layers = []
        for number, stride, padding in _LAYERS:
            if number in _POOLED:
                x = F.max_pool2d(x, 3, 2)
            weight, bias = (self._weights[f"features.{number}.{part}"] for part in ("weight", "bias"))
            x = F.relu(F.conv2d(x, weight, bias, stride, padding))  # (n, C, h, w)
            layers.append(x / torch.sqrt(1e-8 + (x**2).sum(1, keepdim=True)))
        return layers
