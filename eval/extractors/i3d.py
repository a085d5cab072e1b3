"""`i3d:FILE[#sha256]`: I3D trained on Kinetics-400, as the TorchScript file of StyleGAN-V: the features of FVD.

In: a clip of at least 10 frames, all of which are used (the usual FVD takes 16 in a row). Out: the 400 numbers before
the softmax. Both common ways to prepare frames, which give different FVDs:
    stylegan   frames in 0..255; the file itself squashes them to 224x224 and scales them to [-1, 1]
    crop       shorter side 224 by tensor bilinear, the middle 224x224, [-1, 1] (common_metrics_on_video_quality)
Loading the file runs code that is in it, see `v2t_eval.extractors.torchscript`.
Letters: T frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cineloop.errors import MissingDependencyError
from cineloop.video.frames import Frames
from v2t_eval.core.features import BaseExtractor, versions
from v2t_eval.extractors.pixels import resize_tensor, shortest_to, to_floats
from v2t_eval.extractors.torchscript import load_script

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 224
HINT = "i3d_torchscript.pt, linked from github.com/universome/stylegan-v; name it as i3d:PATH#sha256"


class Extractor(BaseExtractor):
    kind = "clip"
    preprocesses = ("stylegan", "crop")
    min_frames = 10

    def load(self) -> None:
        self._model, self._sha256 = load_script(self.where, "i3d", self.device, HINT)

    def _embed_clip(self, frames: Frames) -> Tensor:
        values = to_floats(frames.pixels, self.device)  # (T, 3, H, W)
        inside = self.preprocess == "stylegan"
        if not inside:
            values = resize_tensor(values / 255, shortest_to(frames.size, SIDE, ceil=True), "bilinear")
            top, left = ((length - SIDE) // 2 for length in values.shape[2:])
            values = (values[:, :, top : top + SIDE, left : left + SIDE] - 0.5) * 2
        clip = values.transpose(0, 1)[None]  # (1, 3, T, h, w)
        try:
            return self._model(clip, rescale=inside, resize=inside, return_features=True)[0]  # (400,)
        except RuntimeError as error:
            if "rescale" not in str(error) and "return_features" not in str(error):
                raise
            raise MissingDependencyError(
                f"{self.where} is not StyleGAN-V's I3D: its forward takes other arguments", code="MODEL", hint=HINT
            ) from error

    def describe(self) -> dict[str, str]:
        return {
            "model": "I3D TorchScript",
            "weights": self._sha256,
            "preprocess": self.preprocess,
            "library": versions(),
        }
