"""A judge that is a language model of transformers on this machine.

In: a folder or hub id, and prompts. Out: answers. safetensors only, no code from elsewhere, float32, greedy unless a
temperature is asked for. Letters: L tokens.
"""

from __future__ import annotations

from typing import Any

from eval.extractors import hub
from v2t.base.errors import ItemError, MissingDependencyError

MAX_NEW_TOKENS = 1024


class Causal:
    """See `eval.events.language.Model`."""

    def __init__(self, where: str) -> None:
        import torch
        import transformers

        self._folder = hub.model_folder(where, "judge")
        try:
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
                str(self._folder), local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError) as error:
            raise MissingDependencyError(f"no tokenizer in {self._folder}: {error}", code="MODEL") from error
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model: Any = hub.load_model("AutoModelForCausalLM", self._folder, device)
        self._about = {"judge": where, "judge_weights": hub.weights_sha256(self._folder)}

    def answer(self, prompt: str, temperature: float, seed: int) -> str:
        """See `Model.answer`.

        Raises:
            ItemError: PROMPT_TOO_LONG, the model cannot take the prompt and an answer.
        """
        import torch

        ids = self._encode(prompt).to(self._model.device)  # (1, L)
        length = ids.shape[1]
        positions = getattr(self._model.config, "max_position_embeddings", None)
        room = MAX_NEW_TOKENS if positions is None else min(MAX_NEW_TOKENS, positions - length)
        if room < 1:
            raise ItemError(f"a prompt of {length} tokens, the judge takes {positions}", code="PROMPT_TOO_LONG")
        drawn: dict[str, Any] = {"do_sample": temperature > 0}
        drawn |= (
            {"temperature": temperature} if temperature > 0 else {"temperature": None, "top_p": None, "top_k": None}
        )
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(seed)
            found = self._model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=room,
                pad_token_id=self._tokenizer.pad_token_id or self._tokenizer.eos_token_id or 0, **drawn,
            )  # fmt: skip
        return str(self._tokenizer.decode(found[0, length:], skip_special_tokens=True))

    def describe(self) -> dict[str, str]:
        """Name and hash of the weights."""
        return self._about

    def _encode(self, prompt: str) -> Any:
        if self._tokenizer.chat_template:
            talk = [{"role": "user", "content": prompt}]
            prompt = self._tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
            return self._tokenizer(prompt, return_tensors="pt", add_special_tokens=False).input_ids
        return self._tokenizer(prompt, return_tensors="pt").input_ids
