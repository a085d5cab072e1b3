"""The clips as the page's script wants them: texts cut to a budget, values with their rank, strips as data URIs.

In: `Scores`, rows of metrics, strips, links. Out: JSON values, one entry a clip in the order of ids. Keys are left out
where there is nothing to say, so that a thousand entries stay small.
"""

from __future__ import annotations

import base64
import json
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from v2t_eval.report.summary import Row
from v2t_eval.report.thumbnails import Strip, Strips
from v2t_eval.scores import Scored, Scores

_TEXT_BYTES = 4_000_000  # of all clips' texts on a page
_MAX_TEXT_BYTES = 4_000  # of one clip's
_NUM_CLASSES = 5  # ranks are shown by fifths
_MAX_REFERENCES = 5

Entry = dict[str, Any]


@dataclass(frozen=True)
class Drawn:
    """What is shown of the files: strips (or why there is none) and addresses, by id."""

    strips: Strips = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)


def clip_entries(scores: Scores, found: Sequence[Row], drawn: Drawn) -> list[Entry]:
    """One entry a clip: id, path, facts of the file, texts, `v` values and `r` ranks by metric, failures, evidence."""
    valued = [row for row in found if row.values]
    ranks = [rank_classes(row) for row in valued]
    failures = _failures(scores)
    evidence = _evidence(scores)
    budget = min(_MAX_TEXT_BYTES, _TEXT_BYTES // max(len(scores.clips), 1))
    entries = []
    for clip in scores.clips:
        entry = _entry(clip, budget, drawn)
        entry["v"] = [_short(row.values[clip.id]) if clip.id in row.values else None for row in valued]
        entry["r"] = "".join(classes.get(clip.id, "-") for classes in ranks)
        failed = [one for one in failures.get(clip.id, []) if one["code"] != (clip.error or {}).get("code")]
        if failed:
            entry["fails"] = failed
        if clip.id in evidence:
            share = budget // 3 // len(evidence[clip.id])
            entry["more"] = [[name, cut(text, share)[0]] for name, text in evidence[clip.id]]
        entries.append(entry)
    return entries


def rank_classes(row: Row) -> dict[str, str]:
    """For each scored clip "0" (worst fifth) to "4" (best fifth) by the middle of its rank among equals.

    "n" for all where neither end is good.
    """
    up = row.result.higher_is_better
    if up is None:
        return dict.fromkeys(row.values, "n")
    ordered = sorted(row.values.values())
    classes = {}
    for id, value in row.values.items():
        middle = (bisect_left(ordered, value) + bisect_right(ordered, value)) / 2 / len(ordered)
        share = middle if up else 1 - middle
        classes[id] = str(min(_NUM_CLASSES - 1, int(share * _NUM_CLASSES)))
    return classes


def cut(text: str, max_bytes: int) -> tuple[str, int]:
    """The beginning of `text` that takes at most `max_bytes` in the page, and how many characters were left out."""
    kept = text[:max_bytes]
    while (size := _size(kept)) > max_bytes:
        kept = kept[: min(len(kept) - 1, len(kept) * max_bytes // size)]
    return kept, len(text) - len(kept)


def _size(text: str) -> int:
    escaped = sum(text.count(mark) for mark in "<>&")  # six bytes each in the page, one here
    return len(json.dumps(text, ensure_ascii=False).encode("utf-8", "backslashreplace")) + 5 * escaped


def _entry(clip: Scored, budget: int, drawn: Drawn) -> Entry:
    entry: Entry = {"id": clip.id}
    if clip.path is not None:
        entry["path"] = clip.path
    if clip.id in drawn.links:
        entry["link"] = drawn.links[clip.id]
    about = _about(clip)
    if about:
        entry["about"] = about
    strip = drawn.strips.get(clip.id)
    if isinstance(strip, Strip):
        entry["strip"] = base64.b64encode(strip.data).decode("ascii")
        entry["size"] = [strip.width, strip.height]
    elif strip is not None:
        entry["unseen"] = {"code": strip.code, "message": cut(strip.message, 300)[0]}
    if clip.status != "ok":
        error = clip.error or {"code": "FAILED", "message": "no reason was given"}
        entry["error"] = {key: cut(str(text), 400)[0] for key, text in error.items()}
    texts = [("Prompt", clip.prompt), ("Caption", clip.caption)]
    texts += [("Reference", text) for text in clip.references[:_MAX_REFERENCES]]
    said = [(label, text) for label, text in texts if text is not None]
    if said:
        entry["texts"] = [[label, *cut(text, 2 * budget // 3 // len(said))] for label, text in said]
    if len(clip.references) > _MAX_REFERENCES:
        entry["texts"].append(["", f"{len(clip.references) - _MAX_REFERENCES} more references in scores.json", 0])
    return entry


def _about(clip: Scored) -> str:
    parts = []
    if clip.duration_s is not None:
        parts.append(f"{clip.duration_s:.2f} s")
    if clip.fps is not None:
        parts.append(f"{clip.fps:.4g} fps")
    if clip.size is not None:
        height, width = clip.size
        parts.append(f"{width}×{height}")
    return " · ".join(parts)


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _failures(scores: Scores) -> dict[str, list[Entry]]:
    """By id: code and message of each reason, and the metrics it kept from scoring."""
    found: dict[str, dict[str, Entry]] = {}
    for result in scores.results:
        for failure in result.failures:
            reasons = found.setdefault(failure["id"], {})
            message = cut(failure["message"], 300)[0]
            reason = reasons.setdefault(failure["code"], {"code": failure["code"], "message": message, "metrics": []})
            reason["metrics"].append(result.name)
    return {id: list(reasons.values()) for id, reasons in found.items()}


def _as_text(value: Any) -> str:
    return value[:_MAX_TEXT_BYTES] if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _evidence(scores: Scores) -> dict[str, list[tuple[str, str]]]:
    """By id: what each metric says of the sample besides its value, as text."""
    found: dict[str, list[tuple[str, str]]] = {}
    for result in scores.results:
        for item in result.items:
            said = {
                key: value for key, value in item.items() if key not in ("id", "value") and value not in ({}, [], None)
            }
            if said:
                text = ", ".join(f"{key} {_as_text(value)}" for key, value in said.items())
                found.setdefault(item["id"], []).append((result.name, text))
    return found
