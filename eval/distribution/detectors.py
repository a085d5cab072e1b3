"""Feature models of the distances: any extractor by name, I3D for FVD and KVD, Inception for FID and KID.

In: clips. Out: the base classes of these metrics, each with what one may choose. I3D and Inception come as TorchScript
files that the user must get; without one the error says which and how. Letters: T frames, n of them selected, d
dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from cineloop.errors import MissingDependencyError
from cineloop.video.frames import Frames
from cineloop.video.sample import positions_at
from v2t_eval.core.features import BaseExtractor, clip_features, open_extractor
from v2t_eval.core.sample import Sample
from v2t_eval.distribution.metric import DistributionMetric, DistributionSettings

I3D_URL = "https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt"
INCEPTION_URL = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt"
I3D_MIN_FRAMES = 10  # its pooling over time has nothing left of fewer
USUAL_FRAMES = "uniform-16"


class FeatureMetric(DistributionMetric):
    """Vectors of any extractor, named by the setting `feature`; always in the title."""

    named = ("feature",)
    requires = "nothing for starter-tower; else the weights of the extractor that is named"

    def open(self) -> BaseExtractor:
        return open_extractor(self.settings.feature)

    def vectors(self, sample: Sample, extractor: BaseExtractor) -> np.ndarray:
        """(d,): the clip's own vector, or the mean over its frames for a model for single frames."""
        return clip_features(sample, extractor)


@dataclass(frozen=True, kw_only=True)
class I3DSettings(DistributionSettings):
    """Choices of FVD and KVD.

    Args:
        weights: the I3D TorchScript file, "PATH" or "PATH#sha256".
        preprocessing: "stylegan" (squashed to 224x224, as StyleGAN-V and the TensorFlow original) or "crop" (shorter
            side to 224, the middle; as common_metrics_on_video_quality). Their values cannot be compared.
        num_frames: how many frames in a row are taken from the start of the clip; clips with fewer are failures.
    """

    weights: str = ""
    preprocessing: Literal["stylegan", "crop"] = "stylegan"
    num_frames: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_frames < I3D_MIN_FRAMES:
            raise ValueError(f"num_frames must be at least {I3D_MIN_FRAMES}, got {self.num_frames}")


class I3DMetric(DistributionMetric):
    """Vectors of I3D, one for a run of frames."""

    named = ("preprocessing",)
    hidden = ("weights",)
    requires = "the I3D TorchScript file of StyleGAN-V, by path"
    Settings: ClassVar[type[Any]] = I3DSettings

    def open(self) -> BaseExtractor:
        """I3D.

        Raises:
            MissingDependencyError: no path was given, there is no such file, or it has another hash.
        """
        if not self.settings.weights:
            raise MissingDependencyError(
                f"{self.name} needs I3D trained on Kinetics-400, as TorchScript, and no path was given",
                code="MODEL",
                hint=f"get {I3D_URL} and give weights=PATH or weights=PATH#sha256; without it, frechet or "
                "kernel_distance compare other features",
            )
        return open_extractor(f"i3d:{self.settings.weights}", preprocess=self.settings.preprocessing)

    def vectors(self, sample: Sample, extractor: BaseExtractor) -> np.ndarray:
        """(400,) of the first `num_frames` frames.

        Raises:
            ItemError: TOO_SHORT.
        """
        return clip_features(sample, extractor, self.settings.num_frames)


@dataclass(frozen=True, kw_only=True)
class InceptionSettings(DistributionSettings):
    """Choices of FID and KID.

    Args:
        weights: the Inception TorchScript file, "PATH" or "PATH#sha256".
        frames: which frames of a clip are the images, see `frame_positions`.
    """

    weights: str = ""
    frames: str = USUAL_FRAMES

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rule(self.frames)


class InceptionMetric(DistributionMetric):
    """Vectors of Inception, one for each picked frame; frames of one clip are one cluster."""

    named = ("frames",)
    hidden = ("weights",)
    requires = "the InceptionV3 TorchScript file of StyleGAN2, by path"
    Settings: ClassVar[type[Any]] = InceptionSettings

    def open(self) -> BaseExtractor:
        return open_inception(self.name, self.settings.weights)

    def vectors(self, sample: Sample, extractor: BaseExtractor) -> np.ndarray:
        """(n, 2048) of the picked frames."""
        key = ("picked frames' features", extractor.name, extractor.preprocess, self.settings.frames)
        pixels = sample.frames.pixels[frame_positions(sample.frames, self.settings.frames)]  # (n, H, W, 3)
        return sample.once(key, lambda: extractor.embed_frames(pixels))


def open_inception(metric: str, weights: str) -> BaseExtractor:
    """Inception from the file `weights`, for `metric`.

    Raises:
        MissingDependencyError: no path was given, there is no such file, or it has another hash.
    """
    if not weights:
        raise MissingDependencyError(
            f"{metric} needs the InceptionV3 of 2015, as TorchScript, and no path was given",
            code="MODEL",
            hint=f"get {INCEPTION_URL} and give weights=PATH or weights=PATH#sha256",
        )
    return open_extractor(f"inception:{weights}")


def check_rule(rule: str) -> None:
    """Raises ValueError unless `rule` is one that `frame_positions` knows."""
    kind, _, num = rule.partition("-")
    if rule not in ("all", "first", "middle") and not (kind == "uniform" and num.isdigit() and int(num) >= 2):
        raise ValueError(f"frames must be all, first, middle or uniform-N with N of 2 or more, got {rule!r}")


def frame_positions(frames: Frames, rule: str) -> np.ndarray:
    """Positions int (n,) of the frames a rule picks: "all", "first", "middle", or "uniform-N": N at equal steps of
    time, first and last among them (all, where there are no more).

    Raises:
        ValueError: another rule.
    """
    check_rule(rule)
    num = len(frames)
    if rule == "first":
        return np.array([0])
    if rule == "middle":
        return np.array([(num - 1) // 2])
    if rule == "all" or num <= int(rule.partition("-")[2]):
        return np.arange(num)
    times = frames.times_s
    return np.unique(positions_at(times, np.linspace(times[0], times[-1], int(rule.partition("-")[2]))))
