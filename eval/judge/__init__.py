"""Judges: questions about a clip, asked of any captioner, with calibrated answers.

In: a clip (`subject`) and questions (`question`), which may be made from a prompt by a grammar (`grammar`) or by a
language model (`language`). Out: answers (`judge`) from likelihoods or votes (`asker`, `replies`, `answer`), mapped to
probabilities (`calibration`), and cached by content (`cache`).
"""
