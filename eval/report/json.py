"""`scores.json` and baselines: the whole of a scoring, for programs; `v2t_eval.core.scores.read_scores` gives it back
equal.

In: `Scores`. Out: UTF-8 JSON with a schema version, without NaN or infinity; half characters are replaced. What has an
id is one line (a clip; its value under a metric), so that a changed value changes one line. Numbers are written as
Python's shortest form that reads back to the same bits: rounded ones would give the same clips a change that is not
zero.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from v2t_eval.core.scores import Scores

_LONE = re.compile("[\ud800-\udfff]")  # names of files that are not UTF-8 reach Python so; no reader here accepts them


def render(scores: Scores) -> bytes:
    """The document.

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


def utf8_bytes(text: str) -> bytes:
    """JSON text as UTF-8, half characters replaced."""
    return _LONE.sub("\ufffd", text).encode("utf-8")


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
