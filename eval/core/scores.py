"""Scores: the result of scoring a set, written to and read from `scores.json`.

In: results of metrics and their clips. Out: one JSON document with a schema version. Reports, the gate and
comparisons read this and nothing else. A baseline is scores with a history (`v2t_eval.gate.baseline`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cineloop.documents import read_json, utf8_bytes
from cineloop.errors import (
    EXIT_ENVIRONMENT,
    EXIT_FAILED_ITEMS,
    EXIT_OK,
    MissingDependencyError,
    NothingMatchedError,
    UsageError,
)
from cineloop.log import printable
from v2t_eval.core.measurement import ABSTENTIONS
from v2t_eval.core.metric import Figure, MetricResult

SCHEMA = 1
RESULTS = "scores.json"


@dataclass(frozen=True, kw_only=True)
class ItemScores:
    """One clip or text of the set. `content` is the key of the clip's bytes; `status` is ok or failed (could not be
    read); `error` says why. `cluster` is shared by samples that are not independent. `size` is (height, width) in
    pixels; `start_s`, `end_s` are the part of the file that is the clip, None for the whole file. `decoder` read its
    frames; `frozen`: every frame is the first one, see `v2t_eval.vbench.still`; both None where no metric read
    frames."""

    id: str
    cluster: str
    status: str = "ok"
    path: str | None = None
    content: str | None = None
    prompt: str | None = None
    caption: str | None = None
    references: tuple[str, ...] = ()
    duration_s: float | None = None
    fps: float | None = None
    size: tuple[int, int] | None = None
    start_s: float | None = None
    end_s: float | None = None
    num_frames: int | None = None
    decoder: str | None = None
    frozen: bool | None = None
    error: dict[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class AbsentMetric:
    """A metric without a result: what is missing, and how to get it. `code` ENVIRONMENT: this machine lacks it;
    NO_<NAME>: no sample has what it needs, which a suite allows; METRIC_ERROR: it failed."""

    metric: str
    reason: str
    hint: str = ""
    code: str = "ENVIRONMENT"

    @property
    def found_nothing(self) -> bool:
        """No sample has what it needs; nothing failed."""
        return self.code.startswith("NO_")


def require_ready(skipped: Sequence[AbsentMetric], decides: Sequence[str]) -> None:
    """Refuse to go on without a metric that decides.

    Raises:
        MissingDependencyError: one of them could not run here.
    """
    for one in skipped:
        if one.metric in decides and not one.found_nothing:
            raise MissingDependencyError(
                f"{one.metric} decides and could not run: {one.reason}", code=one.code, hint=one.hint
            )


@dataclass(frozen=True, kw_only=True)
class Update:
    """One entry of a baseline's history: date and reason of the change, figures before and after."""

    date: str
    reason: str
    num_clips: int
    figures: dict[str, tuple[float | None, float | None]]
    differences: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Results by metric, with their clips and sources.

    Attributes:
        sources: sources of clips, prompts, captions, references and truth, by role.
        clips: every expected sample, in the order of ids.
        skipped: requested metrics that could not run.
        environment: versions, device, and the date.
        suite, policy, history: of a baseline: the suite's name, its gate as plain values, and the history of the
            figures, oldest first; empty otherwise.
    """

    sources: dict[str, str]
    clips: list[ItemScores]
    results: list[MetricResult]
    skipped: list[AbsentMetric] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    suite: str = ""
    policy: dict[str, Any] = field(default_factory=dict)
    history: tuple[Update, ...] = ()

    @property
    def by_id(self) -> dict[str, ItemScores]:
        return {clip.id: clip for clip in self.clips}

    @property
    def by_name(self) -> dict[str, MetricResult]:
        return {result.name: result for result in self.results}

    @property
    def exit_code(self) -> int:
        """5 when a metric could not run here; 3 when a sample failed, or a metric has no figure at all; else 0.

        A metric that declines samples for a reason it documents (`ABSTENTIONS`: the referee cannot read a figure, a
        clip has one frame) has not failed: the coverage reports it.
        """
        if any(not one.found_nothing for one in self.skipped):
            return EXIT_ENVIRONMENT
        return EXIT_FAILED_ITEMS if any(map(_has_failed, self.results)) else EXIT_OK

    def require_all(self) -> None:
        """Raise for the first metric that was skipped.

        Raises:
            NothingMatchedError: no sample has what it needs. MissingDependencyError: this machine lacks something.
        """
        for one in self.skipped:
            kind = NothingMatchedError if one.found_nothing else MissingDependencyError
            raise kind(f"{one.metric}: {one.reason}", hint=one.hint)

    def result(self, name: str) -> MetricResult:
        """The result of the metric called `name`.

        Raises:
            KeyError: there is none.
        """
        return self.by_name[name]

    def as_dict(self, *, items: bool = True) -> dict[str, Any]:
        """JSON-able form; without `items` the values of the single samples are left out."""
        results = [result.as_dict() for result in self.results]
        if not items:
            for result in results:
                del result["items"], result["failures"]
        kept = {"suite": self.suite, "policy": self.policy, "history": [asdict(one) for one in self.history]}
        return {
            "schema": SCHEMA,
            **(kept if self.history else {}),
            "sources": self.sources,
            "environment": self.environment,
            "counts": self.counts,
            "results": results,
            "skipped": [asdict(one) for one in self.skipped],
            "clips": [asdict(clip) for clip in self.clips] if items else len(self.clips),
        }


def _has_failed(result: MetricResult) -> bool:
    return not result.figures or any(failure["code"] not in ABSTENTIONS for failure in result.failures)


def render_scores(scores: Scores) -> bytes:
    """`scores.json`; `read_scores` gives it back equal. UTF-8 without NaN or infinity; half characters are replaced.
    What has an id is one line (a clip; its value under a metric), so that a changed value changes one line. Numbers are
    written as Python's shortest form that reads back to the same bits: rounded ones would give the same clips a change
    that is not zero.

    Raises:
        ValueError: a value is NaN or infinite; the message names where.
    """
    tree = scores.as_dict()
    try:
        text = _lines(tree)
    except ValueError as error:
        raise ValueError(f"scores hold a number that is not finite: {_where(tree) or error}") from error
    return utf8_bytes(text + "\n")


def _lines(tree: Any, start: str = "\n") -> str:
    """`tree` as JSON; objects without an id and lists of objects go over several lines, each begun by `start`."""
    inner = f"{start} "
    if isinstance(tree, dict) and tree and "id" not in tree:
        parts = [f"{inner}{json.dumps(key, ensure_ascii=False)}: {_lines(value, inner)}" for key, value in tree.items()]
        return f"{{{','.join(parts)}{start}}}"
    if isinstance(tree, list | tuple) and any(isinstance(one, dict) for one in tree):
        return f"[{','.join(inner + _lines(one, inner) for one in tree)}{start}]"
    return json.dumps(tree, ensure_ascii=False, allow_nan=False)


def _where(tree: Any, path: str = "") -> str:
    """The path of the first number in the tree that is not finite, "" when there is none."""
    if isinstance(tree, float):
        return "" if math.isfinite(tree) else f"{path} is {tree}"
    parts = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list | tuple) else ()
    for key, part in parts:
        place = _where(part, f"{path}.{_label(key, part)}" if path else str(key))
        if place:
            return place
    return ""


def _label(key: Any, part: Any) -> str:
    name = (part.get("name") or part.get("id")) if isinstance(part, dict) else None
    return f"{key}({name})" if name else str(key)


def read_scores(path: Path) -> Scores:
    """Scores from the JSON document that `v2t-eval score` or `v2t-eval gate init` wrote.

    Raises:
        UsageError: the file cannot be read, is not such a document, damaged, or of another schema version.
    """
    name = printable(str(path))
    again = "make it again: `v2t-eval score` writes scores, `v2t-eval gate init CLIPS --suite SUITE -o FILE` a baseline"
    try:
        tree = read_json(path)
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}", hint=again) from error
    except ValueError as error:
        raise UsageError(f"{name} is not JSON: {error}", hint="take it from your version control again") from error
    schema = tree.get("schema") if isinstance(tree, dict) else type(tree).__name__
    if schema != SCHEMA:
        newer = isinstance(schema, int) and schema > SCHEMA
        hint = "a newer cineloop wrote it: upgrade this one" if newer else again
        raise UsageError(f"{name}: expected scores of schema {SCHEMA}, found {schema!r}", hint=hint)
    try:
        return _read(tree)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{name} is damaged: {error!r}", hint=again) from error


def _read(tree: dict[str, Any]) -> Scores:
    scores = Scores(
        sources=tree["sources"],
        environment=tree["environment"],
        counts=tree["counts"],
        clips=[_item_of(clip) for clip in tree["clips"]],
        results=[_result(result) for result in tree["results"]],
        skipped=[AbsentMetric(**one) for one in tree["skipped"]],
        suite=tree.get("suite", ""),
        policy=tree.get("policy", {}),
        history=tuple(_update(one) for one in tree.get("history", ())),
    )
    if len(scores.by_id) < len(scores.clips):
        raise ValueError("an id comes twice")
    return scores


def _item_of(tree: dict[str, Any]) -> ItemScores:
    size = tree.get("size")
    return ItemScores(**{**tree, "references": tuple(tree["references"]), "size": tuple(size) if size else None})


def _update(tree: dict[str, Any]) -> Update:
    figures = {name: (old, new) for name, (old, new) in tree["figures"].items()}
    return Update(**{**tree, "figures": figures, "differences": tuple(tree["differences"])})


def _result(tree: dict[str, Any]) -> MetricResult:
    low, high = tree["value_range"]
    for item in tree["items"]:
        if not isinstance(item.get("value"), int | float | None):
            raise ValueError(f"the value of {item['id']} by {tree['name']} is not a number: {item['value']!r}")
    return MetricResult(
        **{
            **tree,
            "figures": {name: Figure(**figure) for name, figure in tree["figures"].items()},
            "notes": tuple(tree["notes"]),
            "value_range": (-math.inf if low is None else low, math.inf if high is None else high),
        }
    )
