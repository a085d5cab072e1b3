"""Chat about video over HTTP: a gateway, an engine behind it, and the plug-in that teaches vLLM our model.

The gateway (`app` has the routes, with the chat `page`) is the only open port, guarded by `cineloop.web`: it parses a
request once (`chat`), fetches and decodes videos within limits (`media`, `decoding`), and hands sampled frames to the
engine (`engines` has the protocol and one file for each). This project's own captioner is a thread of the same process;
vLLM, taught by `plugin`, is a child process behind a socket file (`engine_process`). An engine never gets a file, an
address or a field that was not checked. Before another server (`engines/openai.py`) requests are passed on as they came
(`relay`, `replies`), with pictures or notes in the place of videos (`substitution`, `films`).

    client → cineloop.web.guard → gateway: chat (ChatRequest) → media (Frames) → engines → answer, whole or a stream
"""
