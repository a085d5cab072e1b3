"""The questions of a prompt, and the answers of its caption alone.

In: a prompt; a caption. Out: `PromptQuestion` questions with the kind of fact each is about, and what the caption says.
Of prompts of the cartoon world with one figure the questions presuppose nothing
(`cineloop.world.language.plain_questions`) and the caption is read by that world's grammar. Of its other prompts they
are those of `v2t_eval.judge.grammar.wording`, and a caption answers yes to the questions that can be made from it. Of
plain English they are of the same form, and only a language model can read the caption
(`v2t_eval.metrics.caption_questions`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean

from cineloop.errors import ItemError
from cineloop.log import logger, printable
from cineloop.world.language.plain_questions import PLAIN, motion_of
from cineloop.world.language.read_text import parse_whole
from v2t_eval.core import models
from v2t_eval.core.measurement import NOTHING_ASKED
from v2t_eval.judge.grammar.noun_phrases import singular
from v2t_eval.judge.grammar.wording import of_text, plain_question
from v2t_eval.judge.question import Question, dsg
from v2t_eval.semantics.sources import GRAMMAR, QuestionSet, open_source
from v2t_eval.text.prompt_facts import match_facts

OTHER = "other"  # kind of a question without a stated subject
_KEPT = 4096  # results: the prompts of a run, and their captions in turn
_EMPTY = frozenset("is are do does a an any the there".split())


@dataclass(frozen=True, kw_only=True)
class PromptQuestion:
    """A question of a prompt: `kind` of fact; `value`, the wanted value by its name in the world, "" where the question
    is one of yes and no."""

    question: Question
    kind: str
    value: str = ""


@lru_cache(maxsize=_KEPT)
def questions(prompt: str, source: str = GRAMMAR) -> tuple[PromptQuestion, ...]:
    """The questions of a prompt, parents first, by a source of `v2t_eval.semantics.sources`; none where it asks for
    nothing that can be read, or the source has none (see `remarks`)."""
    plain = _plain(prompt) if source == GRAMMAR else ()
    made = _question_set(prompt, source)
    return plain or tuple(
        PromptQuestion(question=one, kind=one.about or OTHER) for one in (made.questions if made else ())
    )


@lru_cache(maxsize=_KEPT)
def _question_set(prompt: str, source: str) -> QuestionSet | None:
    try:
        return open_source(source).questions_of(prompt)
    except ItemError as problem:
        if problem.code != NOTHING_ASKED:
            logger.warning("no questions for %s: %s", printable(prompt, 60), problem)
        return None


def remarks(prompts: Iterable[str], source: str) -> list[str]:
    """Notes on the questions: prompts without one, those dropped, parts without a question."""
    made = {prompt: _question_set(prompt, source) for prompt in prompts}
    without = [prompt for prompt, each in made.items() if each is None]
    dropped = [each for one in made.values() if one for each in one.dropped]
    left = [part for one in made.values() if one for part in one.left]
    lines = [] if source == GRAMMAR else [f"Questions were made by {printable(source)}."]
    for what, examples in (
        (f"of {len(made)} prompts have no questions", without),
        ("questions were dropped (malformed, double or not entailed by the prompt)", [d.question for d in dropped]),
        ("parts of prompts are asked nothing of, since the grammar does not know them (NOTHING_ASKED)", left),
    ):
        if examples:
            lines.append(f"{len(examples)} {what}, for example {printable(examples[0], 80)!r}.")
    return lines


def share(asked: Sequence[PromptQuestion], right: Sequence[bool | None]) -> float | None:
    """Share of the answered questions that count as right (DSG: and all they hang on are); None if none is answered."""
    verdicts = {one.question.id: verdict for one, verdict in zip(asked, right, strict=True) if verdict is not None}
    upheld = dsg([one.question for one in asked], verdicts)
    return fmean(upheld.values()) if upheld else None


def is_plain(asked: tuple[PromptQuestion, ...]) -> bool:
    """Whether the questions presuppose nothing."""
    return bool(asked) and all(one.value for one in asked)


def needs_reader(prompt: str, source: str = GRAMMAR) -> bool:
    """Whether only a language model can answer the prompt's questions from a caption."""
    return source != GRAMMAR or parse_whole(prompt) is None


@lru_cache(maxsize=_KEPT)
def from_caption(prompt: str, caption: str) -> tuple[str | None, ...]:
    """What the caption says to each of `questions(prompt)`, None for nothing: a value of the world, or yes or no. For
    prompts of the cartoon world."""
    asked = questions(prompt)
    if not is_plain(asked):
        says = {_bare(one.question) for one in of_text(caption) if one.answer == "yes"}
        return tuple("yes" if _bare(one.question.question) in says else "no" for one in asked)
    matched = match_facts(prompt, caption)
    caption_values = {} if matched is None else {_factor(fact.kind): fact.caption_value for fact in matched.facts}
    return tuple(
        _motion(caption_values.get(one.kind)) if one.kind == "motion" else caption_values.get(one.kind) for one in asked
    )


for _known in (questions, _question_set, from_caption):
    models.on_release(_known.cache_clear)


def wanted_answer(asked: PromptQuestion) -> str:
    """What `from_caption` gives for a question that is answered as wanted."""
    return asked.value or asked.question.answer


def _plain(prompt: str) -> tuple[PromptQuestion, ...]:
    """Questions that presuppose nothing, of a prompt with one figure that does one thing at most; else none."""
    stated = parse_whole(prompt)
    if stated is None or len(stated.actors) != 1 or len(stated.events) > 1 or len(stated.shots) != 1:
        return ()
    matched = match_facts(prompt, prompt)
    if matched is None or stated.actors[0].count not in (None, 1):
        return ()
    plain = []
    for fact in matched.facts:
        factor = _factor(fact.kind)
        value = _motion(fact.value) if factor == "motion" else fact.value
        if factor not in PLAIN or value is None or value not in PLAIN[factor].answers:
            return ()
        plain.append(PromptQuestion(question=plain_question(factor, value), kind=factor, value=value))
    return tuple(plain)


def _factor(kind: str) -> str:
    return "motion" if kind == "action" else kind


def _motion(action: str | None) -> str | None:
    """The class of an action of `v2t_eval.text.prompt_facts`; the action itself where it has none."""
    if action is None or action == "walk or run":
        return action and "travel"
    try:
        return motion_of(action)
    except ValueError:  # an action of two figures
        return action


def _bare(question: str) -> str:
    """A question in a form independent of number: "Are there any dogs?" is "Is there a dog?"."""
    words = [word for word in re.findall(r"[a-z0-9'-]+", question.lower()) if word not in _EMPTY]
    return " ".join(singular(word) for word in words)
