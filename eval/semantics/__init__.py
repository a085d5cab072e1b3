"""Requirements of a prompt, and their check on a clip by detectors or a judge.

In: samples. Out: what the prompt asks for (`asked`), what detectors find (`detectors`), what a judge answers (`judge`),
and the formulas of VBench, TIFA and DSG over these (`formulas`, `questions`): pure functions of boxes, words and
answers.
"""

from __future__ import annotations

# Raised whenever a prompt may ask for something else, or in other words: part of the definition of every metric here.
VERSION = 1
