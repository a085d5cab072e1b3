"""Optical flow between two frames, by a named estimator.

In: two frames of a clip. Out: for every pixel how far it moved, in pixels. Names:

    dis          dense inverse search (Kroeger et al. 2016, arXiv:1603.03590) of OpenCV, the usual one; no weights
    farneback    polynomial expansion (Farneback 2003) of OpenCV; no weights
    raft:FILE[#sha256]   RAFT large (Teed and Deng 2020, arXiv:2003.12039) of torchvision, 20 iterations, weights as
                 safetensors; torchvision's C_T_V1 are the weights VBench uses ("raft-things")

What several metrics need of a pair of frames is computed once, through `Sample.once`.
Letters: H W pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import ceil
from typing import Any, NamedTuple

import numpy as np

from cineloop.errors import ItemError, MissingDependencyError, UsageError
from v2t_eval.core import models
from v2t_eval.core.models import file_sha256
from v2t_eval.core.sample import Sample

RAFT_ITERATIONS = 20
_RAFT_LEAST, _RAFT_STEP = 128, 8  # RAFT's correlation pyramid needs 16 x 16 features of 8 x 8 pixels each
GET_RAFT = (
    "where there is a network: python -c \"from torchvision.models.optical_flow import raft_large; "
    "from safetensors.torch import save_file; "
    "save_file(raft_large(weights='C_T_V1').state_dict(), 'raft-things.safetensors')\""
)  # fmt: skip


class Flow(ABC):
    """An estimator; `name` as it was opened, `says` in plain words."""

    name: str
    says: str

    @abstractmethod
    def between(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """float32 (H, W, 2): x and y in pixels from each pixel of `first` to its place in `second`, both uint8
        (H, W, 3) RGB.

        Raises:
            ItemError: TOO_SMALL, the estimator cannot work on so small a frame.
        """

    @abstractmethod
    def fingerprint(self) -> dict[str, str]:
        """Estimator, weights, version: what decides the flow."""


class _Classical(Flow):
    """The two estimators of OpenCV; they see grey frames."""

    least = {"dis": 12, "farneback": 2}
    titles = {"dis": "DIS of OpenCV", "farneback": "Farneback of OpenCV"}

    def __init__(self, name: str) -> None:
        self.name, self.says = name, self.titles[name]

    def between(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        import cv2

        if min(first.shape[:2]) < self.least[self.name]:
            size = f"{first.shape[1]}x{first.shape[0]}"
            raise ItemError(f"{self.says} needs {self.least[self.name]} pixels a side, not {size}", code="TOO_SMALL")
        grey = [cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in (first, second)]
        if self.name == "dis":
            # A new object for each pair: it would start from what it found before.
            motion: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*grey, None)  # type: ignore[call-overload]
        else:
            motion = cv2.calcOpticalFlowFarneback(*grey, None, 0.5, 5, 15, 3, 7, 1.5, 0)  # type: ignore[call-overload]
        return np.asarray(motion, dtype=np.float32)

    def fingerprint(self) -> dict[str, str]:
        import cv2

        return {"flow": self.name, "flow library": f"opencv {cv2.__version__}"}


class _Raft(Flow):
    """RAFT of torchvision, frames padded by their edges as VBench pads them."""

    says = "RAFT of torchvision"

    def __init__(self, name: str) -> None:
        self.name = name
        path, _, expected = name.partition(":")[2].partition("#")
        if not path:
            raise UsageError("RAFT needs its weights: raft:FILE.safetensors", hint=GET_RAFT)
        try:
            from torchvision.models.optical_flow import raft_large  # type: ignore[import-untyped]
        except (ImportError, RuntimeError, OSError) as error:  # RuntimeError: a torchvision of another torch
            raise MissingDependencyError(f"RAFT needs torchvision: {error}", hint="pip install torchvision") from error
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            self.weights = file_sha256(path, expected)
            model = raft_large(weights=None, progress=False)
            model.load_state_dict(load_file(path))
        except MissingDependencyError as error:
            raise MissingDependencyError(error.message, code=error.code, hint=GET_RAFT) from error
        except (OSError, RuntimeError, SafetensorError) as error:
            raise MissingDependencyError(
                f"cannot load RAFT from {path}: {error}", code="MODEL", hint=GET_RAFT
            ) from error
        self.device = models.device()
        self.model = model.to(self.device).eval()

    def between(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        import torch

        height, width = first.shape[:2]
        high, wide = (max(_RAFT_LEAST, ceil(side / _RAFT_STEP) * _RAFT_STEP) for side in (height, width))
        top, left = (high - height) // 2, (wide - width) // 2
        edges = ((top, high - height - top), (left, wide - width - left), (0, 0))
        both = np.stack([np.pad(frame, edges, mode="edge") for frame in (first, second)])  # (2, h, w, 3)
        pixels = torch.from_numpy(both).to(self.device).movedim(-1, 1).float() / 127.5 - 1  # (2, 3, h, w)
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            motion = self.model(pixels[:1], pixels[1:], num_flow_updates=RAFT_ITERATIONS)[-1][0]  # (2, h, w)
        return motion.movedim(0, -1).cpu().numpy()[top : top + height, left : left + width]  # (H, W, 2)

    def fingerprint(self) -> dict[str, str]:
        import torchvision

        return {
            "flow": f"raft_large, {RAFT_ITERATIONS} iterations, float32",
            "flow weights": self.weights,
            "flow library": f"torchvision {torchvision.__version__}",
        }


def open_flow(name: str) -> Flow:
    """The estimator called `name`, see the module's head; opened once, see `v2t_eval.core.models`.

    Raises:
        UsageError: there is no such estimator.
        MissingDependencyError: torchvision or the weights are not available; the hint says how to get them.
    """
    if name in _Classical.titles:
        return models.open_model(("flow", name), lambda: _Classical(name))
    if name.partition(":")[0] == "raft":
        return models.open_model(("flow", name), lambda: _Raft(name))
    raise UsageError(f"no optical flow is called {name!r}; choices: dis, farneback, raft:FILE.safetensors")


class PairMotion(NamedTuple):
    """Length of the flow between two frames, in pixels: its mean, and the mean of its greatest 2 and 5 per cent."""

    mean: float
    top2: float
    top5: float


def pair_motion(sample: Sample, flow: Flow, first: int, second: int) -> PairMotion:
    """How far the pixels of frame `first` have moved in frame `second`; computed once for all metrics."""

    def make() -> PairMotion:
        field = flow_between(sample, flow, first, second).astype(np.float64)  # (H, W, 2)
        length = np.sort(np.sqrt((field * field).sum(-1)), axis=None)  # (H * W,)
        top2, top5 = (length[-max(1, int(len(length) * share)) :].mean() for share in (0.02, 0.05))
        return PairMotion(float(length.mean()), float(top2), float(top5))

    return sample.once(("pair motion", flow.name, first, second), make)


def flow_between(sample: Sample, flow: Flow, first: int, second: int) -> np.ndarray:
    """float32 (H, W, 2) as `Flow.between`, of two frames of the sample's clip; not kept.

    Raises:
        ItemError: as `Flow.between`; MODEL_ERROR, the flow is not finite.
    """
    pixels = sample.frames.pixels
    motion = flow.between(pixels[first], pixels[second])
    if not np.isfinite(motion).all():
        raise ItemError(f"{flow.says} gave a flow that is not finite", code="MODEL_ERROR")
    return motion
