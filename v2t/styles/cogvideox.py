"""Dialect of CogVideoX and CogVideoX 1.5: one English paragraph on one line, about 40 to 140 words, in order of time.

Read: zai-org/CogVideo 7a1af715, inference/convert_demo.py (the system prompts that expand a user's prompt, with three
answers of 88 to 95 words), resources/galary_prompt.md (twelve prompts of 34 to 135 words), README.md (English; 226
tokens of T5, 224 in 1.5), finetune/README.md (a data set keeps one caption a line in prompts.txt). The paragraph begins
with the subject and names no camera cuts; tokens are counted for 1.5.
"""

from __future__ import annotations

import re

from cineloop.errors import Notice
from v2t.styles.dialect import Draft, english, length, markup, opening, paragraphs, preface, without_quotes

PROMPT = (
    "Write one caption of this video in English, 60 to 110 words, as one paragraph of complete sentences on one line. "
    "Begin directly with the main subject. Describe its appearance and clothes, the place and the light, and what "
    "happens in order of time (initially, then, finally), as one continuous shot. Only what can be seen: no title, no "
    "list."
)
MAX_NEW_TOKENS = 300
ENCODER = "cogvideox-1.5"
_CUT = re.compile(
    r"\b(?:cuts? to|jump cut|transitions? to|fades? (?:in|out|to)|cross-?fades?|dissolves? (?:in)?to|switch(?:es)? to|"
    r"scene changes?|next scene)\b",
    re.I,
)


def check(draft: Draft) -> list[Notice]:
    """Objections to a caption."""
    objections = [*preface(draft), *markup(draft), *english(draft), *opening(draft)]
    objections += paragraphs(draft, "its data sets keep one caption a line")
    if match := _CUT.search(without_quotes(draft.text)):
        objections.append(Notice("DIALECT_CUTS", f'one continuous shot is described, got "{match[0]}"'))
    return objections + length(draft, 30, 140)
