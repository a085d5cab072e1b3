"""Captions corrected by people beside the playing video: `v2t edit`. Start reading at `run.run`.

`history` reads who changed what from the run's journal, `folder` writes edits into it, `order` says which clips come
first, `clips` plays them, `answers` asks the model again, `app` has the routes and `page/` the page.
"""
