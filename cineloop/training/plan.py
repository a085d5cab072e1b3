"""The cost of a training run, counted before anything is allocated: what `--plan` prints.

In: a stage's recipe and its module's `plan_pieces(config)`: the parts of the model on the meta device, and one sample
through each. Out: parameters of each part, trained or frozen; memory; tokens and FLOPs of a step; time on named
hardware. FLOPs of the forward pass are counted by torch as the matrix products run on shapes; a backward pass costs one
forward for gradients that go through a part and one for those of its trained weights. Activations are the tensors that
autograd would keep, by the same shapes; fused attention keeps its inputs and output, no matrix of scores.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from cineloop.documents import read_json
from cineloop.errors import CineloopError, MissingDependencyError, UsageError
from cineloop.training.optim import freeze
from cineloop.training.rates import OptimConfig
from cineloop.training.runtime import resolve
from cineloop.training.stage import StepCost

# What PyTorch takes to hand one kernel over, without a graph: a step of small kernels takes no less, however fast the
# device is.
LAUNCH_S = 5e-6
_MUON_LAUNCHES = 30  # of a hidden matrix: five iterations of three products and what goes with them
# Dense bf16 peak in FLOP/s, and the share of it that training of this kind reaches.
HARDWARE = {
    "2 CPU cores": (0.25e12, 0.8),
    "RTX 4090": (165e12, 0.35),
    "A100 80 GB": (312e12, 0.4),
    "H100 80 GB": (989e12, 0.35),
    "H200 141 GB": (989e12, 0.35),
}
_GPUS = {"4090", "A100", "H100", "H200"}  # the words of those names that tell the chip


@dataclass(frozen=True)
class ModelPart:
    """One part in the order data flows: its modules, one sample through it, and how many tokens that is.

    `main` tokens are those of the whole step's count; `packed` is how its frozen matrices are held (nf4, int8);
    `kept_bytes` is what is kept of a sample beside what autograd shows (inputs of checkpointed blocks).
    """

    part: str
    modules: list[nn.Module]
    call: Callable[[], torch.Tensor]
    tokens: int
    main: bool = False
    packed: str | None = None
    kept_bytes: int = 0


@dataclass(frozen=True)
class PartPlan:
    """Figures of one part; FLOPs are of one optimiser step."""

    part: str
    parameters: int
    trained: int
    weight_bytes: int
    tokens: int
    flops: float
    launches: int  # of kernels, in one micro-batch


@dataclass(frozen=True)
class RunEstimate:
    """Figures of one run on one device; bytes, FLOPs of a step, seconds.

    `floor_s` is the least of a step: its kernels have to be launched, however little each of them does.
    """

    stage: str
    steps: int
    batch_size: int
    parts: list[PartPlan]
    memory: dict[str, int]
    tokens_per_step: int
    flops_per_step: float
    seconds_per_step: dict[str, float]
    floor_s: float
    assumes: str


def make_plan(module: Any, config: Any) -> RunEstimate:
    """Count.

    Args:
        module: the stage's, with `plan_pieces(config)` → its parts and a sentence on what is assumed.
        config: its recipe.

    Raises:
        UsageError: the stage has no plan. MissingDependencyError: a folder or hub id of the recipe is missing.
    """
    if not hasattr(module, "plan_pieces"):
        raise UsageError(f"stage {config.stage!r} has no plan", hint="train a few steps with --set loop.steps=…")
    with torch.device("meta"):
        pieces, assumes = module.plan_pieces(config)
        optim, loop = config.loop.optim, config.loop
        freeze({piece.part: piece.modules for piece in pieces}, _optim_of(optim, pieces))
        micro = loop.micro_batch or loop.batch_size
        rows, upstream, kept_bytes = [], False, 0
        for piece in pieces:
            row, piece_bytes = _part(piece, config, upstream)
            rows.append(row)
            kept_bytes += piece_bytes * micro
            upstream = upstream or row.trained > 0
    trained = sum(row.trained for row in rows)
    averages = 1 if optim.ema else 0
    memory = {
        "weights": sum(row.weight_bytes for row in rows),
        "gradients": 4 * trained,
        "optimiser": 8 * trained + 4 * averages * trained,
        "activations": kept_bytes,
    }
    flops = sum(row.flops for row in rows)
    launches = max(1, loop.batch_size // micro) * sum(row.launches for row in rows)
    if optim.optimizer == "muon":
        weights = {weight for piece in pieces for module in piece.modules for weight in module.parameters()}
        launches += _MUON_LAUNCHES * sum(weight.ndim == 2 and weight.requires_grad for weight in weights)
    floor_s = LAUNCH_S * launches
    seconds = {name: max(flops / (peak * share), floor_s) for name, (peak, share) in HARDWARE.items()}
    tokens = sum(row.tokens for row, piece in zip(rows, pieces, strict=True) if piece.main)
    return RunEstimate(
        config.stage, loop.steps, loop.batch_size, rows, memory | {"sum": sum(memory.values())}, tokens, flops, seconds,
        floor_s, assumes,
    )  # fmt: skip


def count_step(module: Any, config: Any) -> StepCost | None:
    """Tokens and FLOPs of a step; None where the stage has no plan, or its parts cannot be counted here."""
    try:
        plan = make_plan(module, config)
    except CineloopError:
        return None
    return StepCost(tokens=plan.tokens_per_step, flops=plan.flops_per_step)


def peak_flops(device: torch.device) -> float:
    """Dense bf16 FLOP/s of the device by its name; 0 where that is not known."""
    if device.type != "cuda":
        return 0.0
    words = re.split(r"[^A-Z0-9]+", torch.cuda.get_device_name(device).upper())  # NVIDIA A100-SXM4-80GB
    return next((peak for model, (peak, _) in HARDWARE.items() if set(model.split()) & set(words) & _GPUS), 0.0)


def causal_mask(text: torch.Tensor) -> torch.Tensor:
    """A whole mask (R, 1, L, L): transformers takes it as it is, where it would look into a smaller one's values."""
    rows, length = text.shape[:2]
    return torch.zeros(rows, 1, length, length)


def read_part(folder: Path) -> dict[str, Any]:
    """`config.json` of a model's folder that an earlier stage writes.

    Raises:
        MissingDependencyError: it is missing.
    """
    if not (folder / "config.json").is_file():
        raise MissingDependencyError(f"{folder} is not there", hint="train the stage before, or name another folder")
    config: dict[str, Any] = read_json(folder / "config.json")
    return config


def print_plan(plan: RunEstimate, *, as_json: bool = False) -> None:
    """The plan on stdout."""
    if as_json:
        print(json.dumps(asdict(plan)))
        return
    print(f"stage {plan.stage}: {plan.steps} steps of {plan.batch_size} samples; {plan.assumes}")
    print(f"{'part':<16}{'parameters':>16}{'trained':>16}{'tokens a step':>16}{'GFLOP a step':>16}")
    for row in plan.parts:
        trained = f"{row.trained:,}" if row.trained else "frozen"
        print(f"{row.part:<16}{row.parameters:>16,}{trained:>16}{row.tokens:>16,}{row.flops / 1e9:>16,.0f}")
    print(f"{'sum':<16}{sum(r.parameters for r in plan.parts):>16,}{sum(r.trained for r in plan.parts):>16,}"
          f"{plan.tokens_per_step:>16,}{plan.flops_per_step / 1e9:>16,.0f}")  # fmt: skip
    print("memory, about: " + ", ".join(f"{name} {size / 2**30:.2f} GiB" for name, size in plan.memory.items()))
    for name, seconds in plan.seconds_per_step.items():
        peak, share = HARDWARE[name]
        bound = f"at {share:.0%} of {peak / 1e12:g} TFLOP/s" if seconds > plan.floor_s else "bound by launches and data"
        print(
            f"on {name} ({bound}): {seconds:.3g} s a step, {_duration(seconds * plan.steps)} in all, if data keeps up"
        )


def _duration(seconds: float) -> str:
    """A time in the largest unit of which there is one."""
    unit, size = next((each for each in (("h", 3600), ("min", 60)) if seconds >= each[1]), ("s", 1))
    return f"{seconds / size:.3g} {unit}"


def _optim_of(optim: OptimConfig, pieces: list[ModelPart]) -> OptimConfig:
    """The optimiser's settings without the rates of parts that cost nothing to speak of (heads)."""
    names = {piece.part for piece in pieces}
    return OptimConfig(base_lr=optim.base_lr, lr={name: rate for name, rate in optim.lr.items() if name in names})


def _part(piece: ModelPart, config: Any, upstream: bool) -> tuple[PartPlan, int]:
    """Figures of one part, and the bytes autograd keeps of one sample in it."""
    from torch.utils.flop_counter import FlopCounterMode

    weights = {weight for module in piece.modules for weight in module.parameters()}
    total = sum(weight.numel() for weight in weights)
    trained = sum(weight.numel() for weight in weights if weight.requires_grad)
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, nn.Parameter):
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with (
        FlopCounterMode(display=False) as counter,
        _Launches() as launches,
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.set_grad_enabled(upstream or trained > 0),
        _FusedAttention(),
    ):
        piece.call()
    forward = counter.get_total_flops()
    # Through the layers, as soon as anything in or before the part learns, and into its own weights (of adapters, and
    # of a part that is trained in part, only their share).
    backward = forward * ((1.0 if upstream or trained else 0.0) + trained / max(1, total))
    again = forward if config.runtime.checkpointing == "full" and backward else 0.0
    halved = 2 if resolve(config.runtime)[1] == "bf16" else 1
    kept_bytes = (sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) + piece.kept_bytes) // halved
    samples = config.loop.batch_size
    row = PartPlan(
        piece.part, total, trained, _weight_bytes(piece, weights, config), piece.tokens * samples,
        samples * (forward + backward + again),
        launches.count * (1 + (2 if backward else 0) + (1 if again else 0)),
    )  # fmt: skip
    return row, kept_bytes


class _Launches(TorchDispatchMode):
    """Counts the operations that compute something, each of which is a kernel or more; views are left out."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


class _FusedAttention(TorchFunctionMode):
    """Attention as fused kernels do it; on the meta device torch would take the plain one."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        given = dict(zip(("query", "key", "value"), args, strict=False)) | (kwargs or {})
        return _Attention.apply(given["query"], given["key"], given["value"])


class _Attention(torch.autograd.Function):
    """The shapes and matrix products of attention over (…, heads, tokens, width); keys may have fewer heads."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        groups = query.shape[-3] // key.shape[-3]
        keys, values = (x.repeat_interleave(groups, -3) if groups > 1 else x for x in (key, value))
        out = (query @ keys.transpose(-1, -2)) @ values
        ctx.save_for_backward(query, key, value, out)
        return out


def _weight_bytes(piece: ModelPart, weights: set[nn.Parameter], config: Any) -> int:
    packed = {"nf4": 0.5, "int8": 1.0}.get(piece.packed or "")
    frozen_bytes = 2 if getattr(config, "dtype", "float32") == "bfloat16" else 4
    size = 0.0
    for weight in weights:
        each: float = 4 if weight.requires_grad else frozen_bytes
        if packed is not None and weight.ndim == 2 and not weight.requires_grad:
            each = packed
        size += weight.numel() * each
    return round(size)
