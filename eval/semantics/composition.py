"""Kinds of composition that a prompt asks for, and the questions that test each.

In: the questions of a prompt (`v2t_eval.semantics.sources`), with the kind of fact each is about. Out: by kind the ids
of its questions. The seven kinds are those of T2V-CompBench (Sun et al., arXiv:2407.14505): an attribute of each of
several things (consistent attribute binding), an attribute that changes (dynamic), where things stand to each other
(spatial), which way each moves (motion), what each of several does (action), what one does to another (interactions),
how many (numeracy). A prompt may be of several kinds. One that stands in a file of a kind, as the benchmark's prompts
do, is of that kind alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from cineloop.documents import text_lines
from cineloop.errors import UsageError
from cineloop.log import printable
from cineloop.world import vocabulary as words
from cineloop.world.language import lexicon as lex
from cineloop.world.language.plain_questions import PLAIN
from v2t_eval.core.tables import read_rows
from v2t_eval.judge.grammar.noun_phrases import singular
from v2t_eval.judge.question import Question

CONSISTENT, DYNAMIC, SPATIAL, MOTION, ACTION, INTERACTION, NUMERACY = KINDS = (
    "consistent_attribute_binding",
    "dynamic_attribute_binding",
    "spatial_relationships",
    "motion_binding",
    "action_binding",
    "object_interactions",
    "generative_numeracy",
)
_STEMS = {  # in a file's name; "interaction" before "action", which is in it
    "consistent": CONSISTENT,
    "dynamic": DYNAMIC,
    "spatial": SPATIAL,
    "motion": MOTION,
    "interaction": INTERACTION,
    "action": ACTION,
    "numeracy": NUMERACY,
}
_FILES = (".txt", ".json", ".jsonl", ".csv")
_CHANGE = re.compile(
    r"\b(?:turn(?:s|ing)?(?! (?:around|round|left|right|back|over))|becom\w+|chang\w+|transform\w*|transition\w*"
    r"|gr[eo]w\w*|shrink\w*|shrank|expand\w*|deflat\w*|inflat\w*|melt\w*|fad(?:e|es|ing)|wilt\w*|ripen\w*|darken\w*"
    r"|rust\w*|bloom\w*|wither\w*|freez\w+|dry\w*|open\w*|clos(?:e|es|ing))\b",
    re.IGNORECASE,
)
# By kind of fact: how a claim reads, the question of the world's conversations, its answers.
_CLOSED: dict[str, tuple[re.Pattern[str], str, tuple[str, ...]]] = {
    "size": (
        re.compile(r"(?P<be>Is|Are) (?P<name>the .+?) (?P<answer>\w+)(?P<first> at first)?\?$"),
        "How big {be} {name}{first}?",
        tuple(spelled[0] for spelled in lex.SIZE_WORDS.values()),
    ),
    "direction": (
        re.compile(r"(?P<be>Does|Do) (?P<name>the .+?) (?P<answer>to the left|to the right|up|down)\?$"),
        "Which way {be} {name}?",
        tuple(spelled[0] for spelled in lex.DIRECTION_WORDS.values()),
    ),
    "to_color": (
        re.compile(r"(?P<be>Does|Do) (?P<name>the .+?) turn (?P<answer>\w+)\?$"),
        "What color {be} {name} at the end?",
        tuple(words.COLORS),
    ),
}
_CHANGES = ("grow", "shrink", "recolor")  # motions of a plain question that change the figure
_THINGS = re.compile(r"(?:is|are) there (?:an? |any )?(.+?)\?$", re.IGNORECASE)


def kinds_of(questions: Sequence[Question], given: str | None = None) -> dict[str, tuple[str, ...]]:
    """By kind the ids of the questions that test it, in the order of `KINDS`; empty where no question is of a kind.

    Args:
        questions: of one prompt, parents first.
        given: the one kind of the prompt, where it is known; then one thing, or one action, is enough for the kind.
    """
    things = [name for question in questions if (name := _thing(question))]
    several = len(set(things)) > 1
    about = {question.id: question.about for question in questions}
    deeds = [question for question in questions if about[question.id] in ("action", "motion")]
    mutual = {question.id for question in deeds if len(_things_in(question, things)) > 1 or len(question.parents) > 1}
    changing = {question.id for question in deeds if _changes(question)}
    changing |= {id for id, fact in about.items() if fact == "to_color"}
    single = [question for question in deeds if question.id not in mutual]
    attributes = tuple(id for id, fact in about.items() if fact in ("color", "size"))
    actors = {question.parents for question in single}
    tested = {
        CONSISTENT: attributes if given or (several and len(attributes) > 1) else (),
        DYNAMIC: tuple(id for id in about if id in changing),
        SPATIAL: tuple(id for id, fact in about.items() if fact == "relation"),
        MOTION: tuple(id for id, fact in about.items() if fact == "direction"),
        ACTION: tuple(question.id for question in single) if given or (several and len(actors) > 1) else (),
        INTERACTION: tuple(question.id for question in deeds if question.id in mutual),
        NUMERACY: tuple(id for id, fact in about.items() if fact == "count"),
    }
    return {kind: ids for kind, ids in tested.items() if ids and given in (None, kind)}


def with_answers(questions: Sequence[Question]) -> list[Question]:
    """Claims about a cartoon prompt, with those about a way, a size or a new colour as questions with all of that
    world's answers: a model that returns likelihoods picks among these far better than it says yes or no. Of colours
    and actions of one of several figures it does not, and of numbers it was not shown to know the answers.

    Args:
        questions: of yes and no, by `v2t_eval.judge.grammar.wording.of_text`; those without such a list stay.
    """
    return [_with_answers(question) for question in questions]


def _with_answers(question: Question) -> Question:
    about = "to_color" if question.about == "action" else question.about
    if about not in _CLOSED:
        return question
    pattern, ask, choices = _CLOSED[about]
    match = pattern.match(question.question)
    if match is None or match["answer"] not in choices:
        return question
    be = {"Does": "does", "Do": "do", "Is": "is", "Are": "are"}[match["be"]]
    if about == "to_color":
        be = {"does": "is", "do": "are"}[be]
    first = match.groupdict().get("first") or ""
    text = ask.format(be=be, name=match["name"], first=first)
    return replace(question, question=text, answer=match["answer"], choices=choices, about=about)


def with_parents(questions: Sequence[Question], ids: Sequence[str]) -> list[Question]:
    """The questions of these ids and all that they depend on, parents first as they were."""
    wanted = set(ids)
    for question in reversed(questions):
        if question.id in wanted:
            wanted |= set(question.parents)
    return [question for question in questions if question.id in wanted]


def _thing(question: Question) -> str:
    """The thing that a question of existence is about; "" for any other question."""
    named = _THINGS.match(question.question) if question.about == "kind" else None
    return singular(named[1].split()[-1].lower()) if named else ""


def _things_in(question: Question, things: Sequence[str]) -> set[str]:
    """The things that a question names."""
    return {singular(word) for word in re.findall(r"[a-z'-]+", question.question.lower())} & set(things)


def _changes(question: Question) -> bool:
    if question.about == "motion":
        return question.answer in {PLAIN["motion"].answers[name] for name in _CHANGES}
    return _CHANGE.search(question.question) is not None


@lru_cache(maxsize=8)
def prompt_kinds(folder: str) -> dict[str, str]:
    """The kind of each prompt of a folder with a file a kind: one prompt a line (.txt), or rows with a `prompt`.

    Raises:
        UsageError: no file of it is named after a kind, or one cannot be read.
    """
    kinds: dict[str, str] = {}
    place = Path(folder)
    for path in sorted(place.iterdir()) if place.is_dir() else ():
        kind = next((kind for stem, kind in _STEMS.items() if stem in path.stem.lower()), None)
        if kind is not None and path.suffix in _FILES:
            kinds |= dict.fromkeys(_prompts(path), kind)
    if not kinds:
        raise UsageError(
            f"{printable(folder)} has no prompts of a kind: expected files such as 1_consistent_attr.txt",
            hint=f"a file's name holds one of {', '.join(_STEMS)}",
        )
    return kinds


def _prompts(path: Path) -> list[str]:
    """The prompts of a file.

    Raises:
        UsageError: it cannot be read.
    """
    if path.suffix == ".txt":
        try:
            return [line.strip() for _, line in text_lines(path.read_text("utf-8")) if line.strip()]
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot read {printable(str(path))}: {error}") from error
    return [str(row["prompt"]).strip() for row in read_rows(path) if isinstance(row.get("prompt"), str)]
