"""One captioner, many requests: which is answered next, in small batches and streams.

In: `EngineRequest`s from an event loop. Out: for each the pieces of its answer and a `CaptionOutput`. The model works
in one thread. Requests that wait are answered together where a batch answers as each alone would; streams go one at a
time, and alternate with batches. A request whose client left is skipped, and an answer that nobody waits for any more
is broken off. Whatever the model raises ends that request alone.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import closing
from dataclasses import replace

from cineloop.errors import CineloopError, ItemError
from cineloop.log import logger
from v2t.captioners import CaptionOutput, Decoding, GenerateRequest
from v2t.captioners.batching import Batcher
from v2t.serve.engine import MODEL_THREAD, EngineRequest, down, failed, refused, too_long
from v2t.serve.faults import Fault
from v2t.serve.local.captioner import TOO_LONG, ServedCaptioner
from v2t.serve.local.cut import Cut

_MOST_TOGETHER, _MOST_FRAMES = 8, 1024
_FAILURES_IN_A_ROW = 3
_NO_MEMORY = "the model's device has no memory for so much"
_LEAST_TEMPERATURE = 0.01  # logits divided by less may be infinite; such a draw is the likeliest token in any case

Reply = str | CaptionOutput


def decoding_of(request: EngineRequest) -> Decoding:
    """How the answer is written; without a seed no two draws are the same."""
    given = dict(request.sampling)
    temperature = given.pop("temperature", 0.0)
    seed = given.pop("seed", None)
    seed = secrets.randbits(63) if seed is None else seed % (1 << 63)
    if temperature < _LEAST_TEMPERATURE:
        temperature, seed = 0.0, 0
    return Decoding(max_new_tokens=request.max_tokens, temperature=temperature, seed=seed, **given)


class _Job:
    """A request, and the way back to its client."""

    def __init__(self, request: EngineRequest) -> None:
        self.request, self.decoding, self.is_gone = request, decoding_of(request), False
        self.shapes = [video.pixels.shape for message in request.conversation for video in message.videos]
        self.num_frames = sum(shape[0] for shape in self.shapes)
        self.replies: asyncio.Queue[Reply | Fault] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def reply(self, reply: Reply | Fault) -> None:
        """Hand a reply over, from the model's thread."""
        try:
            self._loop.call_soon_threadsafe(self.replies.put_nowait, reply)
        except RuntimeError:  # the loop is closed: nobody is there
            self.is_gone = True

    def goes_with(self, other: _Job) -> bool:
        """Whether both can be answered in one batch as each alone would; draws would differ."""
        return self.shapes == other.shapes and self.decoding == other.decoding and self.decoding.temperature == 0


class Scheduler:
    """The thread that answers.

    Args:
        captioner: loaded; from now on this thread's alone.

    Attributes:
        failures: requests in a row at which the model failed.
    """

    def __init__(self, captioner: ServedCaptioner) -> None:
        self.failures = 0
        self._captioner, self._batcher = captioner, Batcher(captioner)
        self._waiting: list[_Job] = []
        self._now: list[_Job] = []
        self._there = threading.Condition()
        self._is_closed = self._streamed_last = False
        captioner.wanted = lambda: not self._now or not all(job.is_gone for job in self._now)
        self._thread = threading.Thread(target=self._work, name=MODEL_THREAD, daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs; it may do so for a step of the model after `close`."""
        return self._thread.is_alive()

    @property
    def is_failing(self) -> bool:
        """Whether the model failed several times in a row, as it does when its device is lost."""
        return self.failures >= _FAILURES_IN_A_ROW

    def close(self) -> None:
        """Break off what is under way, and take nothing any more."""
        with self._there:
            self._is_closed = True
            for job in (*self._waiting, *self._now):
                job.is_gone = True
                job.reply(down("it is stopped"))
            self._there.notify_all()

    async def generate(self, request: EngineRequest) -> AsyncGenerator[Reply, None]:
        """See `v2t.serve.engine.Engine.generate`."""
        job = _Job(request)
        with self._there:
            if self._is_closed:
                raise down("it is stopped")
            self._waiting.append(job)
            self._there.notify_all()
        try:
            while True:
                reply = await job.replies.get()
                if isinstance(reply, Fault):
                    raise reply
                yield reply
                if isinstance(reply, CaptionOutput):
                    return
        finally:
            job.is_gone = True

    def _work(self) -> None:
        try:
            while self._next():
                self._answer(self._now)
                self._now = []  # nothing holds their frames until the next request
        finally:
            self.close()

    def _next(self) -> bool:
        """Wait for requests; `_now` are then the longest waiting one of the other kind than last time and those that go
        with it. False when the scheduler is closed."""
        with self._there:
            while True:
                self._waiting = [job for job in self._waiting if not job.is_gone]
                if self._is_closed:
                    return False
                if self._waiting:
                    break
                self._there.wait()
            others = [job for job in self._waiting if job.request.stream != self._streamed_last]
            first = (others or self._waiting)[0]
            chosen, frames = [first], first.num_frames
            self._streamed_last = first.request.stream
            for job in self._waiting:
                frames_then = frames + job.num_frames
                if job is first or job.request.stream or not job.goes_with(first):
                    continue
                if first.request.stream or len(chosen) >= _MOST_TOGETHER or frames_then > _MOST_FRAMES:
                    break
                chosen.append(job)
                frames = frames_then
            self._waiting = [job for job in self._waiting if job not in chosen]
            self._now = chosen
            return True

    def _answer(self, jobs: list[_Job]) -> None:
        requests = [GenerateRequest(messages=job.request.conversation, decoding=job.decoding) for job in jobs]
        try:
            if jobs[0].request.stream:
                self._stream(jobs[0], requests[0])
                return
            replies: Sequence[CaptionOutput | CineloopError] = self._batcher.generate_many(requests)
        except CineloopError as error:
            replies = [error] * len(jobs)
        for job, reply in zip(jobs, replies, strict=True):
            if isinstance(reply, CineloopError):
                self._refuse(job, reply)
                continue
            self.failures = 0
            cut = Cut(job.request.stops)
            text = cut.feed(reply.text) + cut.end()
            job.reply(self._stopped(reply, cut, text) if cut.is_over else reply)

    def _refuse(self, job: _Job, error: CineloopError) -> None:
        """Tell a client why there is no answer, and count what is the model's fault."""
        fault = _fault_of(error)
        if fault.status >= 500:
            logger.error("%s: %s", job.request.id, error)
            self.failures += 1
            if self.failures == _FAILURES_IN_A_ROW:
                logger.error("%d requests in a row failed; if the device is lost, restart the server", self.failures)
        job.reply(fault)

    def _stream(self, job: _Job, request: GenerateRequest) -> None:
        cut, parts = Cut(job.request.stops), []
        with closing(self._batcher.stream(request)) as pieces:  # type: ignore[type-var]
            for piece in pieces:
                if job.is_gone:
                    return
                self.failures = 0
                output = piece if isinstance(piece, CaptionOutput) else None
                text = cut.feed(piece) if isinstance(piece, str) else cut.end()
                if text:
                    parts.append(text)
                    job.reply(text)
                if cut.is_over:
                    break
        if cut.is_over:
            warnings = tuple(filter(None, self._captioner.warnings))
            prompt_tokens = self._captioner.prompt_tokens[0]
            output = CaptionOutput(text="", tokens=0, warnings=warnings, prompt_tokens=prompt_tokens)
            output = self._stopped(output, cut, "".join(parts))
        if output is not None:
            job.reply(output)

    def _stopped(self, output: CaptionOutput, cut: Cut, text: str) -> CaptionOutput:
        """An answer that was cut at a stop string, whose tokens count up to the end of that."""
        return replace(output, text=text, tokens=self._captioner.count(cut.read), finish="stop")


def _fault_of(error: CineloopError) -> Fault:
    """What the client gets for what the model raised."""
    if error.code == TOO_LONG:
        return too_long()
    if error.code == "OUT_OF_MEMORY":
        return refused(_NO_MEMORY)
    return refused(error.message) if isinstance(error, ItemError) and error.code != "MODEL_ERROR" else failed()
