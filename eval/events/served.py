"""A judge behind an OpenAI-compatible address, through the client of `v2t.captioners.openai`.

In: "openai:URL[#model]" and prompts. Out: answers. Retries, keys and proxies are that client's.
"""

from __future__ import annotations

from v2t.captioners import Decoding, asked, open_captioner

MAX_NEW_TOKENS = 1024


class Served:
    """See `eval.events.language.Model`."""

    def __init__(self, address: str) -> None:
        # Nothing is shown to it, so the server need not be asked how it takes frames.
        self._model = open_captioner(address, options={"frames_as": "images"})
        self._model.load()

    def answer(self, prompt: str, temperature: float, seed: int) -> str:
        """See `Model.answer`."""
        decoding = Decoding(max_new_tokens=MAX_NEW_TOKENS, temperature=temperature, seed=seed)
        return self._model.answer([asked(prompt)], decoding)[0].text

    def describe(self) -> dict[str, str]:
        """The model's name and what the server says of its revision, not the address."""
        return {"judge": self._model.name, "judge_revision": self._model.revision}
