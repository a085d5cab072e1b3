"""VBench's temporal style: does the clip move, and the camera with it, as the prompt says?

In: frames and a prompt. Out: the cosine of the clip, by its 8 middle frames, and the whole prompt. The reference has
ViCLIP, which sees motion; a model for single frames, such as the starter, sees none and says so. It is
`overall_consistency` by another name: VBench asks the two of other prompts. On the same clips they are one number,
which VBench's total (`fixed`) counts once.
"""

from __future__ import annotations

from v2t_eval.semantics.style import TextDimension


class Metric(TextDimension):
    """See the module's head."""

    name = "temporal_style"
    level = "clip"
    higher_is_better = True
    value_range = (-1.0, 1.0)
    sees = "how well 8 frames together fit the prompt"
    blind = "order of frames and motion, with a model for single frames; what a long prompt says last"
    wants = "a dual encoder: the starter's, clip:ID_OR_FOLDER or open_clip:MODEL/PRETRAINED"
    version = 1
    reference = "ViCLIP InternVid-10M-FLT"
