"""Sources of the questions of a prompt: the grammar, a language model, or a reviewed file.

    grammar                     `v2t_eval.judge.grammar`, no model
    openai:URL[#model]          a language model behind an OpenAI-compatible address
    FOLDER or hub id            a language model of transformers on this machine
    FILE.jsonl                  rows of `prompt` and `questions`, as `v2t-eval questions` writes them

In: a name and a prompt. Out: `QuestionSet`: questions, what was dropped, and the parts without a question.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cineloop.errors import ItemError, UsageError
from cineloop.files import cache_home, content_key
from cineloop.log import printable
from v2t_eval.core import models
from v2t_eval.core.cache import EvidenceCache
from v2t_eval.core.tables import read_rows
from v2t_eval.judge.grammar.wording import coverage, of_text, unread_parts
from v2t_eval.judge.language import Questioner, UnaskedQuestion, open_writer
from v2t_eval.judge.question import Question, from_row

GRAMMAR = "grammar"


@dataclass(frozen=True, kw_only=True)
class QuestionSet:
    """Questions of a prompt, parents first.

    Attributes:
        dropped: questions that were made and are not asked.
        left: the parts of the prompt without a question, and `coverage` the share of its content words outside
            them; known for the grammar only, else None.
    """

    questions: tuple[Question, ...]
    dropped: tuple[UnaskedQuestion, ...] = ()
    left: tuple[str, ...] = ()
    coverage: float | None = None


class Source(Protocol):
    """A way to make questions."""

    def questions_of(self, prompt: str, *, closed: bool = False) -> QuestionSet:
        """The questions of a prompt; `closed`, which the grammar alone knows: see its `wording.of_text`.

        Raises:
            ItemError: there are none, with a code that says why.
        """

    def fingerprint(self) -> dict[str, str]:
        """What decides the questions."""


class Grammar:
    """`v2t_eval.judge.grammar.wording`."""

    def questions_of(self, prompt: str, *, closed: bool = False) -> QuestionSet:
        """See `Source.questions_of`. Raises ItemError: NOTHING_ASKED."""
        questions = of_text(prompt, closed=closed)
        if not questions:
            raise ItemError(
                f"the prompt {printable(prompt, 80)!r} asks for nothing that the grammar reads",
                code="NOTHING_ASKED",
                hint="give `questions`: [{id, question, answer, parents}, ...], or questions=openai:URL",
            )
        return QuestionSet(questions=tuple(questions), left=unread_parts(prompt), coverage=coverage(prompt))

    def fingerprint(self) -> dict[str, str]:
        return {"questions": GRAMMAR}


class Model:
    """A language model; see `v2t_eval.judge.language.Questioner`."""

    def __init__(self, name: str) -> None:
        cache = EvidenceCache(cache_folder()).__enter__()
        weakref.finalize(self, cache.__exit__, None, None, None)  # saves the last questions
        self._questioner = Questioner(open_writer(name), cache=cache)

    def questions_of(self, prompt: str, *, closed: bool = False) -> QuestionSet:
        questions, dropped = self._questioner.questions_of(prompt)
        return QuestionSet(questions=tuple(questions), dropped=tuple(dropped))

    def fingerprint(self) -> dict[str, str]:
        return self._questioner.fingerprint()


class QuestionFile:
    """Questions of a file."""

    def __init__(self, path: Path) -> None:
        self._path, self._key = path, content_key(path)
        self._of: dict[str, tuple[Question, ...]] = {}
        for number, row in enumerate(read_rows(path), 1):
            where = f"{printable(str(path))}, row {number}"
            prompt = row.get("prompt")
            if not isinstance(prompt, str) or prompt in self._of:
                twice = "comes twice" if isinstance(prompt, str) else "is missing or no text"
                raise UsageError(f"{where}: its `prompt` {twice}", hint='{"prompt": ..., "questions": [...]}')
            try:
                self._of[prompt] = tuple(from_row(row["questions"], where)) if row.get("questions") else ()
            except ItemError as problem:
                raise UsageError(problem.message, hint=problem.hint) from None

    def questions_of(self, prompt: str, *, closed: bool = False) -> QuestionSet:
        """See `Source.questions_of`. Raises ItemError: NO_QUESTIONS, the file has none for this prompt."""
        if not self._of.get(prompt):
            raise ItemError(
                f"{printable(str(self._path))} has no questions for the prompt {printable(prompt, 80)!r}",
                code="NO_QUESTIONS",
                hint="`v2t-eval questions` writes such a file",
            )
        return QuestionSet(questions=self._of[prompt])

    def fingerprint(self) -> dict[str, str]:
        return {"questions": f"file {self._key}"}


def cache_folder() -> Path:
    """Where questions of language models are kept: in the user's cache."""
    return cache_home() / "cineloop" / "questions"


def open_source(name: str) -> Source:
    """The source of that name; a model is opened once, and released with the others (`v2t_eval.core.models`).

    Raises:
        UsageError: a file that cannot be read, not a valid address. MissingDependencyError: no such model.
    """
    if name == GRAMMAR:
        return Grammar()
    if name.endswith((".jsonl", ".json")):
        return QuestionFile(Path(name))
    return models.open_model(("questions", name), lambda: Model(name))
