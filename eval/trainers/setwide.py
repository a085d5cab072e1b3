"""Findings of clips beside one another and of their files' names: suffixes, folders, stems, rates, orientation.

In: a `CheckedSet` with its clips. Out: findings, added to the clips.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

from v2t_eval.trainers.findings import Effect, SetFinding
from v2t_eval.trainers.rows import CheckedClip, CheckedSet

T = TypeVar("T")
_USUAL, _FEWEST = 0.6, 5  # share of the clips, of at least so many, that makes something usual
_SAME_RATE = 0.02
_UPRIGHT, _LYING = 0.95, 1.05  # width/height, below and above


def check_files(checked: CheckedSet) -> None:
    """Names: what the trainer does not find, and what it takes for one."""
    rules = checked.rules.files
    stems = Counter(os.path.splitext(clip.path)[0] for clip in checked.clips if rules.lists(_suffix(clip)))
    for clip in checked.clips:
        suffix, stem = _suffix(clip), os.path.splitext(clip.path)[0]
        if not rules.lists(suffix):
            _add(clip, "UNLISTED_SUFFIX", "dropped", f"{suffix or 'no suffix'}: {rules.unlisted}")
        if os.path.dirname(clip.path) and not rules.subfolders and checked.captions.form not in ("two-file",):
            _add(clip, "IN_SUBFOLDER", "dropped", f"{checked.rules.title} looks for clips in the folder itself")
        if stems[stem] > 1 and rules.lists(suffix):
            effect: Effect = "stops" if rules.same_stem == "stops" else "changed"
            _add(
                clip, "SAME_STEM", effect, f"{stems[stem]} clips are called {os.path.basename(stem)}: {rules.same_stem}"
            )


def check_against_set(checked: CheckedSet) -> None:
    """Rates and orientations that most clips do not have."""
    clips = [clip for clip in checked.clips if clip.footage is not None]
    rate = usual([round(_rate(clip), 1) for clip in clips])
    for clip in clips:
        if rate is not None and checked.rules.fps is None and abs(_rate(clip) / rate - 1) > _SAME_RATE:
            effect: Effect = "note" if checked.rules.frames.short == "dropped" else "changed"
            _add(clip, "MIXED_RATE", effect, f"{_rate(clip):.3f} frames a second, most clips have {rate:g}")
    way = usual([_way(clip) for clip in clips])
    for clip in clips:
        if way is not None and _way(clip) != way and "square" not in (way, _way(clip)):
            _add(clip, "OTHER_ORIENTATION", "note", f"it is {_way(clip)}, most clips are {way}: a bucket apart")


def usual(values: Sequence[T]) -> T | None:
    """What most of the values are; None where nothing is usual, or of too few values."""
    if len(values) < _FEWEST:
        return None
    value, count = Counter(values).most_common(1)[0]
    return value if count >= _USUAL * len(values) else None


def _add(clip: CheckedClip, code: str, effect: Effect, message: str) -> None:
    clip.findings.append(SetFinding(code=code, effect=effect, message=message))


def _suffix(clip: CheckedClip) -> str:
    return os.path.splitext(clip.path)[1]


def _rate(clip: CheckedClip) -> float:
    return 0.0 if clip.footage is None else clip.footage.info.fps


def _way(clip: CheckedClip) -> str:
    if clip.footage is None:
        return ""
    info = clip.footage.info
    aspect = info.width / info.height
    return "upright" if aspect < _UPRIGHT else "lying" if aspect > _LYING else "square"
