"""Single clips in tests: what pytest's plug-in (`v2t_eval.pytest_plugin`) looks at, decides and tells.

In: a clip, and what it must show (`looks`). Out: what was found (`answers`), judged in words (`verdict`).
"""
