"""Read questions about clips with given answers, each as one sample.

In: answers (id, question, answer, and kind and reference where there is no truth) and a manifest whose rows carry
`questions`. Out: samples in clusters of one clip; `row` holds `question`, `kind`, `answer` (None without one),
`reference`, `answers` (the reference as a list) and the rows' other fields.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from cineloop.errors import NothingMatchedError, UsageError
from cineloop.log import printable
from cineloop.manifest import read_manifest
from v2t_eval.sample import Sample
from v2t_eval.tables import Row, read_rows


def read_questions(answers: Path, truth: Path | None, counts: Counter[str]) -> list[Sample]:
    """The questions of the truth, or else of the answers' own rows.

    Raises:
        UsageError: a file cannot be read, or an answer lacks id or question.
        NothingMatchedError: no answer belongs to a question.
    """
    given: dict[tuple[str, str], Row] = {}
    for number, row in enumerate(read_rows(answers), 1):
        lacking = [key for key in ("id", "question") if not isinstance(row.get(key), str)]
        if lacking or "answer" not in row:
            raise UsageError(f"{printable(str(answers))}, row {number}: an answer needs id, question, answer")
        counts["answers_repeated"] += (row["id"], row["question"]) in given
        given[row["id"], row["question"]] = row
    asked = list(given.values())
    if truth is not None:
        asked = [
            {**turn, "id": row["id"], "reference": turn.get("answer")}
            for row in read_manifest(truth)
            for turn in row.get("questions") or ()
        ]
    samples: list[Sample] = []
    numbers: Counter[str] = Counter()
    matched = 0
    for turn in asked:
        found = given.get((turn["id"], turn["question"]))
        matched += found is not None
        numbers[turn["id"]] += 1
        row = {**(found or {}), **{key: value for key, value in turn.items() if key != "answer"}}
        answer = (found or {}).get("answer")
        row["answer"] = answer if isinstance(answer, str) else None
        reference = row.get("reference")
        if "answers" not in row and isinstance(reference, str):
            row["answers"] = [reference]
        counts["answers_failed"] += found is not None and row["answer"] is None
        samples.append(Sample(id=f"{turn['id']}#{numbers[turn['id']]}", row=row, cluster=turn["id"]))
    if not matched:
        raise NothingMatchedError(
            f"no answer of {printable(str(answers))} belongs to a question", hint="ids and questions must match"
        )
    counts["answered"] = matched - counts["answers_failed"]
    counts["unanswered"] = len(asked) - matched
    counts["answers_unmatched"] = len(given) - matched
    for name in [name for name, count in counts.items() if not count]:
        del counts[name]
    return samples
