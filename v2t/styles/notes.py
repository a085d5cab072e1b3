"""One plain line an event, always in the same words and with its place, for a memory to be searched."""

from v2t.styles.timed import segments

PROMPT = "Note every event with its times in plain words."
MAX_NEW_TOKENS = 320
__all__ = ["MAX_NEW_TOKENS", "PROMPT", "segments"]
