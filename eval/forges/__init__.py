"""Forges, which host pull requests: one file each (`github`, `gitlab`), and the one comment of a gate on them.

In: the report that a gate left in its folder, and the environment of a CI job. Out: one comment on the pull request,
written at the first run and updated in place by every later one; or the reason why there is none, and the report
elsewhere. A forge is a file with a class `Forge` (`v2t_eval.forges.comment.ForgeLike`).
"""
