"""Settings of `v2t serve`.

In: values from flags, YAML or a caller (`cineloop.config`). Out: a checked `ServeConfig`. Limits are checked
before anything is read or decoded; a client can request less, never more.
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cineloop.errors import PolicyError, UsageError

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.IGNORECASE)
_LEAST_KEY = 16  # characters


@dataclass(frozen=True, kw_only=True)
class ServeLimits:
    """Limits on clients.

    Args:
        body_mb: a request's body, MiB; data URLs count.
        upload_mb: one uploaded or fetched file, MiB.
        uploads_gb: all uploads together, GiB; one owner's, where there are several, half of it.
        upload_ttl_s: seconds an upload is kept after it was last used.
        memory_mb: bodies being read and frames being held together, MiB.
        messages: messages of a conversation. text_chars: characters of all its text. videos: videos of a conversation.
        duration_s: length of a video, seconds. pixels: height * width of its frames. frames: sampled frames of a
            request.
        max_tokens: longest answer a client may request.
        in_flight: concurrent requests; as many again may wait. in_flight_per_owner: of one key.
        rate_per_minute: requests of one key; a folder that `v2t caption` sends counts one for each clip and prompt.
        decoders: decoder processes. decode_s: seconds one video may take to decode.
        fetch_s: seconds a video may take to fetch. answer_s: seconds from a request to the end of its answer.
        drain_s: seconds that requests in flight get when the server is stopped.
    """

    body_mb: int = 64
    upload_mb: int = 512
    uploads_gb: float = 8.0
    upload_ttl_s: float = 3600.0
    memory_mb: int = 4096
    messages: int = 64
    text_chars: int = 100_000
    videos: int = 8
    duration_s: float = 2 * 3600.0
    pixels: int = 9_000_000
    frames: int = 768
    max_tokens: int = 2048
    in_flight: int = 32
    in_flight_per_owner: int = 24
    rate_per_minute: int = 3000
    decoders: int = 2
    decode_s: float = 60.0
    fetch_s: float = 60.0
    answer_s: float = 300.0
    drain_s: float = 30.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise UsageError(f"limits.{name} must be above 0, got {value!r}")


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """All settings of a server.

    Args:
        model: "starter", a folder, or a hub id that vLLM knows.
        name: for clients; None takes the folder's or the starter's.
        engine: "vllm", "local" (this project's own captioner), or "auto": vLLM where it is installed.
        host, port: where the gateway listens. Anything but loopback needs a key; port 0 takes a free one.
        key_env: the environment variable that holds the clients' keys, one or more, with commas or spaces between.
        hosts: names, in addition to the loopback's, by which browsers may reach the server (HTTP `Host`).
        roots: name → folder, whose files clients may name as `file://NAME/path/in/it`.
        allow_hosts: hosts ("cdn.example.org", "example.org:8443") from which videos may be fetched; https only, unless
            written as "http://host".
        page: whether the chat page is served. log_prompts: whether prompts are logged.
        device, dtype: "auto" or a name torch knows.
        max_model_len: tokens of prompt and answer together; None takes the model's.
        adapters: name → folder of a LoRA adapter, served by that name in addition to the base (vLLM).
        tensor_parallel, pipeline_parallel: devices of an engine (vLLM).
        kv_cache_gb: size of the KV cache on a CPU, GiB (vLLM).
        engine_args: further arguments of vLLM's server, in its own form.
        limits: see `ServeLimits`.

    Raises:
        UsageError: a value out of its range. PolicyError: a host that is not loopback, without a key.
    """

    model: str = "starter"
    name: str | None = None
    engine: Literal["auto", "vllm", "local"] = "auto"
    host: str = "127.0.0.1"
    port: int = 8000
    key_env: str = "V2T_SERVE_KEY"
    hosts: tuple[str, ...] = ()
    roots: dict[str, Path] = field(default_factory=dict)
    allow_hosts: tuple[str, ...] = ()
    page: bool = True
    log_prompts: bool = False
    device: str = "auto"
    dtype: str = "auto"
    max_model_len: int | None = None
    adapters: dict[str, Path] = field(default_factory=dict)
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    kv_cache_gb: float = 1.0
    engine_args: tuple[str, ...] = ()
    limits: ServeLimits = field(default_factory=ServeLimits)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise UsageError(f"port must be from 0 to 65535, got {self.port}")
        if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", self.key_env):
            raise UsageError("key_env must be the NAME of an environment variable, in capitals, never a key itself")
        if self.name is not None and not re.fullmatch(r"[\w./:-]{1,128}", self.name):
            raise UsageError(f"name: expected letters, digits and . _ - / :, got {self.name!r}")
        for kind, folders in (("roots", self.roots), ("adapters", self.adapters)):
            for name, folder in folders.items():
                if not _NAME.fullmatch(name):
                    raise UsageError(f"{kind}: expected a name of letters, digits and . _ -, got {name!r}")
                if not Path(folder).is_dir():
                    raise UsageError(f"{kind}.{name}: {folder} is not a folder")
        for name in ("tensor_parallel", "pipeline_parallel", "kv_cache_gb"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be above 0, got {getattr(self, name)!r}")
        if not self.is_loopback and not self.keys():
            raise PolicyError(
                f"host {self.host} is reachable from other machines, so clients need a key",
                hint=f"put one of at least {_LEAST_KEY} characters into the environment variable {self.key_env}",
            )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the gateway."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def keys(self) -> tuple[str, ...]:
        """The clients' keys; read from the environment each time and never stored. Raises UsageError: a key is too
        short, or has characters that no header can contain."""
        keys = tuple(filter(None, re.split(r"[\s,]+", os.environ.get(self.key_env, ""))))
        for key in keys:
            if len(key) < _LEAST_KEY or not key.isascii() or not key.isprintable():
                raise UsageError(f"{self.key_env}: expected keys of at least {_LEAST_KEY} ASCII characters")
        return keys
