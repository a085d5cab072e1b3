"""A judge: questions about a clip, put to any captioner, with answers that say how sure they are.

In: a clip (`subject`) and questions (`question`), which may be made from a prompt by a grammar (`prompt`, `wording`,
`plain_wording`, `free_text`) or by a language model (`language`). Out: answers (`judge`), heard as likelihoods or votes
(`asker`, `ballots`, `replies`, `heard`), mapped to chances (`calibration`), kept by content (`cache`), and counted with
what hangs on what (`evaluation`).
"""
