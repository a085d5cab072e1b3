"""The gate: does a pull request's generator pass, fail, or is it too early to say?

In: scores of the candidate, a baseline (scores with a history), a policy. Out: a `Verdict` and its exit code. The walk:
`sides.scored`, `run.gate` (`comparable`, `compare`, `decide`, `guards`), `report.document`, and a renderer of
`v2t_eval.report`.
"""
