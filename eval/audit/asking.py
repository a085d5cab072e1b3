"""A judge and what it answered before: nothing is asked twice of the same clip.

In: planted clips and questions. Out: `Answer`s, kept as evidence under the judge's fingerprint, the clip's content and
the question. Frames are made only when something is left to ask.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Protocol

from v2t_eval.cache import EvidenceCache
from v2t_eval.judge.answer import Answer
from v2t_eval.judge.question import Question
from v2t_eval.measure import one_thread
from v2t_eval.sample import Sample

_KEPT = ("status", "chance", "text", "code")  # of an answer


class JudgeLike(Protocol):
    """What an audit wants of a judge; `v2t_eval.judge.judge.Judge` is one."""

    tells_likelihoods: bool

    def load(self) -> None:
        """Bring it into memory."""

    def fingerprint(self) -> dict[str, str]:
        """What decides its answers."""

    def answer(self, sample: Sample, questions: Sequence[Question]) -> list[Answer]:
        """See `Judge.answer`."""


class Asking:
    """A judge with its memory; `num_asked` counts the questions that were put now."""

    def __init__(self, judge: JudgeLike, cache: EvidenceCache) -> None:
        self.judge, self.cache = judge, cache
        self.num_asked = 0
        self._known: dict[str, Answer] = {}
        self._print = json.dumps(judge.fingerprint(), sort_keys=True)

    def ask(self, sample: Sample, questions: Sequence[Question], *, repeat: int = 0) -> list[Answer]:
        """The answers in the order of the questions; of those given earlier only what `_KEPT` names.

        Args:
            repeat: the same number, the same memory; another number asks again.

        Raises:
            ItemError: the clip cannot be read.
        """
        keys = [self._key(sample, question, repeat) for question in questions]
        asked = dict(zip(keys, questions, strict=True))
        kept = self.cache.find([key for key in keys if key not in self._known])
        self._known |= {key: Answer(question=asked[key], **told) for key, told in kept.items()}
        todo = {key: each for key, each in asked.items() if key not in self._known}
        if todo:
            self.judge.load()
            with one_thread():
                answers = dict(zip(todo, self.judge.answer(sample, list(todo.values())), strict=True))
            sample.memo.clear()
            self.num_asked += len(todo)
            self._known |= answers
            lasting = {key: answer for key, answer in answers.items() if answer.status != "failed"}
            self.cache.keep({key: {name: getattr(told, name) for name in _KEPT} for key, told in lasting.items()})
        return [self._known[key] for key in keys]

    def _key(self, sample: Sample, question: Question, repeat: int) -> str:
        content: Any = sample.clip.content if sample.clip is not None else None
        asked = json.dumps(asdict(question), sort_keys=True)
        return hashlib.sha256(f"asked/2 {self._print} {content} {asked} {repeat}".encode()).hexdigest()
