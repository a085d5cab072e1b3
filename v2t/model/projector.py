"""The projector: two linear layers from resampler width to LLM width, as in LLaVA-1.5 (arXiv:2310.03744).

In: query tokens (S, Q, D_resampler). Out: visual tokens (S, Q, D_llm).
"""

from __future__ import annotations

from torch import Tensor, nn
from transformers.activations import ACT2FN


class CineloopProjector(nn.Module):
    """Linear, activation, linear.

    Args:
        in_size: width of the resampler.
        out_size: width of the LLM.
        hidden_act: name of a transformers activation.
    """

    def __init__(self, in_size: int, out_size: int, hidden_act: str = "gelu") -> None:
        super().__init__()
        self.linear_1 = nn.Linear(in_size, out_size)
        self.act = ACT2FN[hidden_act]
        self.linear_2 = nn.Linear(out_size, out_size)

    def forward(self, query_tokens: Tensor) -> Tensor:
        """(S, Q, in_size) to (S, Q, out_size)."""
        return self.linear_2(self.act(self.linear_1(query_tokens)))  # (S, Q, D_llm)
