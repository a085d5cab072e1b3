"""What a prompt asks for, and who says whether a clip shows it.

In: samples. Out: what is asked (`asked`), what detectors find (`detectors`), what a judge answers (`judge`), and the
formulas of VBench, TIFA and DSG over these (`formulas`, `questions`): pure functions of boxes, words and answers.
"""

from __future__ import annotations

# What decides what a prompt asks for, and in which words: part of the fingerprint of every metric here.
READS_PROMPTS = (
    "v2t_eval.semantics.asked",
    "v2t.judge.prompt",
    "v2t.judge.free_text",
    "v2t.judge.noun_phrases",
    "v2t.judge.english",
    "v2t.judge.plain_words",
    "v2t.world.read_text",
    "v2t.world.phrases",
    "v2t.world.lexicon",
)
ASKS = (
    *READS_PROMPTS,
    "v2t.judge.question",
    "v2t.judge.wording",
    "v2t.judge.plain_wording",
    "v2t.judge.judge",
    "v2t.judge.asker",
    "v2t.judge.ballots",
    "v2t.judge.heard",
    "v2t.judge.answer",
    "v2t.judge.replies",
    "v2t.judge.calibration",
    "v2t.world.claims",
    "v2t.world.plain_questions",
)
