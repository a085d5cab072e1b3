"""One sentence: what the clip shows."""

PROMPT = "Describe the video in one sentence."
MAX_NEW_TOKENS = 64
