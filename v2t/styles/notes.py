"""One plain line an event, always in the same words and with its place, for notes to be searched."""

from cineloop.clock import timed_lines

PROMPT = "Note every event with its times in plain words."
MAX_NEW_TOKENS = 320
segments = timed_lines
