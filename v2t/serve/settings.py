"""Settings of `v2t serve`.

In: values from flags, YAML or a caller (`cineloop.config`). Out: a checked `ServeConfig`. Limits are checked
before anything is read or decoded; a client can request less, never more.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from cineloop.errors import UsageError, did_you_mean
from cineloop.options import option, setting
from cineloop.web.port import OpenLimits, OpenPort

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.IGNORECASE)
ENGINES, OPENAI = ("auto", "vllm", "local"), "openai:"


@dataclass(frozen=True, kw_only=True)
class ServeLimits(OpenLimits):
    """Limits on clients."""

    body_mb: int = setting(64, "a request's body, MiB; data URLs count")
    upload_mb: int = setting(512, "one uploaded or fetched file, MiB")
    uploads_gb: float = setting(8.0, "all uploads together, GiB; one owner's, where there are several, half of it")
    upload_ttl_s: float = setting(3600.0, "seconds an upload is kept after it was last used")
    memory_mb: int = setting(4096, "bodies being read and frames being held together, MiB")
    messages: int = setting(64, "messages of a conversation")
    text_chars: int = setting(100_000, "characters of all text of a conversation")
    videos: int = setting(8, "videos of a conversation")
    duration_s: float = setting(2 * 3600.0, "length of a video, seconds")
    pixels: int = setting(9_000_000, "height * width of a video's frames")
    frames: int = setting(768, "sampled frames of a request")
    max_tokens: int = setting(2048, "longest answer a client may request")
    in_flight: int = setting(32, "concurrent requests; as many again may wait")
    in_flight_per_owner: int = setting(24, "concurrent requests of one key")
    rate_per_minute: int = setting(
        3000, "requests of one key; a folder that v2t caption sends counts one for each clip and prompt"
    )
    decoders: int = setting(2, "decoder processes")
    decode_s: float = setting(60.0, "seconds one video may take to decode")
    fetch_s: float = setting(60.0, "seconds a video may take to fetch")
    answer_s: float = setting(300.0, "seconds from a request to the end of its answer")
    drain_s: float = setting(30.0, "seconds that requests in flight get when the server is stopped")


@dataclass(frozen=True, kw_only=True)
class UpstreamSettings:
    """The server behind the gateway, of `--engine openai:URL`."""

    key_env: str = setting("OPENAI_API_KEY", "environment variable with the key of that server; never a client's")
    max_pictures: int = setting(32, "pictures of one request at most; fewer are sent to a server that takes fewer")
    max_side: int = setting(512, "longer side of a picture, pixels")
    quality: int = setting(85, "of the JPEGs, 1 to 100")
    window_s: float = setting(60.0, "a longer video is watched in windows of so many seconds, into timed notes")
    concurrency: int = setting(2, "windows of a film that the server watches at once")
    connect_s: float = setting(10.0, "seconds a connection may take")
    read_s: float = setting(300.0, "longest silence during an answer, seconds")
    film_s: float = setting(7200.0, "seconds that watching one long film may take; what is noted by then is kept")
    notes: Path | None = setting(None, "folder where the notes on films are kept (default: the user's cache)")
    use_env_proxy: bool = setting(False, "reach that server through the proxy of HTTP_PROXY, HTTPS_PROXY and NO_PROXY")

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", self.key_env):
            raise UsageError("upstream.key_env must be the NAME of an environment variable, in capitals, never a key")
        ranges = {
            "max_pictures": (1, 4096),
            "max_side": (16, 16384),
            "quality": (1, 100),
            "window_s": (0.5, 3600.0),
            "concurrency": (1, 256),
        }
        for name, (least, most) in ranges.items():
            if not least <= getattr(self, name) <= most:
                raise UsageError(f"upstream.{name} must be from {least} to {most}, got {getattr(self, name)!r}")
        for name in ("connect_s", "read_s", "film_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"upstream.{name} must be a number of seconds above 0, got {getattr(self, name)!r}")


@dataclass(frozen=True, kw_only=True)
class ServeConfig(OpenPort):
    """All settings of a server.

    Raises:
        UsageError: a value out of its range. PolicyError: a host that is not loopback, without a key.
    """

    model: str = option("starter", "starter (default), a folder, or a hub id that vLLM knows", flag="MODEL")
    engine: str = option(
        "auto",
        "auto (default: vLLM where it is installed), vllm, local: this project's own captioner, or openai:URL[#model]: "
        "a server that takes pictures (Ollama, LM Studio, llama.cpp, vLLM, a hosted one)",
    )
    host: str = option("127.0.0.1", "address to listen on; all but loopback need a key")
    port: int = option(8000, "port; 0 picks a free one")
    name: str | None = option(None, "name of the model for clients (default: the folder's or the starter's)")
    hosts: tuple[str, ...] = setting((), "names, besides the loopback's, by which browsers may reach it (HTTP Host)")
    roots: dict[str, Path] = option(
        {}, "folder whose files clients may request as file://NAME/...", flag="--root", metavar="NAME=DIR"
    )
    allow_hosts: tuple[str, ...] = option(
        (),
        "host (cdn.example.org, example.org:8443) from which videos may be fetched, by https unless it begins with "
        "http://",
        flag="--allow-host",
        metavar="HOST",
    )
    adapters: dict[str, Path] = option(
        {}, "LoRA adapter, served by that name next to the model (vLLM)", flag="--lora", metavar="NAME=DIR"
    )
    key_env: str = option("V2T_SERVE_KEY", "environment variable with the clients' keys", metavar="VAR")
    max_model_len: int | None = option(
        None, "maximum tokens of prompt and answer together (default: the model's)", metavar="N"
    )
    device: str = option("auto", "auto (default), cpu, cuda, cuda:1")
    dtype: str = option("auto", "auto (default), float32, bfloat16, float16")
    page: bool = option(True, "serve the API without the chat page")
    tensor_parallel: int = setting(1, "of vLLM: devices that share each layer")
    pipeline_parallel: int = setting(1, "of vLLM: devices that share the layers out")
    kv_cache_gb: float = setting(1.0, "of vLLM: size of the KV cache on a CPU, GiB")
    engine_args: tuple[str, ...] = setting((), "further arguments of vLLM's server, in its own form")
    limits: ServeLimits = setting(ServeLimits(), "limits on clients")
    upstream: UpstreamSettings = setting(UpstreamSettings(), "the server behind the gateway, of --engine openai:URL")

    def __post_init__(self) -> None:
        if self.engine not in ENGINES and not self.is_relay:
            near = did_you_mean(self.engine, ENGINES, show=str)
            raise UsageError(f"engine must be {', '.join(ENGINES)} or openai:URL, got {self.engine!r}", hint=near)
        self.check_port()
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

    @property
    def is_relay(self) -> bool:
        """Whether another server answers, at the address in `engine`."""
        return self.engine.startswith(OPENAI)
