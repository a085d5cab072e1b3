"""A judge that is a language model of transformers on this machine.

In: a folder or hub id, and prompts. Out: answers. safetensors only, no code from elsewhere, float32, greedy unless a
temperature is asked for.
"""

from __future__ import annotations

from typing import Any

from cineloop.errors import MissingDependencyError
from v2t_eval import models
from v2t_eval.extractors import hub
from v2t_eval.judge.language import complete


class Causal:
    """See `v2t_eval.events.language.Model`."""

    def __init__(self, where: str) -> None:
        import transformers

        self._folder = hub.model_folder(where, "judge")
        try:
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
                str(self._folder), local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError) as error:
            raise MissingDependencyError(f"no tokenizer in {self._folder}: {error}", code="MODEL") from error
        device = models.device()
        self._model: Any = hub.load_model("AutoModelForCausalLM", self._folder, device)
        self._about = {"judge": where, "judge_weights": hub.weights_sha256(self._folder)}

    def answer(self, prompt: str, temperature: float, seed: int) -> str:
        """See `Model.answer`.

        Raises:
            ItemError: PROMPT_TOO_LONG, the model cannot take the prompt and an answer.
        """
        return complete(self._model, self._tokenizer, prompt, temperature=temperature, seed=seed, name="the judge")

    def describe(self) -> dict[str, str]:
        return self._about
