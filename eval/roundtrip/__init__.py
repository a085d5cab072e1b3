"""The round trip: prompt to clip to caption, and how much of the prompt is recovered.

In: prompts and a generator, or existing clips. Out: a run folder and figures on a scale between a floor (captions
of other prompts) and a ceiling (the world's exact clip, or a reference clip).
"""
