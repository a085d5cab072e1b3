"""The first look, `cineloop demo`: the starters watch, generate, judge and gate, in one page.

In: nothing but a folder to write to. Out: clips, captions, scores, verdicts, `index.html` and one screen.
"""
