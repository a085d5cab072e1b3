"""Chat about video over HTTP: a guard in front, an engine behind it, and what teaches vLLM our model.

The gateway (`gateway`, with the chat `page`) is the only open port: it checks who asks, fetches and decodes videos
within limits (`media`), and hands sampled frames to the engine (`engine` is what it sees of one, `engines` has one file
for each). This project's own captioner is a thread of the same process (`local`); vLLM, taught by `plugin`, is a child
behind a socket file that no one else can reach, which `supervision` keeps running. An engine never sees a file, an
address or a field that was not checked.

    client → gateway.door → gateway.chat (checked request) → media (Frames) → engine → gateway.answers, in pieces
"""
