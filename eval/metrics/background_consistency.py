"""VBench's background consistency: constant appearance of the background.

In: frames. Out: the same formula as subject consistency over CLIP's image features. The reference has CLIP ViT-B/32
(`model=open_clip:ViT-B-32/openai`); the usual one here is the shipped dual encoder, which has seen the cartoon world
alone.
"""

from __future__ import annotations

from v2t_eval.metrics import subject_consistency


class Metric(subject_consistency.Metric):
    name = "background_consistency"
    detects = "a place that changes, cuts, frames in disorder, noise"
    misses = (
        "whether anything happens (a frozen clip would be perfect; it is named and left out), blur, "
        "the direction of time where frames change evenly"
    )
    requires = "nothing with the starter; for the reference's backbone model=open_clip:ViT-B-32/openai"
    reference = "CLIP ViT-B/32"
    families = ("open_clip:", "clip:")
    usual_model = "starter"
    own_models = (
        "open_clip:ViT-B-32/openai",
        "open_clip:ViT-B-32-quickgelu/openai",
        "clip:openai/clip-vit-base-patch32",
    )
