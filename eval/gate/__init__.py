"""The gate: pass, fail or inconclusive for a pull request's generator.

In: scores of the candidate, a baseline (scores with a history), a policy. Out: a `Verdict` and its exit code. The
steps: `sides.scores_of`, `run.gate` (`comparable`, `compare`, `decide`, `guards`), `report.document`, and a renderer of
`v2t_eval.report`.
"""
