"""lmms-eval: DATE_results.json with the figures of tasks, and DATE_samples_TASK.jsonl beside it.

In: `{"results": {task: {"metric,filter": figure, "metric_stderr,filter": error}}, "configs", "versions", "n-samples",
"higher_is_better", ...}`, as its tracker writes it; lm-eval's names (results_DATE.json, samples_TASK_DATE.jsonl) are
taken too. A line of samples has `doc_id` and the value of each metric, a number or an object with the task's
`score_key`. Out: metrics lmms_eval.TASK.METRIC, one for each filter. Without samples, or where a task has several
filters and its lines do not say which is theirs, figures of the set, with the standard error of the file as their
interval. The version of a task decides whether two runs may be compared; the version of the program is a note.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cineloop.documents import json_lines
from cineloop.errors import UsageError
from cineloop.log import printable
from v2t_eval.core.scores import ItemScores
from v2t_eval.imports.figures import ForeignMetric, Value, number_of, text_of
from v2t_eval.imports.reading import INVALID, ForeignResults

_DATE = re.compile(r"\d{8}_\d{6}|\d{4}-?\d{2}-?\d{2}T\d{2}-\d{2}-\d{2}(?:\.\d+)?")
_MOST_PROMPT = 500  # characters of a question
_AGGREGATES = ("_stderr", "paired_", "alias", "samples", "sample_len")


class Format:
    """See the module."""

    tool = "lmms-eval"
    patterns = ()

    def matches(self, tree: Any) -> bool:
        return (
            isinstance(tree, dict) and isinstance(tree.get("results"), dict) and isinstance(tree.get("configs"), dict)
            and "versions" in tree
        )  # fmt: skip

    def read(self, documents: Sequence[tuple[Path, Any]]) -> ForeignResults:
        ((path, tree),) = documents
        readings, clips = list[ForeignMetric](), dict[str, ItemScores]()
        for task, figures in tree["results"].items():
            if not isinstance(figures, dict):
                raise UsageError(f"{path.name}: the results of {text_of(task)} must be an object", code=INVALID)
            lines = _samples(path, task)
            for key in figures:
                reading = _reading(tree, task, key, lines, clips)
                if reading is not None:
                    readings.append(reading)
        facts = {"model": tree.get("model_name") or tree.get("model_source"), "date": tree.get("date"),
                 "lmms-eval": tree.get("lmms_eval_version"), "source commit": tree.get("git_hash")}  # fmt: skip
        return ForeignResults(
            readings, clips.values(), {name: text_of(value) for name, value in facts.items() if value}
        )


def _part(tree: Any, *names: str) -> Any:
    """A value some levels down; None where a level is missing or no object."""
    for name in names:
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def _reading(
    tree: dict[str, Any], task: str, key: str, lines: list[dict[str, Any]], clips: dict[str, ItemScores]
) -> ForeignMetric | None:
    metric, _, filter = key.partition(",")
    figure = number_of(tree["results"][task][key])
    if not filter or figure is None or any(word in metric for word in _AGGREGATES):
        return None
    task_filters = {each.partition(",")[2] for each in tree["results"][task]} - {""}
    filter_part = "" if len(task_filters) == 1 else f"[filter={text_of(filter)}]"
    name = f"lmms_eval.{text_of(task)}.{text_of(metric)}{filter_part}"
    counts = Counter(line["doc_id"] for line in lines)
    # The lines of all filters follow each other, and none says which it is of.
    can_tell = len(task_filters) == 1 or not counts or max(counts.values()) == 1
    notes = () if can_tell else (f"{len(task_filters)} filters, and the samples do not say which is theirs",)
    higher = _part(tree, "higher_is_better", task, metric)
    return ForeignMetric(
        name=name, figure=figure, standard_error=number_of(_part(tree, "results", task, f"{metric}_stderr,{filter}")),
        values=_values(tree, task, metric, lines, clips) if can_tell else (),
        n=_count(_part(tree, "n-samples", task, "effective")), notes=notes,
        higher_is_better=higher if isinstance(higher, bool) else None,
        fingerprint={
            "definition": name, "source": "lmms-eval", "task_version": text_of(_part(tree, "versions", task)),
            "shots": text_of(_part(tree, "n-shot", task)), "filter": text_of(filter),
            "source_library": f"lmms-eval {text_of(tree.get('lmms_eval_version') or 'of unknown version')}",
        },
    )  # fmt: skip


def _values(
    tree: dict[str, Any], task: str, metric: str, lines: list[dict[str, Any]], clips: dict[str, ItemScores]
) -> list[Value]:
    config = _part(tree, "configs", task)
    score_key, cluster_key = (_part(config, name) for name in ("score_key", "cluster_key"))
    values = []
    for line in lines:
        if metric not in line:
            continue
        given, cluster = line[metric], None
        if isinstance(given, dict):
            cluster = given.get(cluster_key) if cluster_key else None
            given = given.get(score_key or "score")
        id = f"{text_of(task)}#{text_of(line['doc_id'])}"
        named = f"{text_of(task)}/{text_of(cluster)}" if cluster is not None else id
        if id not in clips or cluster is not None:
            prompt = line["input"][:_MOST_PROMPT] if isinstance(line.get("input"), str) else None
            clips[id] = ItemScores(id=id, cluster=named, prompt=prompt)
        message = f"no finite number: {text_of(given)[:80]}"
        values.append(Value(id=id, value=number_of(given), cluster=named, message=message))
    # A metric whose samples hold lists or texts is computed of the whole set.
    return values if any(each.value is not None for each in values) else []


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _samples(results: Path, task: str) -> list[dict[str, Any]]:
    """What is kept of the lines of a task: ids, questions, numbers; empty without a file."""
    date = _DATE.search(results.name)
    near = [
        path for path in sorted(results.parent.glob("*samples_*.jsonl"))
        if (date is None or date[0] in path.name) and _task_of(path.name) == task
    ]  # fmt: skip
    if len(near) > 1:
        names = ", ".join(printable(path.name) for path in near[:3])
        raise UsageError(f"several files have the samples of {text_of(task)}: {names}", code=INVALID)
    if not near:
        return []
    kept = []
    for number, line in json_lines(near[0], code=INVALID, finite=False):
        if not isinstance(line.get("doc_id"), int | str):
            raise UsageError(f"{printable(near[0].name)}, line {number}: a sample needs doc_id", code=INVALID)
        large = ("resps", "filtered_resps", "token_counts", "doc", "arguments", "input_media", "target")
        kept.append({key: value for key, value in line.items() if key not in large})
    return kept


def _task_of(name: str) -> str:
    """The task in DATE_samples_TASK.jsonl, or samples_TASK_DATE.jsonl."""
    rest = name.removesuffix(".jsonl").partition("samples_")[2]
    return re.sub(rf"_(?:{_DATE.pattern})$", "", rest)
