"""One captioner, many who ask: whose turn it is, in small batches and streams.

In: `Question`s from an event loop. Out: for each a captioner's words, in pieces or whole, and its `CaptionOutput`. The
model works in one thread. Questions that wait are answered together where a batch answers as each alone would; streams
go one at a time, and take turns with batches. Who goes away is passed over, and an answer nobody wants is broken off.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol

from cineloop.errors import ItemError
from v2t.captioners import CaptionOutput, Conversation, Decoding, in_halves
from v2t.captioners.local import Captioner, pieces
from v2t.serve.local.questions import Question

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger("cineloop")
_MOST_TOGETHER, _MOST_FRAMES = 8, 1024
_FAILURES_IN_A_ROW = 3

Told = tuple[str, ...] | str | CaptionOutput  # first the warnings, then pieces, at the end the whole


class Answering(Protocol):
    """What `Turns` needs of a captioner."""

    wanted: Callable[[], bool]

    def answer(self, conversations: Sequence[Conversation], decoding: Decoding) -> list[CaptionOutput]:
        """See `v2t.captioners.CaptionerLike.answer`."""

    def told(self, conversation: Conversation, decoding: Decoding) -> Iterator[Told]:
        """As `stream`, with what `answer` gives beside the text."""


class ServedCaptioner(Captioner):
    """The local captioner, which stops when nobody wants its answer, and whose streams end with a `CaptionOutput`.

    Attributes:
        wanted: asked before each token.
        positions: tokens that prompt and answer may have together; known once it is loaded.
    """

    wanted: Callable[[], bool] = staticmethod(lambda: True)

    @property
    def positions(self) -> int:
        """Tokens that prompt and answer may have together. Needs `load`."""
        return int(self._model.config.text_config.max_position_embeddings)

    def told(self, conversation: Conversation, decoding: Decoding) -> Iterator[Told]:
        """First the warnings, then the pieces of `stream`, at the end what `answer` would give."""
        import torch

        inputs = self._inputs([conversation])
        length = inputs["input_ids"].shape[1]
        ids: list[list[int]] = []
        with torch.inference_mode():
            seen, (warning,) = self._seen(inputs, 1)
        yield (warning,) if warning else ()

        def write(streamer: Any) -> None:
            with torch.inference_mode():
                written = self._model.generate(**seen, **self._settings(decoding), streamer=streamer)
            ids.extend(written[:, length:].tolist())  # (1, L_new)

        with closing(pieces(write, self._processor.tokenizer)) as words:  # type: ignore[type-var]
            yield from words
        yield self._output(ids[0], warning)

    def _settings(self, decoding: Decoding) -> dict[str, Any]:
        import torch
        from transformers import StoppingCriteriaList

        def is_unwanted(input_ids: Tensor, scores: Any, **more: Any) -> Tensor:
            return torch.full((len(input_ids),), not self.wanted(), device=input_ids.device)  # (B,)

        return {**super()._settings(decoding), "stopping_criteria": StoppingCriteriaList([is_unwanted])}  # type: ignore[list-item]


class _Turn:
    """A question, and the way back to who asked."""

    def __init__(self, question: Question) -> None:
        self.question, self.is_gone = question, False
        self.replies: asyncio.Queue[Told | BaseException] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def tell(self, reply: Told | BaseException) -> None:
        """Hand a reply over, from the model's thread."""
        try:
            self._loop.call_soon_threadsafe(self.replies.put_nowait, reply)
        except RuntimeError:  # the loop is closed: nobody is there
            self.is_gone = True


class Turns:
    """The thread that answers.

    Args:
        captioner: loaded.
        on_broken: called when the model failed several times in a row, as it does when its device is lost.
    """

    def __init__(self, captioner: Answering, on_broken: Callable[[], None] = lambda: None) -> None:
        self._captioner, self._on_broken = captioner, on_broken
        self._waiting: list[_Turn] = []
        self._now: list[_Turn] = []
        self._there = threading.Condition()
        self._is_closed = self._streamed_last = False
        self._failures = 0
        captioner.wanted = lambda: not self._now or not all(turn.is_gone for turn in self._now)
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether questions are answered."""
        return self._thread.is_alive() and not self._is_closed

    def close(self, timeout_s: float = 5.0) -> bool:
        """Break off what is under way; whether the thread has ended."""
        with self._there:
            self._is_closed = True
            for turn in (*self._waiting, *self._now):
                turn.is_gone = True
                turn.tell(RuntimeError("the engine is closed"))
            self._there.notify_all()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    async def ask(self, question: Question) -> AsyncGenerator[Told, None]:
        """The replies to a question: with `stream` as of `Answering.told`, else the `CaptionOutput` alone.

        Closing it tells the model that nobody listens any more.

        Raises:
            ItemError: the question cannot be answered. RuntimeError and others: the model failed.
        """
        turn = _Turn(question)
        with self._there:
            if self._is_closed:
                raise RuntimeError("the engine is closed")
            self._waiting.append(turn)
            self._there.notify_all()
        try:
            while True:
                reply = await turn.replies.get()
                if isinstance(reply, BaseException):
                    raise reply
                yield reply
                if isinstance(reply, CaptionOutput):
                    return
        finally:
            turn.is_gone = True

    def _work(self) -> None:
        while turns := self._next():
            self._reply_to(turns)
            self._now = []
            if self._failures >= _FAILURES_IN_A_ROW:
                self._on_broken()

    def _reply_to(self, turns: list[_Turn]) -> None:
        try:
            if turns[0].question.stream:
                self._stream(turns[0])
            else:
                self._batch(turns)
            self._failures = 0
        except ItemError as error:
            turns[0].tell(error)
        except Exception as error:  # whatever a model raises is an answer to who asked, not the end of the engine
            if len(turns) > 1:  # one of them may be at fault, and the others shall not suffer from it
                for turn in turns:
                    self._reply_to([turn])
                return
            logger.exception("the model failed")
            self._failures += isinstance(error, RuntimeError)  # what torch raises, also when a device is lost
            turns[0].tell(error)

    def _next(self) -> list[_Turn]:
        """Who is answered next: the longest waiting of the other kind than last time, and who goes with it."""
        with self._there:
            while True:
                self._waiting = [turn for turn in self._waiting if not turn.is_gone]
                if self._is_closed:
                    return []
                if self._waiting:
                    break
                self._there.wait()
            others = [turn for turn in self._waiting if turn.question.stream != self._streamed_last]
            first = (others or self._waiting)[0]
            chosen, frames = [first], first.question.num_frames
            self._streamed_last = first.question.stream
            for turn in self._waiting:
                frames_then = frames + turn.question.num_frames
                if turn is first or turn.question.stream or not turn.question.goes_with(first.question):
                    continue
                if first.question.stream or len(chosen) >= _MOST_TOGETHER or frames_then > _MOST_FRAMES:
                    break
                chosen.append(turn)
                frames = frames_then
            self._waiting = [turn for turn in self._waiting if turn not in chosen]
            self._now = chosen
            return chosen

    def _batch(self, turns: list[_Turn]) -> None:
        decoding = turns[0].question.decoding
        conversations = [turn.question.conversation for turn in turns]
        outputs = in_halves(lambda some: self._answer(some, decoding), conversations)
        for turn, output in zip(turns, outputs, strict=True):
            turn.tell(output)

    def _answer(self, conversations: Sequence[Conversation], decoding: Decoding) -> list[CaptionOutput]:
        import torch

        try:
            return self._captioner.answer(conversations, decoding)
        except torch.OutOfMemoryError:
            raise ItemError("the model's device has no memory for so much", code="OUT_OF_MEMORY") from None

    def _stream(self, turn: _Turn) -> None:
        import torch

        try:
            with closing(self._captioner.told(turn.question.conversation, turn.question.decoding)) as told:  # type: ignore[type-var]
                for reply in told:
                    if turn.is_gone:
                        return
                    turn.tell(reply)
        except torch.OutOfMemoryError:
            raise ItemError("the model's device has no memory for so much", code="OUT_OF_MEMORY") from None
