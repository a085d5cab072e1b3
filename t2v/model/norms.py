"""Norms, modulation and gates of the transformer's blocks, in as few passes over memory as the device allows.

In: tokens (B, N, D) and modulation (B, 1 or N, D). Out: tokens (B, N, D). Statistics are always taken in float32. A
CPU spends as long on these steps as on the matrix products if they are written as on a GPU: an operation on two
precisions costs twenty times one on a single precision, and torch's RMS norm three times the one here. So on the CPU
products are made in the tokens' own precision; elsewhere in float32, as diffusers' Wan does. In float32 both agree.
Letters: B batch, N tokens, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.normalization import FP32LayerNorm
from torch import Tensor, nn


class LayerNorm(FP32LayerNorm):
    """Layer norm with statistics in float32, over tokens of any precision."""

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        fits = self.weight is None or self.weight.dtype in (inputs.dtype, torch.float32)
        if inputs.device.type == "cpu" and fits:  # the CPU kernel sums in float32 by itself
            return nn.LayerNorm.forward(self, inputs)
        return super().forward(inputs)


class RMSNorm(nn.RMSNorm):
    """RMS norm with weight; on the CPU by `_RMSNormFunction`."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        if x.device.type != "cpu" or self.weight is None:
            return super().forward(x)
        return _RMSNormFunction.apply(x, self.weight, self.eps)


class _RMSNormFunction(torch.autograd.Function):
    """x / rms(x) * weight with its own backward pass: (..., D), (D,), float to (..., D)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.float()
        rstd = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, rstd)
        return (wide * rstd).mul_(weight).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, rstd = ctx.saved_tensors
        normal, grad = x.float() * rstd, grad.float()  # (..., D) both
        product = grad * normal
        weight_grad = product.flatten(0, -2).sum(0).to(weight.dtype)  # (D,)
        mean = (product @ weight.float() / x.shape[-1])[..., None]  # (..., 1)
        return (grad * weight).addcmul_(normal, mean, value=-1).mul_(rstd).to(x.dtype), weight_grad, None


def modulation_dtype(x: Tensor) -> torch.dtype:
    """The precision in which tokens `x` are scaled, shifted and gated."""
    return x.dtype if x.device.type == "cpu" else torch.float32


def modulated_norm(norm: LayerNorm, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm, times 1 + `scale`, plus `shift`: x (B, N, D), the others (B, 1 or N, D) in `modulation_dtype`."""
    return torch.addcmul(shift, norm(x.to(shift.dtype)), 1 + scale).type_as(x)


def gated_sum(x: Tensor, update: Tensor, gate: Tensor) -> Tensor:
    """Residual sum x + update * gate: x and update (B, N, D), gate (B, 1 or N, D) in `modulation_dtype`."""
    return (x.to(gate.dtype) + update.to(gate.dtype) * gate).type_as(x)
