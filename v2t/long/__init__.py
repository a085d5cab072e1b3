"""Long videos, for captions and for questions alike.

`parts` divides a video into parts and tracks the finished parts of a clip in a captioning run; `film` is one open video
whose parts are decoded on demand; `notebook` keeps timed notes on a film, from a captioner or from a captioning run,
and parses and joins them; `recall` selects those that a question is about; `summary` makes one text of many.
"""
