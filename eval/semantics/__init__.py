"""What a prompt asks for, and who says whether a clip shows it.

In: samples. Out: what is asked (`asked`), what detectors find (`detectors`), what a judge answers (`judge`), and the
formulas of VBench, TIFA and DSG over these (`formulas`, `questions`): pure functions of boxes, words and answers.
"""

from __future__ import annotations

# What decides what a prompt asks for, and in which words: part of the fingerprint of every metric here.
READS_PROMPTS = ("eval.semantics.asked", "eval.semantics.free_text", "eval.semantics.plain_words",
                 "v2t.world.read_text", "v2t.world.phrases", "v2t.world.lexicon")  # fmt: skip
ASKS = (*READS_PROMPTS, "eval.semantics.questions", "eval.semantics.wording", "eval.semantics.judge",
        "v2t.world.claims")  # fmt: skip
