"""A judge and what it answered before: nothing is asked twice of the same clip.

In: planted clips and questions. Out: `Reply`s, kept as evidence under the judge's fingerprint, the clip's content and
the question. Frames are made only when something is left to ask.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from v2t_eval.cache import EvidenceCache
from v2t_eval.judge.answer import Answer
from v2t_eval.judge.question import Question
from v2t_eval.measure import one_thread
from v2t_eval.sample import Sample


class JudgeLike(Protocol):
    """What an audit wants of a judge; `v2t_eval.judge.judge.Judge` is one."""

    tells_likelihoods: bool

    def load(self) -> None:
        """Bring it into memory."""

    def fingerprint(self) -> dict[str, str]:
        """What decides its answers."""

    def answer(self, sample: Sample, questions: Sequence[Question]) -> list[Answer]:
        """See `Judge.answer`."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What of an answer is kept: the chance of the wanted one, what was said, and why nothing was."""

    status: str
    chance: float | None
    said: str | None
    code: str = ""

    @property
    def answered(self) -> bool:
        """Whether there is a chance to go by."""
        return self.status == "answered" and self.chance is not None

    @property
    def yes(self) -> bool:
        """Whether the judge takes the wanted answer for true."""
        return self.chance is not None and self.chance >= 0.5


class Asking:
    """A judge with its memory; `num_asked` counts the questions that were put now."""

    def __init__(self, judge: JudgeLike, cache: EvidenceCache) -> None:
        self.judge, self.cache = judge, cache
        self.num_asked = 0
        self._known: dict[str, Reply] = {}
        self._print = json.dumps(judge.fingerprint(), sort_keys=True)

    def ask(self, sample: Sample, questions: Sequence[Question], *, repeat: int = 0) -> list[Reply]:
        """The replies in the order of the questions.

        Args:
            repeat: the same number, the same memory; another number asks again.

        Raises:
            ItemError: the clip cannot be read.
        """
        keys = [self._key(sample, question, repeat) for question in questions]
        kept = self.cache.find([key for key in keys if key not in self._known])
        self._known |= {key: Reply(**data) for key, data in kept.items()}
        todo = {key: each for key, each in zip(keys, questions, strict=True) if key not in self._known}
        if todo:
            self.judge.load()
            with one_thread():
                answers = self.judge.answer(sample, list(todo.values()))
            sample.memo.clear()
            self.num_asked += len(todo)
            for key, told in zip(todo, answers, strict=True):
                self._known[key] = Reply(status=told.status, chance=told.chance, said=told.said, code=told.code)
            lasting = {key: asdict(self._known[key]) for key in todo if self._known[key].status != "failed"}
            self.cache.keep(lasting)
        return [self._known[key] for key in keys]

    def _key(self, sample: Sample, question: Question, repeat: int) -> str:
        content: Any = sample.clip.content if sample.clip is not None else None
        asked = json.dumps(asdict(question), sort_keys=True)
        return hashlib.sha256(f"asked/1 {self._print} {content} {asked} {repeat}".encode()).hexdigest()
