"""True answers to a judge's questions, from a file: a human's, or a referee's.

In: rows of id (or path) of a clip, question (its id or text) and answer, as JSONL, JSON or CSV, and the samples of a
scoring. Out: `Labels`. Rows that say nothing are left out and counted by a stable code: LABEL_UNKNOWN_CLIP, no such
clip; LABEL_EMPTY, no question or answer; LABEL_CONTRADICTION, two answers to one question of one clip (both are left
out); and, once the judge's claims are known, LABEL_UNKNOWN_QUESTION, which it was not asked of that clip, and
LABEL_UNKNOWN_ANSWER, no answer of that question's list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cineloop.errors import UsageError
from cineloop.log import printable
from v2t_eval.core.sample import Sample
from v2t_eval.core.tables import SampleRows, read_rows
from v2t_eval.judge.grammar.wording import LISTS
from v2t_eval.judge.replies import normalise

UNKNOWN_CLIP, EMPTY, CONTRADICTION = "LABEL_UNKNOWN_CLIP", "LABEL_EMPTY", "LABEL_CONTRADICTION"
UNKNOWN_QUESTION, UNKNOWN_ANSWER = "LABEL_UNKNOWN_QUESTION", "LABEL_UNKNOWN_ANSWER"
_QUESTION = ("question_id", "question")


@dataclass(frozen=True, kw_only=True)
class Labels:
    """`answers`: by id of the clip, and by id or text of the question. `problems`: rows left out, by code."""

    answers: Mapping[str, Mapping[str, str]]
    problems: Counter[str] = field(default_factory=Counter)

    def truths(self, clip: str, claims: Sequence[Mapping[str, Any]]) -> tuple[dict[str, bool], Counter[str]]:
        """By id of a claim whether what it wants is true, of the claims that have a label; and the codes of labels that
        cannot be used."""
        problems: Counter[str] = Counter()
        own = dict(self.answers.get(clip, {}))
        truths: dict[str, bool] = {}
        for claim in claims:
            both = [own.pop(str(claim[key]), None) for key in ("id", "question")]
            given = next((each for each in both if each is not None), None)
            if given is None:
                continue
            known = _choices(claim)
            if known and normalise(given) not in known:
                problems[UNKNOWN_ANSWER] += 1
                continue
            truths[str(claim["id"])] = normalise(given) == normalise(str(claim["wanted"]))
        if own:
            problems[UNKNOWN_QUESTION] += len(own)
        return truths, problems


def _choices(claim: Mapping[str, Any]) -> set[str]:
    """The answers that a claim's question has; empty where any may be given."""
    kind = str(claim["kind"])
    if kind.startswith("yes_no"):
        return {"yes", "no"}
    return {normalise(each) for each in LISTS[kind].answers.values()} if claim["listed"] and kind in LISTS else set()


def read_labels(path: Path, samples: Sequence[Sample]) -> Labels:
    """The labels in a file.

    Raises:
        UsageError: BAD_LABELS, no row has a question and an answer; or it cannot be read.
        NothingMatchedError: no row is of one of the samples.
    """
    rows = read_rows(path)
    if not any(_question(row) and "answer" in row for row in rows):
        columns = ", ".join(printable(str(key)) for key in rows[0]) if rows else "no row"
        raise UsageError(
            f"{printable(str(path))}: expected rows with id, question and answer, got {columns}", code="BAD_LABELS",
            hint="question is the id or the text of a question as scores.json has it",
        )  # fmt: skip
    joined = SampleRows(samples, rows, path, "labels")
    joined.report(Counter())
    problems: Counter[str] = Counter()
    if joined.unmatched:
        problems[UNKNOWN_CLIP] = len(joined.unmatched)
    given: dict[tuple[str, str], dict[str, str]] = {}
    for sample, row in joined.pairs:
        question, answer = _question(row), str(row.get("answer") if row.get("answer") is not None else "").strip()
        if not question or not answer:
            problems[EMPTY] += 1
            continue
        given.setdefault((sample.id, question), {}).setdefault(normalise(answer), answer)
    answers: dict[str, dict[str, str]] = {}
    for (clip, question), texts in given.items():
        if len(texts) > 1:
            problems[CONTRADICTION] += 1
            continue
        answers.setdefault(clip, {})[question] = next(iter(texts.values()))
    return Labels(answers=answers, problems=problems)


def _question(row: Mapping[str, Any]) -> str:
    return next((str(row[key]).strip() for key in _QUESTION if str(row.get(key) or "").strip()), "")
