"""This project's own captioner as an engine: a thread of the server's process with small batches.

In: `ChatRequest`s from an event loop. Out: for each the pieces of its answer and an `Output`. Requests that the
gateway admitted are batched where the batch does not affect the answers; streams run one at a time and alternate with
batches. A request whose client disconnected is skipped, and its running answer is stopped. An exception of the model
ends that request only; a crash of the process ends the server, which its service manager starts again.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import threading
import time
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field, replace

from cineloop.errors import CineloopError, ItemError, MissingDependencyError, UsageError
from cineloop.log import logger
from cineloop.web.faults import Fault
from v2t.backends import Output
from v2t.backends.batching import Batcher, batch_key
from v2t.backends.local import Backend
from v2t.serve.chat import ChatRequest
from v2t.serve.engines import MODEL_THREAD, State, down, engine_fault, refusal, too_long
from v2t.serve.served import ServedModel
from v2t.serve.settings import ServeConfig

_MAX_BATCH, _MAX_FRAMES = 8, 1024
_FAILURES_IN_A_ROW = 3
_NO_MEMORY = "the model's device has not enough memory for this request"
_LEAST_TEMPERATURE = 0.01  # logits divided by less may be infinite; sampling is greedy there in any case
_STOP_S, _POLL_S = 5.0, 0.02

Reply = str | Output


def create(config: ServeConfig, served: ServedModel) -> LocalEngine:
    """See `v2t.serve.engines.create`."""
    command_line(config, served)
    captioner = Backend(served.source, device=config.device, dtype=config.dtype)
    captioner.max_model_len = config.max_model_len or sys.maxsize
    return LocalEngine(captioner)


def command_line(config: ServeConfig, served: ServedModel) -> tuple[str, ...]:
    """Nothing: there is no process to start. Raises UsageError: a setting that only vLLM supports."""
    for name, is_set in (
        ("engine_args", bool(config.engine_args)),
        ("tensor_parallel", config.tensor_parallel > 1),
        ("pipeline_parallel", config.pipeline_parallel > 1),
        ("adapters", bool(served.adapters)),
        ("model", not served.is_ours),
    ):
        if is_set:
            raise UsageError(f"{name}: only supported by vLLM", hint="--engine vllm")
    return ()


@dataclass(kw_only=True, eq=False)
class _Client:
    """A request in the engine, and the way back to its client.

    Attributes:
        is_gone: nobody waits for the answer any more.
    """

    request: ChatRequest
    is_gone: bool = False
    replies: asyncio.Queue[Reply | Fault] = field(default_factory=asyncio.Queue)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def reply(self, reply: Reply | Fault) -> None:
        """Pass a reply on, from the model's thread."""
        try:
            self.loop.call_soon_threadsafe(self.replies.put_nowait, reply)
        except RuntimeError:  # the loop is closed
            self.is_gone = True


class LocalEngine:
    """See `v2t.serve.engines.ChatEngine`; the captioner is not loaded yet, and used only by this engine's thread."""

    name, relays = "local", False

    def __init__(self, captioner: Backend) -> None:
        self._captioner, self._batcher = captioner, Batcher(captioner)
        self._failures = 0  # in a row
        self._waiting: list[_Client] = []
        self._now: list[_Client] = []
        self._changed = threading.Condition()
        self._streamed_last = False
        self._loaded: Future[None] = Future()
        self._ended: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name=MODEL_THREAD, daemon=True)
        captioner.wanted = lambda: not self._now or not all(client.is_gone for client in self._now)

    @property
    def state(self) -> State:
        if self._ended.done():
            return "stopped"
        if not self._loaded.done():
            return "starting"
        return "failing" if self._failures >= _FAILURES_IN_A_ROW else "ready"

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs; it may do so for a step of the model after `close`."""
        return self._thread.is_alive()

    async def start(self) -> None:
        self._thread.start()

    async def ready(self) -> None:
        begun = time.monotonic()
        await asyncio.shield(asyncio.wrap_future(self._loaded))
        logger.info("engine local: ready after %.0f s", time.monotonic() - begun)

    async def until_failure(self) -> None:
        await asyncio.shield(asyncio.wrap_future(self._ended))
        raise MissingDependencyError("the engine local has stopped", code="ENGINE")

    async def generate(self, request: ChatRequest) -> AsyncGenerator[Reply, None]:
        decoding = request.decoding
        if decoding.temperature < _LEAST_TEMPERATURE:
            decoding = replace(decoding, temperature=0.0, seed=0)
        else:  # without a seed every sample differs
            seed = decoding.seed % (1 << 63) if "seed" in request.given else secrets.randbits(63)
            decoding = replace(decoding, seed=seed)
        client = _Client(request=replace(request, decoding=decoding))
        with self._changed:
            if self._ended.done():
                raise down("it is stopped")
            self._waiting.append(client)
            self._changed.notify_all()
        try:
            while True:
                reply = await client.replies.get()
                if isinstance(reply, Fault):
                    raise reply
                yield reply
                if isinstance(reply, Output):
                    return
        finally:
            client.is_gone = True

    async def stop(self) -> None:
        """See `ChatEngine`. A model in the middle of a long step is waited for a short while; its thread ends with the
        process."""
        self.close()
        deadline = time.monotonic() + _STOP_S
        while time.monotonic() < deadline and self.is_alive:
            await asyncio.sleep(_POLL_S)

    def close(self) -> None:
        """Cancel all requests, and take no more."""
        with self._changed:
            if not self._ended.done():
                self._ended.set_result(None)
            for client in (*self._waiting, *self._now):
                client.is_gone = True
                client.reply(down("it is stopped"))
            self._changed.notify_all()

    def _run(self) -> None:
        """The thread: load, then answer until closed."""
        try:
            self._captioner.load()
        except CineloopError as error:
            self._loaded.set_exception(error)
        except Exception as error:
            problem = MissingDependencyError(f"the engine local cannot load its model: {error}", code="ENGINE")
            self._loaded.set_exception(problem)
        else:
            self._loaded.set_result(None)
        try:
            while self._loaded.exception() is None and self._next():
                self._answer(self._now)
                self._now = []  # releases their frames until the next request
        finally:
            self.close()

    def _next(self) -> bool:
        """Wait for requests; `_now` is then the oldest of the other kind (stream or not) than last time and those that
        go with it. False when the engine is closed."""
        with self._changed:
            while True:
                self._waiting = [client for client in self._waiting if not client.is_gone]
                if self._ended.done():
                    return False
                if self._waiting:
                    break
                self._changed.wait()
            others = [client for client in self._waiting if client.request.stream != self._streamed_last]
            first = (others or self._waiting)[0]
            self._streamed_last = first.request.stream
            chosen = [first]
            if not self._streamed_last and (key := batch_key(first.request)) is not None:
                most = min(_MAX_BATCH, _MAX_FRAMES // max(1, sum(shape[0] for shape in key[0])))
                others = [client for client in self._waiting if client is not first and not client.request.stream]
                chosen += [client for client in others if batch_key(client.request) == key][: max(0, most - 1)]
            self._waiting = [client for client in self._waiting if client not in chosen]
            self._now = chosen
            return True

    def _answer(self, clients: list[_Client]) -> None:
        requests = [client.request for client in clients]
        try:
            if requests[0].stream:
                self._stream(clients[0])
                return
            replies: Sequence[Output | CineloopError] = self._batcher.answer_batch(requests)
        except CineloopError as error:
            replies = [error] * len(clients)
        for client, reply in zip(clients, replies, strict=True):
            if isinstance(reply, CineloopError):
                self._refuse(client, reply)
                continue
            self._failures = 0
            if client.request.stops:
                stops = StopStrings(client.request.stops)
                text = stops.feed(reply.text) + stops.end()
                reply = self._cut_at_stop(reply, stops, text) if stops.is_over else reply
            client.reply(reply)

    def _refuse(self, client: _Client, error: CineloopError) -> None:
        """Reply with the error, and count failures of the model."""
        if error.code == "PROMPT_TOO_LONG":
            fault = too_long()
        elif error.code == "OUT_OF_MEMORY":
            fault = refusal(_NO_MEMORY)
        else:
            is_own = isinstance(error, ItemError) and error.code != "MODEL_ERROR"  # the request's own fault
            fault = refusal(error.message) if is_own else engine_fault()
        if fault.status >= 500:
            logger.error("%s: %s", client.request.id, error)
            self._failures += 1
            if self._failures == _FAILURES_IN_A_ROW:
                logger.error("%d requests in a row failed; if the device is lost, restart the server", self._failures)
        client.reply(fault)

    def _stream(self, client: _Client) -> None:
        stops, parts = StopStrings(client.request.stops), []
        with closing(self._batcher.stream(client.request)) as pieces:  # type: ignore[type-var]
            for piece in pieces:
                if client.is_gone and not stops.is_over:
                    return
                self._failures = 0
                text = stops.feed(piece) if isinstance(piece, str) else stops.end()
                if text:
                    parts.append(text)
                    client.reply(text)
                if stops.is_over:
                    client.is_gone = True  # the model ends at its next token; then comes its output
                if isinstance(piece, Output):
                    client.reply(self._cut_at_stop(piece, stops, "".join(parts)) if stops.is_over else piece)

    def _cut_at_stop(self, output: Output, stops: StopStrings, text: str) -> Output:
        """An answer cut at a stop string; its tokens count up to the end of the stop string."""
        return replace(output, text=text, tokens=self._captioner.count(stops.read), finish="stop")


class StopStrings:
    """An answer cut before its first complete stop string; a possible beginning of one is buffered.

    The result does not depend on how the answer is split into pieces.

    Attributes:
        read: the answer so far, up to the end of the stop string. is_over: a stop string was found.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops, self._held = stops, ""
        self.read, self.is_over = "", False

    def feed(self, piece: str) -> str:
        """What can be passed on after one more piece."""
        if self.is_over:
            return ""
        text = self._held + piece
        self.read += piece
        places = [(text.find(stop) + len(stop), text.find(stop)) for stop in self._stops if stop in text]
        if places:
            end, begin = min(places)
            self.is_over, self._held = True, ""
            self.read = self.read[: len(self.read) - len(text) + end]
            return text[:begin]
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                self._held = text[-length:]
                return text[:-length]
        self._held = ""
        return text

    def end(self) -> str:
        """What is left at the end."""
        held, self._held = self._held, ""
        return held
