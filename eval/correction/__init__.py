"""The judge's error, taken out of a score.

In: `Scores` with a judge's answers, an `Audit` that counted how often such answers are wrong, and a few true answers
where there are such. Out: `Scores` whose judged metrics have corrected figures beside their own, or the reason why
there are none. `rates` (what the audit counted), `estimate` (Rogan and Gladen's), `powered` (prediction-powered
inference), `labels` (true answers from a file), `scoring` (all of it, for one scoring).
"""
