"""A judge behind an OpenAI-compatible address, through the client of `v2t_eval.judge.language`.

In: "openai:URL[#model]" and prompts. Out: answers. Retries, keys and proxies are that client's.
"""

from __future__ import annotations

from v2t_eval.judge import language


class Served(language.Served):
    """See `v2t_eval.events.language.Model`."""

    def answer(self, prompt: str, temperature: float, seed: int) -> str:
        return self.write(prompt, temperature=temperature, seed=seed)

    def describe(self) -> dict[str, str]:
        """The model's name and what the server says of its revision, not the address."""
        return {"judge": self.name, "judge_revision": self.revision}
