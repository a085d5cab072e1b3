"""Putting the question to the captioner, and what is done when an answer runs in a loop.

In: frames of some pieces. Out: for each an answer or the error that ended it (`v2t.captioners.batching`); an answer
that runs in a loop is asked for again with other ways of decoding. May be used from as many threads at once as the
captioner takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cineloop.errors import ItemError
from v2t.caption.repetition import loop
from v2t.captioners import CaptionerLike, CaptionOutput, Conversation, Decoding, asked
from v2t.captioners.batching import Answer, Batching

if TYPE_CHECKING:
    from cineloop.video.frames import Frames

# What to try on an answer that runs in a loop, in order (Keskar et al. 2019, arXiv 1909.05858, section 4.1).
_RETRIES: tuple[dict[str, Any], ...] = ({"repetition_penalty": 1.3}, {"temperature": 0.7})


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

    def __post_init__(self) -> None:
        self._batching = Batching(self.captioner)

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
        answers = self._batching.many(conversations, decoding)
        loops = {i: found for i, one in enumerate(answers) if (found := _loop(one)) is not None}
        tried = {i: [answers[i]] for i in loops}
        open_ones = list(loops)
        for changes in _RETRIES:
            if not open_ones:
                break
            again = self._batching.many([conversations[i] for i in open_ones], replace(decoding, **changes))
            for i, answer in zip(open_ones, again, strict=True):
                tried[i].append(answer)
            open_ones = [i for i in open_ones if _loop(tried[i][-1]) is not None or isinstance(tried[i][-1], ItemError)]
        for i, candidates in tried.items():
            answers[i] = _best(candidates, loops[i])
        return answers


def _loop(answer: Answer) -> str | None:
    return None if isinstance(answer, ItemError) else loop(answer.text)


def _best(candidates: Sequence[Answer], found: str) -> CaptionOutput:
    """The first answer without a loop, else the shortest that says anything; it says so in its warnings."""
    answers = [one for one in candidates if isinstance(one, CaptionOutput) and one.text.strip()]
    good = [one for one in answers if loop(one.text) is None]
    best = good[0] if good else min(answers, key=lambda one: len(one.text))
    how = "asked again with other decoding" if good else f"and still so after {len(candidates) - 1} more tries"
    return replace(best, warnings=(*best.warnings, f"REPETITION: {found}; {how}"))
