"""Single clips in tests: what pytest's plug-in (`eval.pytest_plugin`) looks at, decides and tells.

In: a clip, and what it must show (`looks`). Out: what was found (`answers`), judged in words (`verdict`).
"""
