"""What every verb is made of: samples in, evidence of each by an executor, scores of the set out.

In: clips, captions, and loaded metrics. Out: `Scores`, with intervals and fingerprints. `sample` and `inputs` read,
`metric` is the base of all metrics, `measure` asks them (in one process, `processes` or a `cluster`), `cache` keeps the
evidence, `score` runs a scoring, `statistics` has the intervals. Nothing here knows a metric or a verb.
"""
