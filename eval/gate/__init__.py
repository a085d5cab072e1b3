"""The gate: does a pull request's generator pass, fail, or is it too early to say?

In: scores of the candidate, a baseline (scores that were kept), a policy. Out: a `Verdict` and its exit code. Pure
arithmetic (`statistics`, `decide`) apart from files (`baseline`, `run`) and from what people read (`junit`, `github`,
`page`).
"""
