"""What a prompt asks for, and who says whether a clip shows it.

In: samples. Out: what is asked (`asked`), what detectors find (`detectors`), what a judge answers (`judge`), and the
formulas of VBench, TIFA and DSG over these (`formulas`, `questions`): pure functions of boxes, words and answers.
"""
