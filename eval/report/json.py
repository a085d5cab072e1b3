"""`scores.json`: the whole of a scoring, for programs; `v2t_eval.scores.read_scores` gives it back equal.

In: `Scores`. Out: UTF-8 JSON with a schema version, without NaN or infinity; half characters are replaced.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from v2t_eval.scores import Scores

_LONE = re.compile("[\ud800-\udfff]")  # names of files that are not UTF-8 reach Python so; no reader of ours takes them


def render(scores: Scores) -> bytes:
    """The document.

    Raises:
        ValueError: a value is NaN or infinite; the message names where.
    """
    tree = scores.as_dict()
    try:
        text = json.dumps(tree, ensure_ascii=False, allow_nan=False, indent=1)
    except ValueError as error:
        raise ValueError(f"scores hold a number that is not finite: {_where(tree) or error}") from error
    return escaped(text + "\n")


def escaped(text: str) -> bytes:
    """JSON text as UTF-8, half characters replaced."""
    return _LONE.sub("\ufffd", text).encode("utf-8")


def _where(tree: Any, path: str = "") -> str:
    """Where in the tree the first number that is not finite stands, "" when there is none."""
    if isinstance(tree, float):
        return "" if math.isfinite(tree) else f"{path} is {tree}"
    parts = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list | tuple) else ()
    for key, part in parts:
        found = _where(part, f"{path}.{_label(key, part)}" if path else str(key))
        if found:
            return found
    return ""


def _label(key: Any, part: Any) -> str:
    name = (part.get("name") or part.get("id")) if isinstance(part, dict) else None
    return f"{key}({name})" if name else str(key)
