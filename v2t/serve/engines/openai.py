"""Another server as the engine: `--engine openai:URL[#model]`, for Ollama, LM Studio, llama.cpp, vLLM and hosted ones.

In: bodies of requests whose videos have become pictures. Out: that server's responses as they come, its list of models,
and the captioner `openai:` of it, by which long films are watched. The address is the operator's own and may be of this
machine; nothing of a client goes into it. That server's key comes from the environment, is added here, and is replaced
where a response repeats it; clients' keys are never passed on. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx

from cineloop.documents import parse_json
from cineloop.errors import CineloopError, MissingDependencyError
from cineloop.log import logger, printable
from cineloop.web.faults import Fault
from v2t.backends import VideoLM
from v2t.backends.endpoint import Endpoint, address_of
from v2t.backends.openai import Backend
from v2t.backends.pictures import declared_limit, kind_of
from v2t.serve.engines import State
from v2t.serve.served import ServedModel
from v2t.serve.settings import ServeConfig, UpstreamSettings

_LIST_S, _LIST_BYTES = 15.0, 4 << 20  # the list of models: seconds and bytes it may take
_FRESH_S, POLL_S = 5.0, 5.0  # how long a list holds; how often a server that failed is tried
_PASSED = ("content-type", "accept", "openai-beta", "http-referer", "x-title")  # headers of clients
_PIXELS_PER_TOKEN = 28 * 28  # of the picture encoders in use (Qwen-VL); an estimate, for limits by the context
_RETRY_S = 5.0
_MOST_CAPTIONERS = 32


def create(config: ServeConfig, served: ServedModel) -> UpstreamEngine:
    """See `v2t.serve.engines.create`."""
    command_line(config, served)
    return UpstreamEngine(config.engine, config.upstream)


def command_line(config: ServeConfig, served: ServedModel) -> tuple[str, ...]:
    """Nothing: that server runs already."""
    return ()


class UpstreamEngine:
    """See `v2t.serve.engines.RelayEngine`. Raises UsageError: an invalid address, or a variable that holds no
    key. MissingDependencyError: the variable that `upstream.key_env` names is not set."""

    name, relays = "openai", True

    def __init__(self, address: str, settings: UpstreamSettings) -> None:
        url, self.default_model = address_of(address)
        self._address, self._settings = f"openai:{url}", settings
        self._endpoint = Endpoint(
            url,
            key_env=settings.key_env,
            connect_s=settings.connect_s,
            read_s=settings.read_s,
            total_s=settings.read_s,
            retries=0,
            use_env_proxy=settings.use_env_proxy,
        )
        if settings.key_env != UpstreamSettings.key_env and not self._endpoint.key():
            raise MissingDependencyError(
                f"the environment variable {settings.key_env} is not set", code="SERVER_KEY", hint="put the key into it"
            )
        self.state: State = "starting"
        self._client: httpx.AsyncClient | None = None
        self._watch: asyncio.Task[None] | None = None
        self._cards: list[dict[str, Any]] = []
        self._listed_at = -_FRESH_S
        self._most: dict[str, int] = {}
        self._captioners: dict[str, VideoLM] = {}

    async def start(self) -> None:
        timeout = httpx.Timeout(self._settings.read_s, connect=self._settings.connect_s)
        self._client = httpx.AsyncClient(
            timeout=timeout,
            trust_env=self._settings.use_env_proxy,
            verify=ssl.create_default_context(),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=8),
        )
        self._watch = asyncio.create_task(self._keep_watch())

    async def ready(self) -> None:
        """Return at once: a server that is not there yet is tried again, and its clients get an error meanwhile."""
        try:
            cards = await self.models()
        except Fault as fault:
            logger.warning("%s; it is tried again every %.0f s", fault.message, POLL_S)
            return
        kind = kind_of(cards[0]) if cards else ""
        names = ", ".join(str(card["id"]) for card in cards[:8]) or "none"
        logger.info("%s (%s) serves %s", self._endpoint.url, kind or "kind unknown", printable(names, 300))

    async def until_failure(self) -> None:
        await asyncio.Event().wait()

    async def stop(self) -> None:
        self.state = "stopped"
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait({self._watch})
        if self._client is not None:
            await self._client.aclose()

    async def models(self) -> list[dict[str, Any]]:
        """See `RelayEngine.models`."""
        if time.monotonic() - self._listed_at < _FRESH_S:
            return self._cards
        try:
            async with asyncio.timeout(_LIST_S):
                async with self._send("GET", "models", b"", {}) as response:
                    data = await read_all(response, _LIST_BYTES)
        except TimeoutError:
            self.state = "failing"
            raise Fault(504, "UPSTREAM_TIMEOUT", f"no list of models within {_LIST_S:.0f} s") from None
        if response.status_code == 404:
            data = b'{"data": []}'  # a server without a list
        elif response.status_code != 200:
            raise bad_reply(f"status {response.status_code} for the list of its models")
        try:
            listed = parse_json(data)["data"]
            cards = [card for card in listed or [] if isinstance(card["id"], str) and card["id"].isprintable()]
        except (ValueError, LookupError, TypeError):
            raise bad_reply("no list of models; does the address end in /v1?") from None
        self._cards = sorted(cards, key=lambda card: card["id"] != self.default_model)
        self._listed_at = time.monotonic()
        return self._cards

    @asynccontextmanager
    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> AsyncIterator[httpx.Response]:
        """See `RelayEngine.post`."""
        passed = {name: headers[name] for name in _PASSED if headers.get(name)}
        async with self._send("POST", path, body, passed) as response:
            yield response

    def hide(self, text: str) -> str:
        """See `RelayEngine.hide`."""
        return self._endpoint.redact(text.replace(self._endpoint.url, "the server behind"))

    def redact(self, data: bytes) -> bytes:
        """See `RelayEngine.redact`."""
        key = self._endpoint.key().encode()
        return data.replace(key, b"[key]") if len(key) >= 8 else data

    def redact_piece(self, data: bytes) -> tuple[bytes, bytes]:
        """See `RelayEngine.redact_piece`."""
        key = self._endpoint.key().encode()
        if len(key) < 8:
            return data, b""
        data = data.replace(key, b"[key]")
        held = next((num for num in range(min(len(key) - 1, len(data)), 0, -1) if data.endswith(key[:num])), 0)
        return data[: len(data) - held], data[len(data) - held :]

    def most_pictures(self, model: str) -> int:
        """See `RelayEngine.most_pictures`."""
        card = next((card for card in self._cards if card["id"] == model), {})
        tokens_each = max(1, self._settings.max_side**2 * 9 // 16 // _PIXELS_PER_TOKEN)
        declared = declared_limit(self._endpoint.url, card, tokens_each)
        known = (self._settings.max_pictures, declared, self._most.get(model))
        return min(most for most in known if most is not None)

    def refuse_pictures(self, model: str, most: int) -> None:
        """See `RelayEngine.refuse_pictures`."""
        if most < self.most_pictures(model):
            logger.warning("%s takes %d pictures with a request", printable(model or "the server", 100), most)
            self._most[model] = most

    def captioner(self, model: str) -> VideoLM:
        """See `RelayEngine.captioner`; the same one for each model while no more than a few are in use."""
        if model not in self._captioners:
            if len(self._captioners) >= _MOST_CAPTIONERS:  # names are of clients' choice
                self._captioners.clear()
            settings = self._settings
            self._captioners[model] = Backend(
                f"{self._address}#{model}",
                frames_as="images",
                max_side=settings.max_side,
                quality=settings.quality,
                max_pictures=self.most_pictures(model),
                concurrency=settings.concurrency,
                connect_s=settings.connect_s,
                read_s=settings.read_s,
                retries=2,
                api_key_env=settings.key_env,
                use_env_proxy=settings.use_env_proxy,
            )
        return self._captioners[model]

    @asynccontextmanager
    async def _send(
        self, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> AsyncIterator[httpx.Response]:
        if self._client is None:
            raise Fault(502, "UPSTREAM_DOWN", "the gateway is starting", retry_after_s=_RETRY_S)
        sent = {**headers, "user-agent": "cineloop", "accept-encoding": "identity"}
        if key := self._endpoint.key():
            sent["authorization"] = f"Bearer {key}"
        url = f"{self._endpoint.url}/{path}"
        try:
            async with self._client.stream(method, url, content=body or None, headers=sent) as response:
                self.state = "ready"
                if response.status_code in (401, 403):
                    raise Fault(
                        502, "UPSTREAM_KEY", "the server behind refuses the gateway's key; the operator sets it"
                    )
                if 300 <= response.status_code < 400:
                    raise bad_reply("a redirect, which is not followed")
                yield response
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            self.state = "failing"
            logger.info("%s cannot be reached: %s", self._endpoint.url, type(error).__name__)
            text = "the server behind the gateway cannot be reached; is it running?"
            raise Fault(502, "UPSTREAM_DOWN", text, retry_after_s=_RETRY_S) from None
        except httpx.TimeoutException:
            text = f"the server behind was silent for {self._settings.read_s:g} s"
            raise Fault(504, "UPSTREAM_TIMEOUT", text) from None
        except httpx.HTTPError as error:
            logger.info("%s: %s: %s", self._endpoint.url, type(error).__name__, self._endpoint.redact(str(error)))
            raise bad_reply("a connection that broke off, or invalid HTTP") from None

    async def _keep_watch(self) -> None:
        """Try a server that is not there until it is."""
        while True:
            await asyncio.sleep(POLL_S)
            if self.state in ("starting", "failing"):
                with suppress(Fault, CineloopError):
                    await self.models()


async def read_all(response: httpx.Response, most: int) -> bytes:
    """The body of a response. Raises Fault UPSTREAM: it has more than `most` bytes."""
    data = bytearray()
    async for piece in response.aiter_raw():
        data += piece
        if len(data) > most:
            raise bad_reply(f"more than {most >> 20} MiB")
    return bytes(data)


def bad_reply(what: str) -> Fault:
    """A reply of the server behind that cannot be passed on."""
    return Fault(502, "UPSTREAM", f"the server behind the gateway sent {what}")
