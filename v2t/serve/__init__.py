"""Chat about video over HTTP: a guard in front, an engine behind it, and what teaches vLLM our model.

`v2t serve` is two processes. The gateway (`run`, `app`) is the only open port: it checks who asks, fetches and decodes
videos within limits (`media`), and hands sampled frames to the engine over a socket file that no one else can reach.
The engine (`engines`) answers: vLLM, or this project's own captioner behind the same routes. It never sees a file, an
address or a field of a client that was not checked.

    client → access → chat (checked request) → media (Frames) → packed → engine → answer, in pieces
"""
