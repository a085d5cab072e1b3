"""Named caption styles, one small file each: the prompt a captioner gets, how long an answer may be, how to read it.

A style module defines `PROMPT` (the words the starter was trained on), `MAX_NEW_TOKENS`, and, where the answer has
parts with times, `segments(text, duration_s)`.
"""
