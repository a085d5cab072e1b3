"""FVD (Unterthiner et al. 2018): Frechet distance of I3D's 400 numbers before the softmax, I3D given by path.

In: two sets of clips, 16 frames in a row of each. Out: the distance, with the preprocessing named. "stylegan" divides
the covariance by N and squashes frames (StyleGAN-V's fvd2048_16f, cd-fvd); "crop" divides by N-1 and crops
(common_metrics_on_video_quality). frechet[feature=i3d:...] is the same network with other choices.
"""

from __future__ import annotations

from v2t_eval.distribution.detectors import I3DMetric
from v2t_eval.distribution.estimators import Estimator, FrechetEstimator, KernelEstimator


class Metric(I3DMetric):
    name = "fvd"
    detects = "what the clips look like as a set, and in part how they move: blur, noise, freezing, shuffled frames"
    misses = (
        "whether a clip fits its prompt; which clips are bad; a reversed clip, nearly; content weighs more than "
        "motion: corrupted frames cost more than corrupted timing"
    )

    def estimators(self) -> dict[str, Estimator]:
        of_file = FrechetEstimator("n" if self.settings.preprocessing == "stylegan" else "n-1")
        return {"fvd": of_file, "kvd": KernelEstimator()}
