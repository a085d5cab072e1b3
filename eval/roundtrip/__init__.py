"""The round trip: prompt, clip, caption, and how much of the prompt came back.

In: prompts and a generator, or clips that are there. Out: a run folder and figures that stand between a floor (captions
of other prompts) and a ceiling (the world's exact clip, or a reference clip).
"""
