"""Checkpoints: a folder that is either whole or absent, tensors in safetensors, the rest in JSON, no pickle.

In: named groups of tensors and one JSON-able state. Out: `checkpoints/step-00001200/{<group>.safetensors,
state.json}` and `checkpoints/best-<step>/`. A folder is written under a hidden name, synced to disk, then renamed, so a
run killed at any moment finds whole checkpoints only. What must come back to the bit is in it: trainable weights,
optimiser moments and step counts, EMA, random states, the number of samples seen.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cineloop.documents import read_json
from cineloop.errors import CineloopError
from cineloop.files import sync

if TYPE_CHECKING:
    import torch

Tensors = dict[str, "torch.Tensor"]


def step_folder(run: Path, step: int) -> Path:
    """The folder of the checkpoint of `step`."""
    return run / "checkpoints" / f"step-{step:08d}"


def best_folder(run: Path, step: int) -> Path:
    """The file of the weights of `step`, if they scored best so far."""
    return run / "checkpoints" / f"best-{step:08d}"


def gather(tensors: Tensors, *, keep: bool = True) -> Tensors:
    """Whole, contiguous copies on the CPU. Every process must call it: shards (FSDP2) are put together here, one tensor
    at a time; a process that does not `keep` them gets none."""
    gathered: Tensors = {}
    for name, tensor in tensors.items():
        entire = whole(tensor.detach())
        if keep:
            gathered[name] = entire.cpu().contiguous().clone()
    return gathered


def write(folder: Path, groups: Mapping[str, Tensors], state: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically; one process only.

    Args:
        folder: final place, which must not exist.
        groups: group name → tensors as `gather` returns them; each group is one safetensors file.
        state: JSON-able, finite numbers only.
    """
    from safetensors.torch import save_file

    partial = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, tensors in groups.items():
        save_file(tensors, partial / f"{name}.safetensors")
    text = json.dumps(state, ensure_ascii=False, allow_nan=False)
    (partial / "state.json").write_text(text, encoding="utf-8")
    for path in partial.iterdir():
        sync(path)
    os.replace(partial, folder)
    sync(folder.parent)


class CheckpointWriter:
    """Does the writing of checkpoints, one after the other.

    Args:
        in_thread: while training goes on, of copies that nothing else changes; the memory for them is taken until the
            file is written. A process that is killed meanwhile leaves the checkpoints before.
    """

    def __init__(self, *, in_thread: bool) -> None:
        self._thread = ThreadPoolExecutor(1, "checkpoint") if in_thread else None
        self._last: Future[None] | None = None

    def submit(self, work: Callable[[], None]) -> None:
        """Do it now, or in the thread once what came before is done. Raises what that raised."""
        self.wait()
        if self._thread is None:
            work()
        else:
            self._last = self._thread.submit(work)

    def wait(self) -> None:
        """Return when all is written. Raises what the writing raised."""
        last, self._last = self._last, None
        if last is not None:
            last.result()


def read(folder: Path) -> tuple[dict[str, Tensors], dict[str, Any]]:
    """The groups and the state of a checkpoint, on the CPU.

    Raises:
        CineloopError: the folder is not a whole checkpoint.
    """
    from safetensors.torch import load_file

    state = folder / "state.json"
    if not state.exists():
        raise CineloopError(f"{folder} is not a checkpoint: it has no state.json", code="NO_CHECKPOINT")
    groups = {path.stem: load_file(path) for path in sorted(folder.glob("*.safetensors"))}
    return groups, read_json(state)


def steps(run: Path, kind: str = "step") -> list[int]:
    """The steps that have a whole checkpoint of a kind ("step" or "best") in this run, ascending."""
    states = (run / "checkpoints").glob(f"{kind}-*/state.json")
    return sorted(int(path.parent.name.rpartition("-")[2]) for path in states)


def prune(run: Path, keep: int) -> None:
    """Delete all but the last `keep` step checkpoints and the newest best."""
    for step in steps(run)[:-keep]:
        shutil.rmtree(step_folder(run, step))
    for step in steps(run, "best")[:-1]:
        shutil.rmtree(best_folder(run, step))


def forget_after(run: Path, step: int) -> None:
    """Delete checkpoints beyond `step`, so that a run resumed there goes as if it had never got further."""
    for later in steps(run):
        if later > step:
            shutil.rmtree(step_folder(run, later))
    for later in steps(run, "best"):
        if later > step:
            shutil.rmtree(best_folder(run, later))


def model_tensors(model: torch.nn.Module) -> Tensors:
    """What training changes: trainable parameters and persistent buffers (frozen weights come from their source)."""
    state = model.state_dict()
    trainable = {name: value for name, value in model.named_parameters() if value.requires_grad}
    buffers = {name: value for name, value in model.named_buffers() if name in state}
    return trainable | buffers


def load_model_tensors(model: torch.nn.Module, tensors: Tensors) -> None:
    """Put tensors back into the model of the same shape.

    Raises:
        CineloopError: names or shapes differ; the message gives the first of each.
    """
    fill("weights", model_tensors(model), tensors)


def fill(what: str, own: Tensors, saved: Tensors) -> None:
    """Copy saved tensors into those of the same names, whatever device and sharding these have.

    Raises:
        CineloopError: names or shapes differ; `what` says of what.
    """
    _compare_names(what, own.keys(), saved.keys())
    for name, target in own.items():
        _fill(name, target, saved[name])


def optimizer_tensors(optimizers: Iterable[torch.optim.Optimizer], names: Mapping[torch.Tensor, str]) -> Tensors:
    """Optimiser state as `<parameter name>|<key>` → tensor."""
    tensors: Tensors = {}
    for optimizer in optimizers:
        for parameter, slots in optimizer.state.items():
            tensors |= {f"{names[parameter]}|{key}": value for key, value in slots.items()}
    return tensors


def load_optimizer_tensors(
    optimizers: Iterable[torch.optim.Optimizer], names: Mapping[torch.Tensor, str], tensors: Tensors
) -> None:
    """Put optimiser state back; every saved slot must find its parameter.

    Raises:
        CineloopError: a slot belongs to no parameter of these optimisers.
    """
    slots: dict[str, Tensors] = {}
    for name, value in tensors.items():
        parameter, _, key = name.rpartition("|")
        slots.setdefault(parameter, {})[key] = value
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                saved = slots.pop(names[parameter], {})
                # AdamW keeps its step count on the CPU as a scalar; moments live beside their parameter.
                optimizer.state[parameter] = {
                    key: value.clone() if value.ndim == 0 else _like(value, parameter) for key, value in saved.items()
                }
    if slots:
        raise CineloopError(f"optimiser state of unknown parameter {min(slots)!r}", code="CHECKPOINT_MISMATCH")


def _fill(name: str, target: torch.Tensor, value: torch.Tensor) -> None:
    import torch

    if target.shape != value.shape:
        raise CineloopError(
            f"{name}: the checkpoint holds {tuple(value.shape)}, the model {tuple(target.shape)}",
            code="CHECKPOINT_MISMATCH",
        )
    with torch.no_grad():
        target.copy_(_like(value, target))


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor sharded over processes (FSDP2) gathered; any other as it is."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def _like(value: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """`value` on the device, and in the sharding, of `target`."""
    value = value.to(target.device)
    from torch.distributed.tensor import DTensor, distribute_tensor

    if isinstance(target, DTensor):
        # Every process has read the file: each takes its part, and none sends any.
        return distribute_tensor(value, target.device_mesh, target.placements, src_data_rank=None)
    return value


def _compare_names(what: str, own: Iterable[str], saved: Iterable[str]) -> None:
    own, saved = set(own), set(saved)
    if own == saved:
        return
    parts = []
    if own - saved:
        parts.append(f"lacks {len(own - saved)}, first {min(own - saved)!r}")
    if saved - own:
        parts.append(f"has {len(saved - own)} unknown, first {min(saved - own)!r}")
    raise CineloopError(
        f"the checkpoint's {what} do not fit the model: it {' and '.join(parts)}",
        code="CHECKPOINT_MISMATCH",
        hint="resume with the configuration the run was started with",
    )
