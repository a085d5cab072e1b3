"""Sampling settings of transformers' `generate`: a `Decoding` means the same in every backend.

In: a `Decoding`. Out: keyword arguments of `generate`. Letters: B batch, L tokens so far, n tokens of the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from v2t.backends import Decoding

# The neutral value of each of transformers' filters (`GenerationMixin._get_logits_processor`).
_NO_FILTER = {
    **{"top_k": 0, "top_p": 1.0, "min_p": None, "top_h": None, "typical_p": 1.0},
    **{"epsilon_cutoff": 0.0, "eta_cutoff": 0.0},
}


class AnswerPenalties:
    """A logits processor for one call of `generate`: see `Decoding.presence_penalty`."""

    def __init__(self, presence: float, frequency: float) -> None:
        self._presence, self._frequency = presence, frequency
        self._prompt_length: int | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Logits (B, vocabulary) after the tokens (B, L) so far; the first call has the prompt alone."""
        import torch

        if self._prompt_length is None:
            self._prompt_length = input_ids.shape[1]
        answer = input_ids[:, self._prompt_length :]  # (B, n)
        counts = torch.zeros_like(scores).scatter_add_(1, answer, torch.ones_like(answer, dtype=scores.dtype))
        return scores - self._presence * (counts > 0) - self._frequency * counts


def sampling_settings(decoding: Decoding) -> dict[str, Any]:
    """Keyword arguments of `generate` for a `Decoding`; seeds torch where it samples.

    Every filter of transformers is set: an omitted one would take the checkpoint's value, or the default top_k of 50.
    """
    import torch
    from transformers import GenerationConfig, LogitsProcessorList

    known = vars(GenerationConfig())
    filters = {name: value for name, value in _NO_FILTER.items() if name in known}
    settings: dict[str, Any] = {"num_beams": 1, "repetition_penalty": decoding.repetition_penalty}
    if decoding.presence_penalty or decoding.frequency_penalty:
        # transformers applies it after the repetition penalty and before temperature and filters, as vLLM does.
        penalties = AnswerPenalties(decoding.presence_penalty, decoding.frequency_penalty)
        settings["logits_processor"] = LogitsProcessorList([penalties])  # type: ignore[list-item]
    if decoding.temperature == 0:
        # Unset: transformers warns of filters with greedy decoding.
        return {**settings, "do_sample": False, "temperature": None, **dict.fromkeys(filters)}
    torch.manual_seed(decoding.seed)
    return {**settings, "do_sample": True, "temperature": decoding.temperature, **filters, "top_p": decoding.top_p}
