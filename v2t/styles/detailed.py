"""Two to four sentences: who, where, what happens in which order, camera and cuts."""

PROMPT = "Describe the video in detail."
MAX_NEW_TOKENS = 192
