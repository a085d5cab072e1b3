"""The engine protocols: one request in, pieces of text and one output back; one file per engine (`--engine`).

In: what is to be served, then `ChatRequest`s, checked, with their frames decoded. Out: text as it is written, and
last an `Output`; a `Fault` on failure. An engine that stands before another server (`relays`) gets the body of a
request and gives the server's own response back (`v2t.serve.relay`). An engine module defines `create(config, served)`
and `command_line(config, served)`, the program it starts (empty if there is none); both refuse settings that the engine
does not support.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from cineloop import plugin
from cineloop.errors import MissingDependencyError
from cineloop.log import printable
from cineloop.web.faults import Fault
from v2t.backends import Output, VideoLM
from v2t.serve.chat import ChatRequest
from v2t.serve.served import ServedModel
from v2t.serve.settings import ServeConfig

if TYPE_CHECKING:
    import httpx

State = Literal["starting", "ready", "failing", "stopped"]
_RETRY_S = 5.0
MODEL_THREAD = "v2t-model"  # of an engine in this process


class ServeEngine(Protocol):
    """One engine, of one event loop.

    Attributes:
        name: as `--engine` has it.
        relays: whether it is a `RelayEngine`, else it is a `ChatEngine`.
        state: "ready"; "failing" still accepts requests after the last few failed in a row.
    """

    name: str
    relays: bool = False

    @property
    def state(self) -> State: ...

    async def start(self) -> None:
        """Begin to start; returns at once."""

    async def ready(self) -> None:
        """Return when it answers. Raises CineloopError: it cannot start."""

    async def until_failure(self) -> None:
        """Never returns while the engine runs. Raises CineloopError: it ended by itself, or had to be ended."""

    async def stop(self) -> None:
        """End it and all it holds. May be called more than once."""


class ChatEngine(ServeEngine, Protocol):
    """An engine that answers checked requests."""

    def generate(self, request: ChatRequest) -> AsyncGenerator[str | Output, None]:
        """The answer: with `stream` its pieces as they are generated, then the `Output`. Closing it stops the work.
        Raises Fault PROMPT_TOO_LONG, BAD_REQUEST, ENGINE, ENGINE_DOWN."""


class RelayEngine(ServeEngine, Protocol):
    """An engine that passes requests on to another server.

    Attributes:
        default_model: of requests that name none; "" where that server chooses.
    """

    default_model: str

    async def models(self) -> list[dict[str, Any]]:
        """The entries of that server's list of models, the default first. Raises Fault UPSTREAM, UPSTREAM_DOWN,
        UPSTREAM_KEY, UPSTREAM_TIMEOUT."""

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> AbstractAsyncContextManager[httpx.Response]:
        """That server's response to a request, its body not read yet; leaving the context ends the request. Raises as
        `models`, but for a response with a status of its own."""

    def hide(self, text: str) -> str:
        """A message of the captioner for a client, without that server's address and key."""

    def redact(self, data: bytes) -> bytes:
        """Bytes of a response, without that server's key."""

    def redact_piece(self, data: bytes) -> tuple[bytes, bytes]:
        """Of bytes of a stream those that can be passed on, and those at its end that may begin the key."""

    def most_pictures(self, model: str) -> int:
        """How many pictures one request may hold, by the settings and what is known of the server."""

    def refuse_pictures(self, model: str, most: int) -> None:
        """Note how many pictures that server takes, as one of its refusals says."""

    def captioner(self, model: str) -> VideoLM:
        """The captioner `openai:` of that server, for windows of long films."""


def down(why: str) -> Fault:
    """The engine is not available now."""
    return Fault(503, "ENGINE_DOWN", f"the model is not available: {why}", retry_after_s=_RETRY_S)


def interrupted_fault() -> Fault:
    """The engine ended in the middle of an answer."""
    return Fault(502, "ENGINE", "the engine stopped while it generated the answer", retry_after_s=_RETRY_S)


def engine_fault() -> Fault:
    """The engine failed at this request."""
    return Fault(502, "ENGINE", "the engine failed at this request; the server's log says why")


def too_long() -> Fault:
    """Prompt and answer are longer than the model's positions."""
    hint = "use fewer or shorter videos, less text, or a smaller max_tokens"
    return Fault(400, "PROMPT_TOO_LONG", f"longer than the model's context: {hint}", param="messages")


def refusal(message: str) -> Fault:
    """The engine refuses this request; with its message, without paths, addresses or data."""
    message = printable(message, 2000)
    message = re.sub(r"[A-Za-z0-9+/=_-]{64,}", "...", message)
    message = re.sub(r"\w+://\S+", "...", message)
    message = re.sub(r"(?<![\w/])/(?:[\w.@+-]+/?)+|[A-Za-z]:\\\\?\S+", "...", message)
    return Fault(400, "BAD_REQUEST", f"the model refused the request: {message[:300] or 'no reason given'}")


def create(config: ServeConfig, served: ServedModel) -> ServeEngine:
    """The engine of `config`, not started yet. Raises UsageError: no such engine, or an unsupported setting;
    PolicyError: arguments that would bypass the gateway; MissingDependencyError: vLLM is not installed."""
    engine: ServeEngine = _module(config, served).create(config, served)
    return engine


def command_line(config: ServeConfig, served: ServedModel) -> tuple[str, ...]:
    """The program that the engine will start; empty for one in the gateway's process. Raises as `create`."""
    argv: tuple[str, ...] = _module(config, served).command_line(config, served)
    return argv


def _module(config: ServeConfig, served: ServedModel) -> ModuleType:
    return plugin.load("v2t.serve.engines", choose(config, served), "create")


def choose(config: ServeConfig, served: ServedModel) -> str:
    """The engine by its file's name; "auto" takes vLLM where it is installed. Raises MissingDependencyError: vLLM is
    required and not installed."""
    if config.is_relay:
        return "openai"
    if config.engine == "local":
        return "local"
    if find_spec("vllm") is not None:
        return "vllm"
    if config.engine == "auto" and served.is_ours and not served.adapters:
        return "local"
    why = "--engine vllm needs it"
    if config.engine == "auto":
        why = "only vLLM serves adapters" if served.is_ours else f"only vLLM serves {served.name}"
    raise MissingDependencyError(
        f"vLLM is not installed here, and {why}",
        hint="it pins its own torch: scripts/serve-env creates an environment for it; run v2t serve from there",
    )
