"""Validate questions written by a language model: form, duplicates, and whether the prompt entails "yes".

In: questions, the prompt, and the model that wrote them. Out: the valid ones, and each dropped one with the reason.
The children of a dropped question are attached to its parents, so that the rest of the graph stays valid.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from v2t_eval.judge.question import Question, from_row

MALFORMED, DUPLICATE, NOT_ENTAILED = "malformed", "duplicate", "not entailed by the prompt"
CHECK = """This is all that is known of a video:
{prompt}

Here are questions about the video:
{questions}

Answer each from that text alone: "yes" if the text says so or it must be so, "no" if the text says otherwise, \
"unknown" if the text does not say.
Answer with JSON and nothing else, every id once:
{{"answers": {{"1": "yes", "2": "unknown"}}}}"""
_YES_NO = re.compile(r"(?:is|are|was|were|do|does|did|has|have|can|could|will|would)(?:n't)?\b.*\?$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A question that is not asked, and why: malformed, duplicate, not entailed by the prompt."""

    question: str
    why: str


def well_formed(questions: Sequence[Question]) -> tuple[list[Question], list[Dropped]]:
    """Yes/no questions, each text once, in the given order (parents first)."""
    reasons: dict[str, str] = {}
    first: dict[str, str] = {}
    instead: dict[str, str] = {}
    for question in questions:
        text = _bare(question.question)
        if not _YES_NO.match(question.question.strip()) or "\n" in question.question.strip():
            reasons[question.id] = MALFORMED
        elif text in first:
            reasons[question.id], instead[question.id] = DUPLICATE, first[text]
        else:
            first[text] = question.id
    return without(questions, reasons, instead)


def entailed(questions: Sequence[Question], verdicts: Mapping[str, str]) -> tuple[list[Question], list[Dropped]]:
    """Questions that the prompt answers with yes, by the model's verdict on each id."""
    return without(questions, {q.id: NOT_ENTAILED for q in questions if verdicts.get(q.id) != "yes"})


def without(
    questions: Sequence[Question], reasons: Mapping[str, str], instead: Mapping[str, str] | None = None
) -> tuple[list[Question], list[Dropped]]:
    """Questions, parents first, without those in `reasons`; `instead` names the question that takes over the children,
    which else depend on the parents of the dropped one."""
    kept: list[Question] = []
    above: dict[str, tuple[str, ...]] = {}  # the parents that replace a question
    for question in questions:
        parents = tuple(dict.fromkeys(id for parent in question.parents for id in above[parent]))
        if question.id not in reasons:
            above[question.id] = (question.id,)
            kept.append(replace(question, parents=parents))
        else:
            above[question.id] = above[instead[question.id]] if instead and question.id in instead else parents
    return kept, [Dropped(question=q.question, why=reasons[q.id]) for q in questions if q.id in reasons]


def check_text(prompt: str, questions: Sequence[Question]) -> str:
    """The prompt that asks the model to check its questions."""
    listed = "\n".join(f"{question.id}. {question.question}" for question in questions)
    return CHECK.format(prompt=prompt.strip(), questions=listed)


def to_json(questions: Sequence[Question], dropped: Sequence[Dropped]) -> str:
    """Serialise both as JSON for `of_json`."""
    rows = [{"id": q.id, "question": q.question, "parents": list(q.parents), "about": q.about} for q in questions]
    return json.dumps({"questions": rows, "dropped": [[d.question, d.why] for d in dropped]}, ensure_ascii=False)


def of_json(text: str) -> tuple[list[Question], list[Dropped]]:
    """The reverse of `to_json`."""
    data = json.loads(text)
    return from_row(data["questions"], "the cache"), [Dropped(question=q, why=w) for q, w in data["dropped"]]


def _bare(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9']+", text.lower()))
