"""VBench's subject consistency: constant appearance of the subject.

In: frames. Out: the mean over frames of half the cosine to the frame before plus half the cosine to the first frame,
negative ones as 0, by features of a vision model. The reference has DINO ViT-B/16
(`model=dino:facebook/dino-vitb16`); the usual one here is the tower of the shipped captioner, which has seen the
cartoon world alone. On several GPUs the reference takes the mean of clips instead of frames (defect D6), which is the
figure `mean_of_clips`.
"""

from __future__ import annotations

from v2t_eval.vbench.consistency import Consistency


class Metric(Consistency):
    name = "subject_consistency"
    detects = "a subject that changes its appearance, cuts, frames in disorder, noise"
    misses = (
        "whether anything happens (a frozen clip would be perfect; it is named and left out), blur, "
        "the direction of time where frames change evenly"
    )
    requires = "nothing with the starter; for the reference's backbone model=dino:facebook/dino-vitb16"
    reference = "DINO ViT-B/16"
    families = ("dino:",)
    usual_model = "starter-tower"
    own_models = ("dino:facebook/dino-vitb16",)
