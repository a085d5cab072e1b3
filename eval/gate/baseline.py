"""The baseline: scores that were kept, as one text file for a repository.

In: `Scores`, the suite's name and policy. Out: `baseline.json`, written whole or not at all, and read again. One clip a
line in the order of ids, so a change of one clip is a change of one line. Numbers are written as Python's shortest form
that reads back to the same bits: rounded ones would give the very same clips a change that is not zero. An update keeps
what was before it in `history`, with the reason.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cineloop.documents import read_json
from cineloop.errors import UsageError
from cineloop.files import write_atomic
from cineloop.lock import FolderLock
from cineloop.log import printable
from v2t_eval.metric import Figure, MetricResult
from v2t_eval.report.json import escaped
from v2t_eval.scores import Scored, Scores

SCHEMA = 1
STATE = ".cineloop"  # folder of the lock
_CLIP = ("id", "cluster", "prompt", "content", "path", "status", "num_frames", "fps", "size", "duration_s", "decoder",
         "frozen")  # fmt: skip
_METRIC = ("name", "headline", "n", "coverage", "higher_is_better", "reduction", "counts", "fingerprint")


@dataclass(frozen=True, kw_only=True)
class Update:
    """One entry of the history: when and why the figures became these, and what they were before."""

    date: str
    reason: str
    num_clips: int
    figures: dict[str, tuple[float | None, float | None]]
    differences: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What candidates are held against.

    Attributes:
        suite: name of the suite; `policy`: its gate when the baseline was made, as plain values.
        scores: results with the value of each clip and nothing else of it, clips, environment, sources.
        history: oldest first.
    """

    suite: str
    policy: dict[str, Any] = field(default_factory=dict)
    scores: Scores
    history: tuple[Update, ...] = ()


def made_of(scores: Scores, suite: str, policy: Mapping[str, Any], *, reason: str = "first baseline") -> Baseline:
    """A new baseline.

    Raises:
        UsageError: the scores hold no figure.
    """
    kept = _kept(scores)
    if not any(result.figures for result in kept.results):
        raise UsageError(
            "a baseline needs at least one figure, and nothing was scored", hint="see what the report says"
        )
    return Baseline(suite=suite, policy=dict(policy), scores=kept, history=(_update(None, kept, reason, ()),))


def updated(
    old: Baseline,
    scores: Scores,
    reason: str,
    *,
    suite: str,
    policy: Mapping[str, Any],
    differences: Sequence[str] = (),
) -> Baseline:
    """The baseline after `old`, with an entry in its history.

    Raises:
        UsageError: the reason says nothing; as `made_of`.
    """
    if not reason.strip():
        raise UsageError("an update needs a reason", hint='--reason "the sampler takes 20 steps now"')
    new = made_of(scores, suite, policy)
    last = _update(old.scores, new.scores, reason.strip(), differences)
    return replace(new, history=(*old.history, last))


def _kept(scores: Scores) -> Scores:
    """What a baseline keeps of scores; reading back what was written gives the same."""
    results = [
        replace(
            result,
            items=[{"id": item["id"], "value": item.get("value")} for item in result.items],
            failures=[{"id": each["id"], "code": each["code"], "message": ""} for each in result.failures],
            notes=(),
        )
        for result in scores.results
    ]
    clips = [Scored(**{name: getattr(clip, name) for name in _CLIP}) for clip in scores.clips]
    return replace(scores, results=results, clips=sorted(clips, key=lambda clip: clip.id), skipped=[], counts={})


def _update(old: Scores | None, new: Scores, reason: str, differences: Sequence[str]) -> Update:
    before = {} if old is None else {result.name: result for result in old.results}
    after = {result.name: result for result in new.results}
    figures = {name: (_value(before.get(name)), _value(after.get(name))) for name in dict.fromkeys([*before, *after])}
    date = new.environment.get("date") or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return Update(date=date, reason=reason, num_clips=len(new.clips), figures=figures, differences=tuple(differences))


def _value(result: MetricResult | None) -> float | None:
    return None if result is None or not result.figures else result.value


# --- the file


def lock(path: Path) -> FolderLock:
    """Exclusive use of a baseline file, beside it; a context manager.

    Raises (on entering):
        UsageError: LOCKED, another run writes it.
    """
    return FolderLock(path.absolute().parent / STATE / f"{path.name}.lock")


def write(baseline: Baseline, path: Path) -> None:
    """Write the file whole.

    Raises:
        MissingDependencyError: the disk is full. ValueError: a number is not finite.
    """
    write_atomic(path, render(baseline))


def render(baseline: Baseline) -> bytes:
    """The document, UTF-8."""
    scores = baseline.scores
    metrics = [_metric(result) for result in scores.results]
    clips = _clips(scores)
    head = {
        "schema": SCHEMA,
        "suite": baseline.suite,
        "policy": baseline.policy,
        "sources": scores.sources,
        "environment": scores.environment,
        "history": [asdict(each) for each in baseline.history],
        "metrics": metrics,
    }
    text = json.dumps(head, ensure_ascii=False, allow_nan=False, indent=1)
    lines = ",\n".join(f"  {_line(clip)}" for clip in clips)
    return escaped(f'{text[:-2]},\n "clips": [\n{lines}\n ]\n}}\n')


def _line(tree: dict[str, Any]) -> str:
    return json.dumps(tree, ensure_ascii=False, allow_nan=False)


def _metric(result: MetricResult) -> dict[str, Any]:
    low, high = (end if math.isfinite(end) else None for end in result.value_range)
    figures = {name: asdict(figure) for name, figure in result.figures.items()}
    return {**{name: getattr(result, name) for name in _METRIC}, "value_range": [low, high], "figures": figures}


def _clips(scores: Scores) -> list[dict[str, Any]]:
    """A row for each clip: what it is like, and its value or failure under each metric."""
    rows: dict[str, dict[str, Any]] = {}
    for clip in scores.clips:
        row = {name: getattr(clip, name) for name in _CLIP}
        if clip.cluster == clip.prompt:  # as a rule; a long prompt need not stand there twice
            del row["cluster"]
        rows[clip.id] = row | {"values": {}, "failed": {}}
    for result in scores.results:
        for item in result.items:
            rows[item["id"]]["values"][result.name] = item["value"]
        for each in result.failures:
            if each["id"] in rows:  # those of a second set are not
                rows[each["id"]]["failed"][result.name] = each["code"]
    for row in rows.values():
        if not row["failed"]:
            del row["failed"]
    return list(rows.values())


def read(path: Path) -> Baseline:
    """A baseline from its file.

    Raises:
        UsageError: it cannot be read, is no baseline, of another schema version, or damaged.
    """
    name = printable(str(path))
    try:
        tree = read_json(path)
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}", hint="make it with `v2t-eval gate init`") from error
    except ValueError as error:
        raise UsageError(f"{name} is no JSON: {error}", hint="take it from your version control again") from error
    if not isinstance(tree, dict) or "metrics" not in tree or "clips" not in tree:
        raise UsageError(f"{name} is no baseline", hint="make one with `v2t-eval gate init`")
    if tree.get("schema") != SCHEMA:
        newer = isinstance(tree.get("schema"), int) and tree["schema"] > SCHEMA
        hint = "a newer cineloop wrote it: upgrade this one" if newer else "make it again with `v2t-eval gate init`"
        raise UsageError(f"{name}: expected a baseline of schema {SCHEMA}, found {tree.get('schema')!r}", hint=hint)
    try:
        return _read(tree)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{name} is damaged: {error!r}", hint="take it from your version control again") from error


def _read(tree: dict[str, Any]) -> Baseline:
    clips = [_scored(row) for row in tree["clips"]]
    if len({clip.id for clip in clips}) < len(clips):
        raise ValueError("an id comes twice")
    scores = Scores(
        sources=tree["sources"], environment=tree["environment"], clips=clips,
        results=[_result(each, tree["clips"]) for each in tree["metrics"]],
    )  # fmt: skip
    history = tuple(
        Update(
            **{
                **each,
                "figures": {name: tuple(pair) for name, pair in each["figures"].items()},
                "differences": tuple(each["differences"]),
            }
        )
        for each in tree["history"]
    )
    return Baseline(suite=tree["suite"], policy=tree["policy"], scores=scores, history=history)


def _scored(row: dict[str, Any]) -> Scored:
    found = {name: row[name] for name in _CLIP if name != "cluster"}
    size = tuple(row["size"]) if row["size"] else None
    return Scored(**{**found, "cluster": row.get("cluster", row["prompt"]), "size": size})


def _result(tree: dict[str, Any], clips: list[dict[str, Any]]) -> MetricResult:
    name = tree["name"]
    low, high = tree["value_range"]
    items = [{"id": row["id"], "value": row["values"][name]} for row in clips if name in row["values"]]
    if not all(item["value"] is None or math.isfinite(item["value"]) for item in items):
        raise ValueError(f"a value of {name} is not finite")
    failures = [
        {"id": row["id"], "code": row["failed"][name], "message": ""} for row in clips if name in row.get("failed", {})
    ]
    return MetricResult(
        **{key: tree[key] for key in _METRIC if key != "reduction" or key in tree},  # older files lack it
        figures={key: Figure(**figure) for key, figure in tree["figures"].items()},
        items=items,
        failures=failures,
        value_range=(-math.inf if low is None else low, math.inf if high is None else high),
    )
