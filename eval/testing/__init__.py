"""Single clips in tests: the session, metrics and verdict of pytest's plug-in (`v2t_eval.pytest_plugin`).

In: a clip, and what it must show (`evaluator`). Out: evidence (`answers`) and a verdict with its reasons (`verdict`).
"""
