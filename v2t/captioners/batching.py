"""Many conversations put to a captioner, and an answer or an error for each: what caption and ask both go through.

In: conversations and how to decode. Out: a `CaptionOutput` or the `ItemError` of each, in order. A captioner in this
process gets batches of one shape; one that takes several at once gets them from as many threads. A batch that fails,
in whatever way a model fails, is halved until the conversation at fault stands alone.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from cineloop.errors import CineloopError, ItemError, MissingDependencyError
from cineloop.log import logger, printable
from v2t.captioners import CaptionerLike, CaptionOutput, Conversation, Decoding, in_halves

_MODEL_ERRORS_IN_A_ROW = 16  # with nothing answered in between, the model is broken and not the clips
Answer = CaptionOutput | ItemError


class Batching:
    """One captioner with the count of its failures in a row; threads may share it.

    Args:
        captioner: loaded before the first conversation.
    """

    def __init__(self, captioner: CaptionerLike) -> None:
        self.captioner = captioner
        self._failures = 0
        self._lock = threading.Lock()

    def one(self, conversation: Conversation, decoding: Decoding) -> CaptionOutput:
        """The answer to one conversation.

        Raises:
            ItemError: there is none. MissingDependencyError: the model fails on everything, or its server is gone.
        """
        (answer,) = self.many([conversation], decoding)
        if isinstance(answer, ItemError):
            raise answer
        return answer

    def many(
        self, conversations: Sequence[Conversation], decoding: Decoding, batch_size: int | None = None
    ) -> list[Answer]:
        """One answer or error for each conversation; batches hold `batch_size` at most, or all of one shape.

        Raises:
            MissingDependencyError: the model fails on everything, or its server is gone.
        """

        def ask(batch: Sequence[Conversation]) -> list[CaptionOutput]:
            return self._batch(batch, decoding)

        if self.captioner.concurrency > 1 and len(conversations) > 1:
            with ThreadPoolExecutor(min(self.captioner.concurrency, len(conversations))) as threads:
                return list(threads.map(lambda one: in_halves(ask, [one])[0], conversations))
        found: dict[int, Answer] = {}
        shapes: dict[tuple, list[int]] = {}
        for number, conversation in enumerate(conversations):
            shapes.setdefault(tuple(v.pixels.shape for m in conversation for v in m.videos), []).append(number)
        for numbers in shapes.values():
            size = batch_size or len(numbers)
            for first in range(0, len(numbers), size):
                batch = numbers[first : first + size]
                found |= dict(zip(batch, in_halves(ask, [conversations[i] for i in batch]), strict=True))
        return [found[number] for number in range(len(conversations))]

    def _batch(self, batch: Sequence[Conversation], decoding: Decoding) -> list[CaptionOutput]:
        """Answers to a batch; what may be the fault of one conversation is raised as ItemError."""
        try:
            answers = list(self.captioner.answer(batch, decoding))
            if len(answers) != len(batch):
                raise ValueError(f"{len(answers)} answers to {len(batch)} conversations")
        except CineloopError:
            raise
        except Exception as error:  # a model may fail in any way on one clip, and that must not end the run
            logger.debug("the model failed", exc_info=error)
            reason = f"{type(error).__name__}: {printable(str(error), 300)}"
            is_memory = isinstance(error, MemoryError) or "out of memory" in str(error).lower()
        else:
            self._failures = 0
            return answers
        # Raised out here: an error that knew the first one would hold its frames, and with them the device's memory.
        raise self._problem(reason, is_memory, alone=len(batch) == 1)

    def _problem(self, reason: str, is_memory: bool, *, alone: bool) -> CineloopError:
        if is_memory:  # a matter of this conversation's length, however many long ones come in a row
            return ItemError(f"the model failed: {reason}", code="OUT_OF_MEMORY", hint="fewer --frames")
        with self._lock:
            self._failures += alone
            count = self._failures
        if count >= _MODEL_ERRORS_IN_A_ROW:
            return MissingDependencyError(
                f"the model fails on every clip: {reason}",
                code="MODEL_BROKEN",
                hint="try --device cpu or another model",
            )
        return ItemError(f"the model failed: {reason}", code="MODEL_ERROR", hint="run again with -v")
