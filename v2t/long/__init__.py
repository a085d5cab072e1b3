"""Long videos, for captions and for questions alike.

`segments` divides a video into segments; `items` is the work item, a clip or a segment on its way to an answer; `queue`
decodes items ahead of the model; `video` is one video with its length, cuts and segments; `notebook` keeps timed notes
on a video, from a captioner or from a captioning run, and parses and joins them; `recall` selects those that a question
is about; `summary` makes one text of many.
"""
