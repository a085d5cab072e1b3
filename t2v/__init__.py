"""Text to video: the bundled generator and the drivers for big ones. Layers: eval -> t2v -> v2t, never back.

`import t2v.pipeline` makes the classes known to diffusers; this file stays empty so that commands start fast.
"""
