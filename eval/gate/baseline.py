"""The baseline: scores with a history, stored as one text file in a repository.

In: `Scores`, the suite's name and policy, the baseline before. Out: `Scores` that hold of each clip what a comparison
needs and nothing else; a file, written whole or not at all (`v2t_eval.core.scores.read_scores` reads it).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cineloop.errors import UsageError
from cineloop.files import write_atomic
from cineloop.lock import FolderLock
from cineloop.log import printable
from v2t_eval.core.metric import MetricResult
from v2t_eval.core.scores import Scores, Update, read_scores, render_scores

STATE = ".cineloop"  # folder of the lock


def baseline_of(
    scores: Scores,
    suite: str,
    policy: Mapping[str, Any],
    *,
    old: Scores | None = None,
    reason: str = "first baseline",
    differences: Sequence[str] = (),
) -> Scores:
    """The baseline made of these scores. `old`: the baseline that it replaces, whose history continues.

    Raises:
        UsageError: the scores hold no figure.
    """
    if not any(result.figures for result in scores.results):
        raise UsageError("a baseline needs at least one figure, and nothing was scored", hint="see the report")
    before = {} if old is None else old.by_name
    names = dict.fromkeys([*before, *scores.by_name])
    update = Update(
        date=scores.environment.get("date") or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        reason=reason,
        num_clips=len(scores.clips),
        figures={name: (_value(before.get(name)), _value(scores.by_name.get(name))) for name in names},
        differences=tuple(differences),
    )
    clips = [replace(clip, caption=None, references=(), error=None) for clip in scores.clips]
    return replace(
        scores,
        clips=sorted(clips, key=lambda clip: clip.id),
        results=[_bare(result) for result in scores.results],
        skipped=[],
        counts={},
        suite=suite,
        policy=dict(policy),
        history=(*(old.history if old else ()), update),
    )


def _bare(result: MetricResult) -> MetricResult:
    items = [{"id": item["id"], "value": item.get("value")} for item in result.items]
    failures = [{"id": each["id"], "code": each["code"], "message": ""} for each in result.failures]
    return replace(result, items=sorted(items, key=lambda item: str(item["id"])), failures=failures, notes=())


def _value(result: MetricResult | None) -> float | None:
    return None if result is None or not result.figures else result.value


def lock(path: Path) -> FolderLock:
    """Lock of a baseline file, stored next to it; a context manager.

    Raises (on entering):
        UsageError: LOCKED, another run writes it.
    """
    return FolderLock(path.absolute().parent / STATE / f"{path.name}.lock")


def write(baseline: Scores, path: Path) -> None:
    """Write the file whole.

    Raises:
        MissingDependencyError: the disk is full. ValueError: a number is not finite.
    """
    write_atomic(path, render_scores(baseline))


def read(path: Path) -> Scores:
    """A baseline from its file.

    Raises:
        UsageError: the file holds scores without a history; else as `v2t_eval.core.scores.read_scores`.
    """
    scores = read_scores(path)
    if not scores.history:
        hint = "make one: v2t-eval gate init CLIPS|RESULTS --suite SUITE -o FILE"
        raise UsageError(f"{printable(str(path))} holds scores without a history, and is not a baseline", hint=hint)
    return scores
