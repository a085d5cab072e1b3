"""Putting the question to the captioner, and what is done when an answer is no good.

In: frames of some pieces. Out: for each an answer or the error that ended it. A batch that fails is halved until the
piece at fault stands alone; an answer that runs in a loop is asked for again with other ways of decoding. May be used
from as many threads at once as the captioner takes.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from v2t.base.errors import CineloopError, ItemError, MissingDependencyError
from v2t.base.log import logger, printable
from v2t.caption.repetition import loop
from v2t.captioners import CaptionerLike, CaptionOutput, Conversation, Decoding, asked, in_halves

if TYPE_CHECKING:
    from v2t.video.frames import Frames

_MODEL_ERRORS_IN_A_ROW = 16  # with nothing captioned in between, the model is broken and not the clips
# What to try on an answer that runs in a loop, in order (Keskar et al. 2019, arXiv 1909.05858, section 4.1).
_RETRIES: tuple[dict[str, Any], ...] = ({"repetition_penalty": 1.3}, {"temperature": 0.7})
Answer = CaptionOutput | ItemError


@dataclass
class Answers:
    """What the captioner says.

    Args:
        captioner: loaded before the first question.
        prompt: what is asked of every piece.
        decoding: how answers are written.
    """

    captioner: CaptionerLike
    prompt: str
    decoding: Decoding
    _model_errors: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def to(self, clips: Sequence[Frames]) -> list[Answer]:
        """One answer or error for each clip.

        Raises:
            MissingDependencyError: the model fails on everything, or its server is gone.
        """
        return self._settled([asked(self.prompt, frames) for frames in clips], self.decoding)

    def to_text(self, prompt: str, max_new_tokens: int) -> CaptionOutput:
        """The answer to a question without any video.

        Raises:
            ItemError: there is none.
        """
        answer = self._settled([asked(prompt)], replace(self.decoding, max_new_tokens=max_new_tokens))[0]
        if isinstance(answer, ItemError):
            raise answer
        return answer

    def _settled(self, conversations: Sequence[Conversation], decoding: Decoding) -> list[Answer]:
        """Answers, those that run in a loop replaced by better ones where a retry gives one."""
        answers = self._ask(conversations, decoding)
        loops = {i: found for i, one in enumerate(answers) if (found := _loop(one)) is not None}
        tried = {i: [answers[i]] for i in loops}
        open_ones = list(loops)
        for changes in _RETRIES:
            if not open_ones:
                break
            again = self._ask([conversations[i] for i in open_ones], replace(decoding, **changes))
            for i, answer in zip(open_ones, again, strict=True):
                tried[i].append(answer)
            open_ones = [i for i in open_ones if _loop(tried[i][-1]) is not None or isinstance(tried[i][-1], ItemError)]
        for i, candidates in tried.items():
            answers[i] = _best(candidates, loops[i])
        return answers

    def _ask(self, conversations: Sequence[Conversation], decoding: Decoding) -> list[Answer]:
        """One answer or error for each; when a batch fails its halves are tried, down to the one at fault."""
        return in_halves(lambda batch: self._ask_once(batch, decoding), conversations)

    def _ask_once(self, batch: Sequence[Conversation], decoding: Decoding) -> list[CaptionOutput]:
        """Answers to a batch; what may be the fault of one conversation is raised as ItemError."""
        try:
            answers = list(self.captioner.answer(batch, decoding))
            if len(answers) != len(batch):
                raise ValueError(f"{len(answers)} captions for {len(batch)} clips")
        except CineloopError:
            raise
        except Exception as error:  # a model may fail in any way on one clip, and that must not end the run
            raise self._model_error(error, alone=len(batch) == 1) from error
        self._model_errors = 0
        return answers

    def _model_error(self, error: Exception, alone: bool) -> ItemError:
        with self._lock:
            self._model_errors += alone
            count = self._model_errors
        logger.debug("the model failed", exc_info=error)
        reason = f"{type(error).__name__}: {printable(str(error), 300)}"
        if count >= _MODEL_ERRORS_IN_A_ROW:
            raise MissingDependencyError(
                f"the model fails on every clip: {reason}",
                code="MODEL_BROKEN",
                hint="try --device cpu or another model",
            ) from error
        is_memory = isinstance(error, MemoryError) or "out of memory" in str(error).lower()
        code, hint = ("OUT_OF_MEMORY", "fewer --frames") if is_memory else ("MODEL_ERROR", "run again with -v")
        return ItemError(f"the model failed: {reason}", code=code, hint=hint)


def _loop(answer: Answer) -> str | None:
    return None if isinstance(answer, ItemError) else loop(answer.text)


def _best(candidates: Sequence[Answer], found: str) -> CaptionOutput:
    """The first answer without a loop, else the shortest that says anything; it says so in its warnings."""
    answers = [one for one in candidates if isinstance(one, CaptionOutput) and one.text.strip()]
    good = [one for one in answers if loop(one.text) is None]
    best = good[0] if good else min(answers, key=lambda one: len(one.text))
    how = "asked again with other decoding" if good else f"and still so after {len(candidates) - 1} more tries"
    return replace(best, warnings=(*best.warnings, f"REPETITION: {found}; {how}"))
