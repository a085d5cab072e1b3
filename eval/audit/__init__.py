"""The audit: reliability of a judge and of each metric on clips with known faults.

In: clean clips (the cartoon world's or the user's), metrics, a judge. Out: an audit file (`record`) that reports and
gates cite: a sensitivity table of metric by fault, and the judge's agreement with the truth by kind of fact.
"""
