"""Long videos, for captions and for questions alike.

`parts` says where a video is cut into parts and what is done of those of a clip of a captioning run;
`film` is one open video whose parts are decoded when they are asked for; `notebook` keeps timed notes on a film, from a
captioner or from a captioning run; `notes` reads and joins them; `recall` picks those that a question is about;
`summary` makes one text of many.
"""
