"""The machine of a run: device, precision, seeds, threads, and the run's metadata.

In: a `RuntimeConfig`. Out: a started `accelerate.Accelerator` with everything seeded, and `run.json`, which says
what is needed to repeat the run (versions, seed, device, source commit, command).
"""

from __future__ import annotations

import json
import os
import platform
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cineloop.address import redact
from cineloop.errors import MissingDependencyError, UsageError
from cineloop.files import write_atomic
from cineloop.log import printable
from cineloop.training import sharding

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from torch import nn

DTYPES = ("auto", "float32", "bfloat16", "float16")
PACKAGES = ("torch", "transformers", "accelerate", "peft", "bitsandbytes", "safetensors", "tokenizers", "numpy", "av")


def check_device(name: str) -> str:
    """`name` where torch has such a device; whether it is there is asked when a model loads. Raises UsageError."""
    if not re.fullmatch(r"auto|cpu|mps|(cuda|xpu)(:\d{1,3})?", name):
        raise UsageError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}")
    return name


def find_device(name: str) -> str:
    """The device of a name: CUDA where there is one, else the CPU, for "auto"; any other as it is named. Raises
    MissingDependencyError: torch does not see that CUDA device."""
    if name == "cpu":
        return name
    import torch

    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if there else "cpu"
    if name.startswith("cuda") and int(name.partition(":")[2] or 0) >= there:
        raise MissingDependencyError(f"--device {name}: torch sees {there} CUDA devices", hint="use --device cpu")
    return name


def check_dtype(name: str) -> str:
    """`name` where it is one of `DTYPES`. Raises UsageError."""
    if name not in DTYPES:
        raise UsageError(f"dtype must be one of {', '.join(DTYPES)}, got {name!r}")
    return name


def find_dtype(name: str, device: str) -> str:
    """The dtype of a name: float32 on a CPU and bfloat16 elsewhere for "auto"; any other as it is named."""
    return {"auto": "float32" if device == "cpu" else "bfloat16"}.get(name, name)


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """Where and how to compute.

    `device` auto takes CUDA when it is there. `precision` auto takes bf16 autocast on CUDA and on CPUs with
    AVX512-BF16 or AMX, fp32 elsewhere. `threads` None leaves torch's own choice, within what the process may
    use (`cineloop.threads`). `seed` seeds weights, dropout and data. `compile` runs the task through `torch.compile`,
    or with "blocks" each block of its models by itself and for any length, evaluations left out: a few seconds of
    compiling a block, and on a CPU half the time of a small LLM's step. `checkpointing` full keeps the inputs of blocks
    alone and computes the rest again in the backward pass.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    threads: int | None = None
    seed: int = 0
    compile: Literal[False, True, "blocks"] = False
    checkpointing: Literal["none", "full"] = "none"

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads must be at least 1, got {self.threads}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be in [0, 2**32), got {self.seed}")


def has_fast_bf16(device: str) -> bool:
    """Whether bf16 matrix products are faster than fp32 on `device` ("cpu" or "cuda")."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe)() for probe in probes if hasattr(torch.cpu, probe))


def resolve(config: RuntimeConfig) -> tuple[str, str]:
    """(device, precision) with every "auto" decided.

    Raises:
        UsageError: CUDA is asked for and is not there.
    """
    import torch

    if config.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device cuda was asked for, but torch sees no CUDA device", hint="use device: auto or cpu")
    device = "cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu"
    if config.precision != "auto":
        return device, config.precision
    return device, "bf16" if has_fast_bf16(device) else "fp32"


def start(config: RuntimeConfig) -> Accelerator:
    """Seed everything and start Accelerate (one process, or those of `torchrun` / `accelerate launch`).

    Raises:
        UsageError: the launcher asks for DeepSpeed.
    """
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedDataParallelKwargs

    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true":
        raise UsageError(
            "training does not run on DeepSpeed: its engine has an optimiser step and checkpoints of its own",
            hint="configs/train/fsdp2.yaml divides what ZeRO-3 divides; with fsdp_reshard_after_forward: false, ZeRO-2",
        )
    # The tokenizer forks in loader processes; its own threads there only warn and fight for cores.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    device, precision = resolve(config)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if AcceleratorState._shared_state and "WORLD_SIZE" not in os.environ:
        # Accelerate keeps device and precision for the life of the process; the next run may want others.
        AcceleratorState._reset_state(reset_partial_state=True)
    # Beside parts that a step leaves out, this keeps the order in which gradients add up: without it DDP arranges them
    # anew after the first step, so with more than two processes a resumed run would differ in the last bit.
    wrapper = DistributedDataParallelKwargs(find_unused_parameters=True)
    _join_restart("nccl" if device == "cuda" else "gloo")
    with sharding.without_accelerates():
        accelerator = Accelerator(
            cpu=device == "cpu",
            mixed_precision="bf16" if precision == "bf16" else "no",
            kwargs_handlers=[wrapper],
        )
    seed_everything(config.seed)
    return accelerator


def _join_restart(backend: str) -> None:
    """Join the process group of a restart by torchrun, before Accelerate would.

    torchrun's static rendezvous (its default) gives every start the same store, and torch 2.14 looks there for the
    addresses of the other processes without saying of which start: it finds those of the dead ones and waits for them.
    With the number of the start before each key the new processes find each other.
    """
    import torch.distributed as group

    start, world = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), int(os.environ.get("WORLD_SIZE", "1"))
    is_agents = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if start == "0" or world == 1 or not is_agents or group.is_initialized():
        return
    rank = int(os.environ["RANK"])
    agent = group.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    group.init_process_group(backend, store=group.PrefixStore(f"start-{start}", agent), rank=rank, world_size=world)


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch (all devices)."""
    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)


def seed_rank(seed: int, rank: int, step: int = 0) -> None:
    """Give process `rank` random generators of its own; the main process keeps the one it has.

    Equal generators would give every process the same noise and the same dropout masks for its share of a batch, so
    that adding processes would not add samples of the noise.
    """
    import numpy

    if rank:
        seed_everything(int(numpy.random.SeedSequence([seed, rank, step]).generate_state(1)[0]))


def checkpoint_blocks(task: nn.Module) -> None:
    """Let every model within the task keep the inputs of its blocks only, and compute the rest again when needed.

    Raises:
        UsageError: no model in it has blocks that can.
    """
    waiting, is_changed = [task], False
    while waiting:
        module = waiting.pop()
        names = ("activation_checkpointing_enable", "gradient_checkpointing_enable", "enable_gradient_checkpointing")
        enable: Any = next((getattr(module, name) for name in names if hasattr(module, name)), None)
        able = any(getattr(module, f"{start}supports_gradient_checkpointing", False) for start in ("", "_"))
        if enable is not None and able:
            enable()
            is_changed = True
        else:
            waiting += module.children()
    if not is_changed:
        raise UsageError(
            "runtime.checkpointing: no model of this stage has blocks to checkpoint", hint="set it to none"
        )


def compile_task(task: nn.Module, how: Literal[True, "blocks"]) -> None:
    """`torch.compile` in place, so that names of weights stay: the whole, or the blocks that its models name."""
    if how is True:
        task.compile()
        return
    names = {name for module in task.modules() for name in getattr(module, "_no_split_modules", None) or ()}
    blocks = [module for module in task.modules() if type(module).__name__ in names]
    if not blocks:
        raise UsageError("runtime.compile: no model of this stage names its blocks", hint="set it to true or false")
    for block in blocks:
        block.compile(dynamic=True)


def gather_objects(mine: Any, world: int) -> list[Any]:
    """What each of `world` processes gives, in every process."""
    if world == 1:
        return [mine]
    import torch

    everyone: list[Any] = [None] * world
    torch.distributed.all_gather_object(everyone, mine)
    return everyone


def from_main(mine: Any, world: int) -> Any:
    """What the main process holds, in every process."""
    if world == 1:
        return mine
    import torch

    held = [mine]
    torch.distributed.broadcast_object_list(held, src=0)
    return held[0]


def align_gradients(task: nn.Module) -> None:
    """Let gradients have their weights' strides: of a depthwise convolution they differ where the shape has a 1, which
    DDP's buckets take for another layout, copy element by element and warn of."""

    def grad_in_layout(weight: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
        return grad.as_strided(weight.size(), weight.stride()) if grad.is_contiguous() else grad

    for weight in task.parameters():
        if weight.requires_grad and weight.is_contiguous() and 1 in weight.shape:
            weight.register_hook(partial(grad_in_layout, weight))


def rng_state() -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The state of every random generator: what JSON can hold, and tensors (uint8) by name."""
    import numpy
    import torch

    name, words, position, has_gauss, gauss = numpy.random.get_state(legacy=True)
    version, inner, next_gauss = random.getstate()
    plain = {
        "python": [version, list(inner), next_gauss],
        "numpy": [str(name), [int(word) for word in words], int(position), int(has_gauss), float(gauss)],
    }
    tensors = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors |= {f"cuda{n}": state for n, state in enumerate(torch.cuda.get_rng_state_all())}
    return plain, tensors


def set_rng_state(plain: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """Put back what `rng_state` returned; states of devices that are not here are left out."""
    import numpy
    import torch

    version, inner, next_gauss = plain["python"]
    random.setstate((version, tuple(inner), next_gauss))
    name, words, position, has_gauss, gauss = plain["numpy"]
    numpy.random.set_state((name, numpy.array(words, dtype=numpy.uint32), position, has_gauss, gauss))
    torch.set_rng_state(tensors["cpu"])
    for n in range(torch.cuda.device_count()):
        if f"cuda{n}" in tensors:
            torch.cuda.set_rng_state(tensors[f"cuda{n}"], n)


@contextmanager
def kept_rng() -> Iterator[None]:
    """Run a block (an evaluation) without moving the random state of the training."""
    plain, tensors = rng_state()
    try:
        yield
    finally:
        set_rng_state(plain, tensors)


def to_device(batch: Any, device: Any) -> Any:
    """`batch` with every tensor in its dicts, lists and tuples moved to `device`; the rest as it is."""
    import torch

    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device) for value in batch)
    return batch


def source_commit() -> str:
    """The git commit of the source tree, "+dirty" when tracked files differ, "unknown" outside a checkout."""
    home = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(home), *words], capture_output=True, text=True, check=True, timeout=20)
        return done.stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        return commit + ("+dirty" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def device_name(device: str) -> str:
    """The device in words: the GPU's name, or the CPU's model and its core count."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name(0)
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].split(":", 1)[1].strip() if lines else model
    return f"{model} ({os.cpu_count()} cores)"


def leave() -> None:
    """Leave the process group, all processes together: native threads of a group left open may abort at exit."""
    import torch.distributed as group

    if group.is_available() and group.is_initialized():
        group.barrier()
        group.destroy_process_group()


def command_line() -> list[str]:
    """The words this process was started with, printable and without secrets."""
    return [printable(redact(word)) for word in (Path(sys.argv[0]).name, *sys.argv[1:])]


def run_metadata(*packages: str) -> dict[str, Any]:
    """What the `run.json` of every run holds: command, start (UTC), source commit, versions of `PACKAGES` and more."""
    from importlib import metadata

    versions = {"python": platform.python_version()}
    for name in (*PACKAGES, *packages):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "command": command_line(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "source_commit": source_commit(),
        "versions": versions,
    }


def provenance(config: RuntimeConfig, **more: Any) -> dict[str, Any]:
    """The `run.json` of a training: its `run_metadata` with seed, device and precision."""
    device, precision = resolve(config)
    return {"seed": config.seed, "device": device_name(device), "precision": precision, **run_metadata(), **more}


def write_json(path: Path, tree: Any) -> None:
    """Write JSON atomically (a reader sees the old file or the new one, never half)."""
    text = json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomic(path, text.encode())
