"""One line an event: `0.2-1.7s: a brown cat runs left in the snow.`"""

from cineloop.clock import timed_lines

PROMPT = "List the events of the video with their times."
MAX_NEW_TOKENS = 320
segments = timed_lines
