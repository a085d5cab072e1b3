"""VBench: `NAME_eval_results.json`, a figure and the values of its videos for each dimension.

In: `{dimension: [figure, [{"video_path": ..., "video_results": ...}, ...]]}`, as VBench, its Long, I2V and
Trustworthiness parts and VBench-2.0 write it (`VBench.evaluate`); a boolean is 0 or 1; VBench-2.0 writes -1 for a
video that a dimension does not apply to. Figures of some dimensions weigh videos by frames, and imaging_quality has
percent per video and a share in all: `v2t_eval.imports.figures` tells both by the numbers. Out: metrics
vbench.DIMENSION. A clip's id is its path below the folder that all share, so that two runs in other folders have the
same ids; its prompt is in its name where it is called as VBench names videos. The file does not say which version
wrote it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from cineloop.errors import UsageError
from v2t_eval.core.inputs import prompt_and_index
from v2t_eval.core.metric import load_metric, metric_names
from v2t_eval.core.scores import ItemScores
from v2t_eval.imports.figures import ForeignMetric, Value, number_of, text_of
from v2t_eval.imports.reading import INVALID, ForeignResults

_NOT_ASKED = -1


class Format:
    """See the module."""

    tool = "VBench"
    patterns = ()

    def matches(self, tree: Any) -> bool:
        return isinstance(tree, dict) and bool(tree) and any(map(_is_entry, tree.values()))

    def read(self, documents: Sequence[tuple[Path, Any]]) -> ForeignResults:
        ((path, tree),) = documents
        for name, entry in tree.items():
            if not _is_entry(entry):
                raise UsageError(
                    f"{path.name}: {text_of(name)} must be a figure and a list of videos, got {text_of(entry)[:60]}",
                    code=INVALID,
                )
        paths = [row["video_path"] for _, rows in tree.values() for row in rows]
        folder = _common(paths)
        clips = {id: _clip(id, video) for id, video in ((_id(video, folder), video) for video in paths)}
        return ForeignResults([_reading(name, entry, folder, clips) for name, entry in tree.items()], clips.values())


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, list) and len(entry) == 2 and number_of(entry[0]) is not None and isinstance(entry[1], list)
        and all(isinstance(row, dict) and isinstance(row.get("video_path"), str) and "video_results" in row
                for row in entry[1])
    )  # fmt: skip


def _reading(dimension: str, entry: Any, folder: str, clips: dict[str, ItemScores]) -> ForeignMetric:
    figure, rows = entry
    name = f"vbench.{text_of(dimension)}"
    ours = load_metric(dimension) if dimension in metric_names() else None
    asked = list(_applicable(number_of(figure), rows))
    ids = [_id(row["video_path"], folder) for row in asked]
    values = [
        Value(id=id, value=number_of(row["video_results"]), cluster=clips[id].cluster)
        for id, row in zip(ids, asked, strict=True)
    ]
    left = len(rows) - len(asked)
    return ForeignMetric(
        name=name, figure=number_of(figure), values=values,
        higher_is_better=True if ours is None else ours.higher_is_better,
        value_range=(0.0, 1.0) if ours is None else ours.value_range,
        fingerprint={"definition": name, "source": "VBench", "settings": "{}"},
        notes=(f"{left} of {len(rows)} videos have -1: the dimension does not apply to them",) if left else (),
    )  # fmt: skip


def _applicable(figure: float | None, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The videos that a dimension applies to: those with -1 are left out where the file's figure leaves them out."""
    numbers = [number_of(row["video_results"]) for row in rows]
    rest = [number for number in numbers if number is not None and number != _NOT_ASKED]
    leaves_out = len(rest) < len(rows) and bool(rest) and figure is not None
    leaves_out = leaves_out and math.isclose(figure or 0.0, math.fsum(rest) / len(rest), rel_tol=1e-6, abs_tol=1e-9)
    for row, number in zip(rows, numbers, strict=True):
        if not (leaves_out and number == _NOT_ASKED):
            yield row


def _common(paths: Sequence[str]) -> str:
    folders = {os.path.dirname(path.replace("\\", "/")) for path in paths}
    try:
        return os.path.commonpath(folders) if folders else ""
    except ValueError:  # absolute and relative ones
        return ""


def _id(path: str, folder: str) -> str:
    place = PurePosixPath(path.replace("\\", "/"))
    inside = place.relative_to(folder) if folder and place.is_relative_to(folder) else place
    return inside.with_suffix("").as_posix() if inside.suffix else inside.as_posix()


def _clip(id: str, path: str) -> ItemScores:
    try:
        prompt, _ = prompt_and_index(PurePosixPath(path.replace("\\", "/")).name)
    except UsageError:
        return ItemScores(id=id, cluster=id)
    return ItemScores(id=id, cluster=prompt, prompt=prompt)
