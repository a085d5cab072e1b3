"""Scores captions or answers against the truth of a manifest, joined by id.

In: `captions.jsonl` (caption records) or `answers.jsonl` (id, kind, question, answer, and reference or a truth to take
it from) and a `manifest.jsonl` with facts. Out: a `Report`. Every row of the truth counts: one without a caption, or
whose caption failed, has missed everything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval.metric import MetricResult, load_metric
from v2t.base.errors import EXIT_FAILED_ITEMS, EXIT_OK, NothingMatchedError, UsageError
from v2t.base.manifest import read_manifest

Row = dict[str, Any]
_STYLES = ("short", "detailed", "timed")


@dataclass(frozen=True, kw_only=True)
class Report:
    """Results by metric, what they were made from, and how many rows had no result."""

    sources: dict[str, str]
    results: list[MetricResult]
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """3 when a row had failed or is missing, else 0."""
        return EXIT_FAILED_ITEMS if self.counts.get("failed") or self.counts.get("missing") else EXIT_OK

    def as_dict(self, *, items: bool = True) -> dict[str, Any]:
        """JSON-able form; without `items` the verdicts row by row are left out."""
        results = [result.as_dict() for result in self.results]
        for result in results:
            if not items:
                del result["items"]
        return {"sources": self.sources, "counts": self.counts, "results": results}

    def table(self) -> str:
        """The figures as text: share right, 95 % interval, number of cases, what went wrong."""
        lines = []
        for result in self.results:
            lines.append(f"{result.name}: {result.n} rows, coverage {result.coverage:.3f}")
            width = max(len(kind) for kind in result.figures)
            for kind, figure in result.figures.items():
                rest = ", ".join(
                    f"{count} {name}" for name, count in figure.detail.items() if name != "right" and count
                )
                span = f"[{figure.low:.3f}, {figure.high:.3f}]"
                lines.append(
                    f"  {kind:<{width}}  {figure.value:.3f}  {span}  n={figure.n}{'  ' + rest if rest else ''}"
                )
        lines.append(", ".join(f"{name}: {count}" for name, count in self.counts.items()))
        return "\n".join(lines)


def score_captions(captions: Path, truth: Path, metrics: tuple[str, ...] = ("facts",), style: str = "auto") -> Report:
    """Score a file of caption records.

    Args:
        captions: caption records, one JSON object a line; of two records with one id the later counts.
        truth: manifest whose rows carry `facts`.
        metrics: names of text metrics that want a caption and facts.
        style: what the captions were asked to be; auto takes it from the records (short where they do not say).

    Raises:
        UsageError: a file cannot be read, a metric wants something else, the records are of several styles.
        NothingMatchedError: no record has an id of the truth, or the truth has no facts.
    """
    rows = [row for row in read_manifest(truth) if row.get("facts") is not None]
    if not rows:
        raise NothingMatchedError(f"{truth} has no row with facts", hint="`v2t world` writes such a manifest")
    records, repeated = _by_id(captions)
    known = [row["id"] for row in rows if row["id"] in records]
    if not known:
        raise NothingMatchedError(
            f"no id of {captions} stands in {truth}",
            hint=f"ids there look like {rows[0]['id']!r}, here like {next(iter(records), None)!r}",
        )
    style = _style(records, style)
    made = [_for_captions(name)(style) for name in metrics]
    failed = 0
    for row in rows:
        record = records.get(row["id"])
        ok = record is not None and record.get("status", "ok") == "ok" and isinstance(record.get("caption"), str)
        failed += record is not None and not ok
        for metric in made:
            text = record["caption"] if ok and record is not None else None
            metric.update(row["id"], text, row["facts"], why="missing" if record is None else "failed")
    counts = {"clips": len(rows), "captioned": len(known) - failed, "failed": failed}
    counts |= {"missing": len(rows) - len(known), "not_in_truth": len(records) - len(known), "repeated": repeated}
    sources = {"captions": captions.name, "truth": truth.name, "style": style}
    return Report(sources=sources, results=[metric.compute() for metric in made], counts=counts)


def score_answers(answers: Path, truth: Path | None = None) -> Report:
    """Score a file of answers.

    Args:
        answers: rows of id, kind, question, answer (null where none came), reference (may be left to the truth).
        truth: manifest whose rows carry `questions` (id, kind, question, answer); each of them must be answered.

    Raises:
        UsageError: a file cannot be read, or a row lacks what it needs.
        NothingMatchedError: there is nothing to judge.
    """
    given: dict[tuple[str, str], Row] = {}
    repeated = 0
    for number, row in _rows(answers):
        missing = [key for key in ("id", "question", "answer") if key not in row]
        if missing:
            raise UsageError(f"{answers}, line {number}: an answer needs {', '.join(missing)}")
        repeated += (row["id"], row["question"]) in given
        given[row["id"], row["question"]] = row
    if truth is None:
        asked = [(row["id"], _kind(row, answers), row["question"], _reference(row, answers)) for row in given.values()]
    else:
        asked = [
            (row["id"], turn["kind"], turn["question"], turn["answer"])
            for row in read_manifest(truth)
            for turn in row.get("questions", ())
        ]
    metric = load_metric("answers")()
    matched = failed = 0
    for id, kind, question, reference in asked:
        found = given.get((id, question))
        answer = found["answer"] if found is not None and isinstance(found["answer"], str) else None
        matched += found is not None
        failed += found is not None and answer is None
        metric.update(id, kind, question, answer, reference)
    if not matched:
        raise NothingMatchedError(f"no answer of {answers} belongs to a question", hint="ids and questions must match")
    counts = {"questions": len(asked), "answered": matched - failed, "failed": failed}
    counts |= {"missing": len(asked) - matched, "not_in_truth": len(given) - matched, "repeated": repeated}
    sources = {"answers": answers.name, "truth": truth.name if truth else "references in the rows"}
    return Report(sources=sources, results=[metric.compute()], counts=counts)


def _for_captions(name: str) -> type[Any]:
    metric = load_metric(name)
    if tuple(metric.needs) != ("caption", "facts"):
        raise UsageError(f"metric {name!r} needs {' and '.join(metric.needs)}, not a caption and facts")
    return metric


def _style(records: Mapping[str, Row], style: str) -> str:
    if style != "auto":
        if style not in _STYLES:
            raise UsageError(f"style must be one of auto, {', '.join(_STYLES)}, not {style!r}")
        return style
    found = {record.get("style") for record in records.values()} & set(_STYLES)
    if len(found) > 1:
        raise UsageError(
            f"the records are of several styles: {', '.join(sorted(map(str, found)))}", hint="choose one with --style"
        )
    return str(found.pop()) if found else "short"


def _by_id(path: Path) -> tuple[dict[str, Row], int]:
    records: dict[str, Row] = {}
    repeated = 0
    for number, row in _rows(path):
        if not isinstance(row.get("id"), str):
            raise UsageError(f"{path}, line {number}: a caption record needs a text 'id', got {row.get('id')!r}")
        repeated += row["id"] in records
        records[row["id"]] = row
    return records, repeated


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise UsageError(f"{path}, line {number}: expected a JSON object, got {line[:60]!r}")
                    yield number, row
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8: {error}") from error
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}: a line is not JSON: {error}") from error


def _kind(row: Row, path: Path) -> str:
    if not isinstance(row.get("kind"), str):
        raise UsageError(f"{path}: the answer to {row['question']!r} of {row['id']!r} has no kind")
    return str(row["kind"])


def _reference(row: Row, path: Path) -> str:
    if not isinstance(row.get("reference"), str):
        raise UsageError(
            f"{path}: the answer to {row['question']!r} of {row['id']!r} has no reference", hint="or give --truth"
        )
    return str(row["reference"])
