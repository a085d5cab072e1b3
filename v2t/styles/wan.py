"""Dialect of Wan 2.1 and 2.2: 60 to 200 words; light, colours and shot named; then who, where, and what moves how.

Read: Wan-Video/Wan2.2 42bf4cfa, wan/utils/system_prompt.py (the system prompts that rewrite a user's prompt) and
wan/configs/shared_config.py (UMT5, 512 tokens); Wan-Video/Wan2.1 9737cba9, wan/utils/prompt_extend.py, which wants 80
to 100 words. English or Chinese; a style that is not footage stands first; no line such as "Rewritten prompt:". Its own
READMEs use prompts of 16 words, so length is advice, as is what the guide leaves to choice.
"""

from __future__ import annotations

from cineloop.errors import Notice
from v2t.styles.dialect import Draft, camera, length, light, markup, opening, preface, visible_text

PROMPT = (
    "Write one caption of this video in English, 80 to 150 words, as one paragraph of plain sentences. Begin with the "
    "visual style if it is not ordinary footage. Name the time of day, the kind and direction of the light, the colour "
    "tone, the shot size and the camera angle or movement. Then describe each subject (appearance, clothes, "
    "expression, posture), every movement step by step in simple verbs, and the background. Put text that can be read "
    "in double quotes. Only what can be seen: no mood, no opinions, no title."
)
MAX_NEW_TOKENS = 400
ENCODER = "wan"


def check(draft: Draft) -> list[Notice]:
    """Objections to a caption."""
    rules = (preface, markup, opening, camera, light, visible_text)
    return [objection for rule in rules for objection in rule(draft)] + length(draft, 60, 200)
