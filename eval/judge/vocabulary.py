"""The words that a judge was trained on, and so what it cannot be asked.

In: what a model's folder or server declares (`Abilities.vocabulary`). Out: `Vocabulary`, with the reason why a question
or a prompt is beyond it. A small model answers "Is there a giraffe?" as readily as any other question, and its audit is
of the answers it was trained on; so a question with another word is not asked, and a prompt with another word is not
judged by the rest of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from cineloop.files import text_key
from cineloop.world.language.phrases import unknown_words, vocabulary, why_unread
from cineloop.world.language.read_text import parse, parse_whole
from v2t.backends.abilities import WORLD, Abilities
from v2t_eval.judge.question import Question

_ANSWERS = frozenset("all more no none not nowhere".split())  # words that stand in answers alone


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """`words`, in small letters; `is_world`: prompts are read by the cartoon world's grammar, which also wants each
    word where it can stand."""

    words: frozenset[str]
    is_world: bool

    @property
    def key(self) -> str:
        """Its size and a short hash."""
        return f"{len(self.words)} words {text_key(' '.join(sorted(self.words)).encode())[:12]}"

    def why_unknown(self, question: Question) -> str:
        """Why a question cannot be asked, to follow the judge's name; "" where it can."""
        answers = question.choices or (() if question.form == "yes_no" else (question.answer,))
        unknown = [word for text in question.texts for word in unknown_words(text, self.words)]
        unknown += [word for text in answers for word in unknown_words(text, self.words | _ANSWERS)]
        return _unknown(unknown)

    def why_unread(self, prompt: str) -> str:
        """Why a prompt cannot be judged by questions made from it, to follow the judge's name; "" where it can."""
        if not self.is_world:
            return _unknown(unknown_words(prompt, self.words))
        if parse_whole(prompt) is not None:
            return ""
        unread = parse(prompt).unread
        return why_unread(unread) if unread else "reads nothing in the prompt"


def vocabulary_of(abilities: Abilities) -> Vocabulary | None:
    """The vocabulary that a model declares; None where it declares none."""
    if abilities.vocabulary is None:
        return None
    is_world = abilities.vocabulary == WORLD
    return Vocabulary(words=vocabulary() if is_world else frozenset(abilities.vocabulary), is_world=is_world)


def _unknown(words: list[str] | tuple[str, ...]) -> str:
    return f"does not know {', '.join(map(repr, dict.fromkeys(words)))}" if words else ""
