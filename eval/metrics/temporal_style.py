"""VBench's temporal style: does the clip move, and the camera with it, as the prompt says?

In: frames and a prompt. Out: the cosine of the clip and the whole prompt. The reference has
ViCLIP, which sees motion, as the starter's dual encoder of clips does; a model for single frames sees none. It is
`overall_consistency` by another name: VBench asks the two of other prompts. On the same clips they are one number,
which VBench's total (`fixed`) counts once.
"""

from __future__ import annotations

from v2t_eval.metrics import overall_consistency


class Metric(overall_consistency.Metric):
    name = "temporal_style"
