"""Optimisers, schedule and weight averaging: pure arithmetic on named parameters.

In: a model split in named parts with a learning rate each. Out: AdamW (or Muon on hidden matrices and AdamW on
the rest), the learning-rate factor of a step, and an exponential moving average of the weights.
Follows: Loshchilov & Hutter 2019 (AdamW); Jordan et al. 2024 and Liu et al. 2025, arXiv:2502.16982 (Muon, with
its update scaled to AdamW's so that one learning rate serves both).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from cineloop.errors import UsageError
from cineloop.training.rates import OptimConfig
from cineloop.training.runtime import has_fast_bf16

_OUTER = ("head", "embed", "classifier", "conv_in", "conv_out", "proj_out")


def lr_factor(step: int, steps: int, config: OptimConfig) -> float:
    """The share of the peak learning rate at `step` (0-based) of `steps`: a pure function, so resume needs no state."""
    if step < config.warmup_steps:
        return (step + 1) / (config.warmup_steps + 1)
    if config.schedule == "constant":
        return 1.0
    done = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    return config.min_lr_ratio + (1 - config.min_lr_ratio) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def freeze(parts: Mapping[str, Sequence[nn.Module]], config: OptimConfig) -> list[nn.Module]:
    """Stop gradients in every part whose learning rate is 0; returns the frozen modules.

    Raises:
        UsageError: `config.lr` names a part the model does not have.
    """
    unknown = sorted(config.lr.keys() - parts.keys())
    if unknown:
        raise UsageError(f"lr names unknown part {unknown[0]!r}", hint=f"parts of this stage: {', '.join(parts)}")
    frozen = [
        module for name, modules in parts.items() if config.lr.get(name, config.base_lr) == 0 for module in modules
    ]
    for module in frozen:
        module.requires_grad_(False)
    return frozen


def build_optimizers(
    model: nn.Module, parts: Mapping[str, Sequence[nn.Module]], config: OptimConfig
) -> list[torch.optim.Optimizer]:
    """Optimisers over every trainable parameter, each group carrying its `peak_lr`.

    Matrices decay, vectors do not.

    Raises:
        UsageError: nothing is trainable, or a trainable parameter belongs to no part.
    """
    rates: dict[nn.Parameter, float] = {}
    for name, modules in parts.items():
        for module in modules:
            rates |= {weight: config.lr.get(name, config.base_lr) for weight in module.parameters()}
    hidden = _hidden_matrices(model) if config.optimizer == "muon" else set()
    groups: dict[tuple[bool, float, bool], list[nn.Parameter]] = {}
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue
        if weight not in rates:
            raise UsageError(f"trainable parameter {name!r} belongs to no part of the stage")
        groups.setdefault((weight in hidden, rates[weight], weight.ndim >= 2), []).append(weight)
    if not groups:
        raise UsageError("nothing is trainable", hint="give at least one part a learning rate above 0")
    as_groups = {
        use_muon: [
            {"params": weights, "lr": rate, "peak_lr": rate, "weight_decay": config.weight_decay if decays else 0.0}
            for (is_muon, rate, decays), weights in groups.items()
            if is_muon == use_muon
        ]
        for use_muon in (False, True)
    }
    optimizers: list[torch.optim.Optimizer] = []
    if as_groups[False]:
        optimizers.append(torch.optim.AdamW(as_groups[False], betas=config.betas, eps=config.eps))
    if as_groups[True]:
        optimizers.append(Muon(as_groups[True], momentum=0.95))
    return optimizers


class Muon(torch.optim.Muon):
    """PyTorch's Muon, for convolutions too: a kernel counts as the matrix (outputs, inputs × places) it is.

    PyTorch orthogonalises in bfloat16 everywhere; on a CPU without instructions for it a step then takes ten times as
    long as all the rest of the training. There it is done in float32 (`orthogonal_factor`), else as PyTorch does, bit
    for bit.
    """

    def __init__(self, groups: Sequence[dict], *, momentum: float) -> None:
        weights = [weight for group in groups for weight in group["params"]]
        # The parent refuses anything but matrices in its constructor and its step, so it is constructed with stand-ins.
        super().__init__([torch.empty(1, 1)], momentum=momentum, adjust_lr_fn="match_rms_adamw")
        self.param_groups.clear()
        for group in groups:
            self.add_param_group(group)
        if any(weight.ndim < 2 for weight in weights):
            raise ValueError("Muon moves matrices and kernels, not vectors")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step; every kernel is seen as a matrix, its momentum keeps the kernel's shape."""
        for group in self.param_groups:
            lr, momentum = group["lr"], group["momentum"]
            groups: tuple[list, list, list] = ([], [], [])
            self._init_group(group, *groups)
            is_fast = has_fast_bf16(group["params"][0].device.type)
            for tensors in zip(*groups, strict=True):
                weight, grad, mean = (each.view(len(each), -1) for each in tensors)
                mean.lerp_(grad, 1 - momentum)
                update = orthogonal_factor(
                    grad.lerp(mean, momentum),
                    group["ns_coefficients"],
                    group["ns_steps"],
                    torch.bfloat16 if is_fast else torch.float32,
                )
                weight.mul_(1 - lr * group["weight_decay"])
                weight.add_(update, alpha=-lr * 0.2 * math.sqrt(max(weight.shape)))  # as large as AdamW's


def orthogonal_factor(
    matrix: torch.Tensor, coefficients: tuple[float, float, float], steps: int, dtype: torch.dtype
) -> torch.Tensor:
    """A matrix (A, B) with its singular values brought near to 1, by Newton and Schulz's iteration in `dtype`.

    Follows: Jordan et al. 2024, as torch.optim.Muon.
    """
    a, b, c = coefficients
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.to(dtype, copy=True)
    x = x.T if is_tall else x
    x.div_(x.norm().clamp(min=1e-7))
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if is_tall else x


def _hidden_matrices(model: nn.Module) -> set[torch.Tensor]:
    """Weights of inner linear and convolution layers: not what maps from pixels or words or to them, not thin maps."""
    matrices = set()
    for name, module in model.named_modules():
        outer = any(word in name for word in _OUTER)
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d) and not outer and min(module.weight.shape[:2]) >= 16:
            matrices.add(module.weight)
    return matrices


class WeightAverage:
    """Exponential moving average of a model's trainable weights, kept in fp32 next to them.

    The decay grows from 0.1 towards `decay` so that the first steps are forgotten: min(decay, (1 + n) / (10 + n)).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = model
        self.tensors = {name: weight.detach().float().clone() for name, weight in self._trainable()}

    def _trainable(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, weight) for name, weight in self.model.named_parameters() if weight.requires_grad)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the weights after 0-based `step`."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, weight in self._trainable():
            self.tensors[name].lerp_(weight.detach().float(), 1 - decay)

    @contextmanager
    def swap_in(self) -> Iterator[None]:
        """Within the block the model carries the averaged weights."""
        kept = {name: weight.detach().clone() for name, weight in self._trainable()}
        self._copy(self.tensors)
        try:
            yield
        finally:
            self._copy(kept)

    @torch.no_grad()
    def _copy(self, tensors: Mapping[str, torch.Tensor]) -> None:
        for name, weight in self._trainable():
            weight.copy_(tensors[name])
