"""A judge: questions about a clip, put to any captioner, with answers that say how sure they are.

In: a clip (`subject`) and questions (`question`), which may be made from a prompt (`prompt`, `wording`, `free_text`).
Out: answers (`judge`), read from likelihoods or from replies in words (`replies`).
"""
