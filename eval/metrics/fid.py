"""FID (Heusel et al. 2017) of frames: Frechet distance of Inception's 2048 numbers, Inception given by path.

In: two sets of clips, of which the frames named by `frames` are the images. Out: the distance, covariance by N-1.
Frames of a clip are alike, so N images are worth fewer: intervals and floor go by clip. Frames are resized as the
TensorFlow original does, without antialias; torchmetrics smooths by default, which gives other numbers.
"""

from __future__ import annotations

from v2t_eval.distribution.detectors import InceptionMetric
from v2t_eval.distribution.estimators import Estimator, FrechetEstimator, KernelEstimator


class Metric(InceptionMetric):
    name = "fid"
    detects = "what single frames look like as a set: content, blur, noise, colour; variety that is missing"
    misses = "all motion and the order of frames; whether a clip fits its prompt; which clips are bad"

    def estimators(self) -> dict[str, Estimator]:
        return {"fid": FrechetEstimator("n-1"), "kid": KernelEstimator()}
