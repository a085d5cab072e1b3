"""The frame half-way between two frames, by a named interpolator.

In: two frames. Out: the one between them. VBench uses AMT-S; its weights are not available here, so the usual way is a
warp along an optical flow: both frames are drawn half-way towards each other and blended, with the flows at the middle
estimated as in Super SloMo (Jiang et al. 2018, arXiv:1712.00080, eq. 4). Names:

    FLOW                        a name of `v2t_eval.vbench.flow`: warp along that flow
    torchscript:FILE[#sha256]   a TorchScript module f(first, second) -> middle, float (1, 3, H, W) in [0, 1], such as
                                an exported AMT-S; loading it runs code that is in the file

Letters: H W pixels; F flow from the first to the second frame, B from the second to the first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from cineloop.errors import ItemError, UsageError
from v2t_eval.core import models
from v2t_eval.extractors.torchscript import load_script
from v2t_eval.vbench.flow import Flow, open_flow

GET_SCRIPT = "export the interpolator with torch.jit.trace or torch.jit.script and name the file"


class Interpolator(ABC):
    """`name` as it was opened, `says` in plain words."""

    name: str
    says: str

    def middle(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3), the frame half-way between two of that kind."""
        return np.rint(np.clip(self.draw(first, second), 0, 255)).astype(np.uint8)

    @abstractmethod
    def draw(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """The same as levels from 0 to 255, floating (H, W, 3)."""

    @abstractmethod
    def fingerprint(self) -> dict[str, str]:
        """What decides the frame."""


class _Warp(Interpolator):
    def __init__(self, flow: Flow) -> None:
        self.flow, self.name, self.says = flow, flow.name, f"warp along the flow of {flow.says}"

    def draw(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        import cv2

        if np.array_equal(first, second):
            return first.astype(np.float32)  # nothing to interpolate; RAFT finds a little motion even there
        forth = self.flow.between(first, second)  # F (H, W, 2)
        back = self.flow.between(second, first)  # B
        height, width = first.shape[:2]
        grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32)  # (H, W, 2)
        towards_second = grid + (forth - back) / 4
        towards_first = grid + (back - forth) / 4
        drawn = [
            cv2.remap(frame.astype(np.float32), where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
            for frame, where in ((first, towards_first), (second, towards_second))
        ]
        return (drawn[0] + drawn[1]) / 2  # (H, W, 3)

    def fingerprint(self) -> dict[str, str]:
        return {"interpolator": "warp both half-way and blend", **self.flow.fingerprint()}


class _TorchScript(Interpolator):
    def __init__(self, name: str) -> None:
        self.name = self.says = name
        self.device = models.device()
        self.module, self.weights = load_script(name.partition(":")[2], "torchscript", self.device, GET_SCRIPT)

    def draw(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        import torch

        both = torch.from_numpy(np.stack([first, second])).to(self.device).movedim(-1, 1).float() / 255
        try:
            with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                middle = self.module(both[:1], both[1:])
        except RuntimeError as error:
            raise ItemError(f"{self.says} failed: {error}", code="MODEL_ERROR") from error
        if tuple(middle.shape) != tuple(both[:1].shape) or not bool(torch.isfinite(middle).all()):
            expected = tuple(both[:1].shape)
            raise ItemError(f"{self.says} gave {tuple(middle.shape)}, expected {expected}, finite", code="MODEL_ERROR")
        return (middle[0].float() * 255).movedim(0, -1).cpu().numpy()  # (H, W, 3)

    def fingerprint(self) -> dict[str, str]:
        return {"interpolator": "torchscript", "interpolator weights": self.weights}


def open_interpolator(name: str) -> Interpolator:
    """The interpolator called `name`, see the module's head; opened once, see `v2t_eval.core.models`.

    Raises:
        UsageError: there is no such one. MissingDependencyError: its weights are not available.
    """
    if name.startswith("torchscript:"):
        return models.open_model(("interpolator", name), lambda: _TorchScript(name))
    try:
        return models.open_model(("interpolator", name), lambda: _Warp(open_flow(name)))
    except UsageError as error:
        raise UsageError(
            f"no interpolator is called {name!r}; choices: dis, farneback, raft:FILE, torchscript:FILE"
        ) from error
