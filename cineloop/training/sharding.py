"""Weights, gradients and optimiser state divided over the processes of a run (FSDP2), block by block.

In: a task; its models name their blocks (`_no_split_modules`). Out: the same task, its parameters `DTensor`s of which
each process holds an equal part; names stay. A block's weights are gathered while it computes and let go after it.
The launcher says whether (`ACCELERATE_USE_FSDP`, which `configs/train/fsdp2.yaml` sets); torch's `fully_shard` does it,
as Accelerate 1.15 shards on GPUs alone and casts what goes into a model, seconds of frames included.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cineloop.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

SWITCH = "ACCELERATE_USE_FSDP"


def is_wanted() -> bool:
    """Whether the launcher asks for shards; a run of one process has nothing to divide."""
    return os.environ.get(SWITCH, "").lower() == "true" and int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextlib.contextmanager
def without_accelerates() -> Iterator[None]:
    """Within the block Accelerate does not see the switch, and leaves the model to `shard`."""
    kept = os.environ.pop(SWITCH, None)
    try:
        yield
    finally:
        if kept is not None:
            os.environ[SWITCH] = kept


def shard(task: nn.Module, *, optimizer: str, compiles: bool) -> None:
    """Divide the parameters of `task`, in place. `FSDP_RESHARD_AFTER_FORWARD=false` keeps weights whole from a block's
    forward pass to its backward pass.

    Args:
        task: on its device, frozen parts frozen.
        optimizer, compiles: settings of the run, checked here.

    Raises:
        UsageError: what cannot work on parts (Muon, packed weights, single numbers), or has not been tried (compile).
    """
    import torch
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    hint = "use configs/train/ddp.yaml, where every process holds all weights"
    if optimizer == "muon":
        raise UsageError("Muon turns whole matrices, and each process would hold a part of one", hint=hint)
    for name, weight in task.named_parameters():
        if weight.ndim == 0 or not weight.is_floating_point():
            what = "a single number" if weight.ndim == 0 else "packed"
            raise UsageError(f"{name} cannot be sharded: it is {what}", hint=hint)
    if compiles:
        raise UsageError("runtime.compile cannot be combined with sharded weights", hint=hint)
    # Given to every shard. Gradients add up in fp32; what is computed in bf16 is autocast's choice, as without shards.
    policy: Any = {"mp_policy": MixedPrecisionPolicy(reduce_dtype=torch.float32)}
    names = {name for module in task.modules() for name in getattr(module, "_no_split_modules", None) or ()}
    for module in reversed(list(task.modules())):  # inner ones before those around them
        if type(module).__name__ in names:
            fully_shard(module, reshard_after_forward=_reshards(), **policy)
    fully_shard(task, **policy)


def is_sharded(module: nn.Module) -> bool:
    """Whether `shard` divided it. All processes must then call its blocks equally often."""
    from torch.distributed.fsdp import FSDPModule

    return isinstance(module, FSDPModule)


@contextlib.contextmanager
def local_gradients(task: Any) -> Iterator[None]:
    """Within the block a backward pass adds to the gradients of this process; the next one outside sums over all."""
    task.set_requires_gradient_sync(False)
    try:
        yield
    finally:
        task.set_requires_gradient_sync(True)


@contextlib.contextmanager
def whole(task: nn.Module) -> Iterator[None]:
    """Within the block each process holds all weights of `task`, so that any of its methods can be called, by any
    process alone; not for changing weights. All processes enter and leave it."""
    from torch.distributed.fsdp import FSDPModule

    units = [module for module in task.modules() if isinstance(module, FSDPModule)]
    for unit in units:
        unit.unshard()
        unit.set_reshard_after_forward(False, recurse=False)  # or a block would let go of them after a forward pass
    try:
        yield
    finally:
        for unit in units:
            unit.set_reshard_after_forward(_reshards() and unit is not task, recurse=False)
            unit.reshard()


def _reshards() -> bool:
    return os.environ.get("FSDP_RESHARD_AFTER_FORWARD", "true").lower() != "false"
