"""VBench's overall consistency: does the clip show what the prompt says, style and all?

In: frames and a prompt. Out: the cosine of the clip and the whole prompt. The reference has
ViCLIP, which sees motion, as the starter's dual encoder of clips does; a model for single frames sees none.
"""

from __future__ import annotations

from dataclasses import dataclass

from v2t_eval.semantics.style import StyleSettings, TextDimension


@dataclass(frozen=True, kw_only=True)
class Settings(StyleSettings):
    """See `v2t_eval.semantics.style.StyleSettings`."""

    model: str = "starter-video"


class Metric(TextDimension):
    name = "overall_consistency"
    value_range = (-1.0, 1.0)
    detects = "how well a clip as a whole fits the prompt"
    misses = "order of frames and motion, with a model for single frames; what a long prompt says last"
    requires = "a dual encoder: the starter's, clip:ID_OR_FOLDER or open_clip:MODEL/PRETRAINED"
    Settings = Settings
    reference = "ViCLIP InternVid-10M-FLT"
