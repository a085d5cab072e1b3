"""Chat about video over HTTP: a guard in front, an engine behind it, and what teaches vLLM our model.

`v2t serve` (`run`) is two processes. The gateway (`gateway`, with the chat `page`) is the only open port: it checks who
asks, fetches and decodes videos within limits (`media`), and hands sampled frames to the engine over a socket file that
no one else can reach. The engine answers: vLLM, taught by `plugin`, or this project's own captioner (`local`); it never
sees a file, an address or a field that was not checked. `engines` says how each is started, `supervision` keeps it
running.

    client → gateway.door → gateway.chat (checked request) → media (Frames) → engine → gateway.answers, in pieces
"""
