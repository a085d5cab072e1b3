"""VBench's overall consistency: does the clip show what the prompt says, style and all?

In: frames and a prompt. Out: the cosine of the clip, by its 8 middle frames, and the whole prompt. The reference has
ViCLIP, which sees motion; a model for single frames, such as the starter, sees none and says so.
"""

from __future__ import annotations

from v2t_eval.semantics.style import TextDimension


class Metric(TextDimension):
    name = "overall_consistency"
    value_range = (-1.0, 1.0)
    detects = "how well 8 frames together fit the prompt"
    misses = "order of frames and motion, with a model for single frames; what a long prompt says last"
    requires = "a dual encoder: the starter's, clip:ID_OR_FOLDER or open_clip:MODEL/PRETRAINED"
    reference = "ViCLIP InternVid-10M-FLT"
