"""Dialect of HunyuanVideo 1.5 (and HunyuanVideo): subject, motion in order of time, scene; then shot, light, style.

Read: Tencent-Hunyuan/HunyuanVideo-1.5 60783e70, assets/HunyuanVideo_1_5_Prompt_Handbook_EN.md (the formula, with 48
prompts) and hyvideo/utils/rewrite/t2v_prompt.py (the system prompt that rewrites a user's prompt: a summary, then the
subject, its actions by "initially, then, next, finally", the background, and last camera, light and a sentence that
names the style; up to some 350 words); Tencent-Hunyuan/HunyuanVideo fa14b001, hyvideo/prompt_rewrite.py. Text in the
picture is quoted: only quoted text reaches the second encoder, which draws letters. The handbook's own prompts begin
with six words and are English or Chinese, so length and everything but subject, motion and scene is advice. Tokens are
counted for 1.5; HunyuanVideo reads 256 (`--encoder hunyuan`).
"""

from __future__ import annotations

import re

from cineloop.errors import Notice
from v2t.styles.dialect import Draft, camera, length, light, markup, opening, preface, style, visible_text

PROMPT = (
    "Write one caption of this video in English, 120 to 300 words, as one paragraph of present-tense sentences. First "
    "one sentence that sums up who does what where. Then the main subject in detail; then its actions in order, with "
    "the words Initially, Then, Next and Finally; then the background. End with the shot size, the angle, the movement "
    'of the camera or "The camera remains static.", the light, and the sentence "The overall video presents a ... '
    'style." Put text that can be read in double quotes. Only what can be seen.'
)
MAX_NEW_TOKENS = 640
ENCODER = "hunyuan-1.5"
_FIRST = re.compile(r"\b(?:initially|at first|in the beginning|to begin with)\b|\u6700\u521d|\u9996\u5148", re.I)
_LAST = re.compile(r"\b(?:finally|in the end|at the end|lastly)\b|\u6700\u540e|\u6700\u7ec8", re.I)
_STEP = re.compile(r"(?:(?<=[.:;\s\u3002\uff1a\uff1b])|^)(\d{1,2})\u3001")


def check(draft: Draft) -> list[Notice]:
    """Objections to a caption."""
    rules = (preface, markup, opening, camera, light, style, visible_text)
    objections = [objection for rule in rules for objection in rule(draft)] + length(draft, 40, 350)
    first, last = _FIRST.search(draft.text), _LAST.search(draft.text)
    if first and last and last.start() < first.start():
        objections.append(Notice("DIALECT_ORDER", f'actions stand in order, got "{last[0]}" before "{first[0]}"'))
    steps = [int(step) for step in _STEP.findall(draft.text)]
    if steps != list(range(1, len(steps) + 1)):
        objections.append(Notice("DIALECT_ORDER", f"steps are numbered from 1, one by one, got {steps}"))
    return objections
