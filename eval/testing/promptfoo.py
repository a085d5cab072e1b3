"""An assertion of promptfoo: whether a clip shows its prompt, and keeps bounds, by the judge and metrics of everywhere.

In: what a provider returned, the path of a video, and promptfoo's context. Out: its GradingResult. A file of the user
holds one line, `from v2t_eval.testing.promptfoo import get_assert`, and is named in the configuration:

    assert:
      - type: python
        value: file://clip_assert.py
        config: {at_least: {sharpness: 20}, judge: v2t}

`config` takes the arguments of `assert_clip`: prompt, questions, at_least, at_most, judge, frozen_ok; and `cache`, a
folder for evidence, and `folder`, what a relative path is relative to. The prompt is that of the test unless it is
given, none where it is null. The output is a path, a `file://` address, or an object with `path`, `video` or `url`.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from cineloop.documents import parse_json
from cineloop.errors import CineloopError, PolicyError, UsageError

if TYPE_CHECKING:
    from v2t_eval.testing.clips import ClipEvaluator, ClipVerdict

_TAKES = ("prompt", "questions", "at_least", "at_most", "judge", "frozen_ok")
_PLACES = ("path", "video", "url")


def get_assert(output: Any, context: Mapping[str, Any]) -> dict[str, Any]:
    """The GradingResult of one output: `pass`, `score` (the share of questions and bounds that hold), `reason`,
    `namedScores` (values of bounded metrics), `componentResults` (a row a question and a bound). A clip that cannot be
    read or judged does not pass, and the reason has the code."""
    config = dict(context.get("config") or {})
    try:
        with contextlib.redirect_stdout(sys.stderr):  # promptfoo's own lines are on stdout
            return _grading(_verdict(output, config, context))
    except CineloopError as error:
        return {"pass": False, "score": 0.0, "reason": f"{error.code}: {error}"}


def _verdict(output: Any, config: dict[str, Any], context: Mapping[str, Any]) -> ClipVerdict:
    places = {name: Path(config.pop(name)) if config.get(name) else None for name in ("cache", "folder")}
    if unknown := sorted(set(config) - set(_TAKES)):
        known = ", ".join((*_TAKES, *places))
        raise UsageError(f"config: unknown key {', '.join(unknown)}", hint=f"it takes {known}")
    path = clip_path(output, places["folder"] or Path.cwd())
    asked = {"prompt": _prompt(context), **config}
    return _evaluator(places["cache"]).verdict(path, **asked)


def clip_path(output: Any, folder: Path) -> Path:
    """The file that an output names.

    Raises:
        UsageError: it names none. PolicyError: an address of the web, which is not fetched.
    """
    if isinstance(output, str) and output.lstrip().startswith("{"):
        with contextlib.suppress(ValueError):
            output = parse_json(output)
    if isinstance(output, Mapping):
        output = next((output[name] for name in _PLACES if output.get(name)), output)
        output = output.get("url") if isinstance(output, Mapping) else output  # promptfoo's video object
    if not isinstance(output, str) or not output.strip() or "\n" in output.strip():
        raise UsageError(f"expected the path of a video from the provider, got {output!r:.100}", code="NOT_A_FILE")
    text = output.strip()
    if "://" in text:
        parts = urlsplit(text)
        if parts.scheme != "file":
            raise PolicyError(f"{parts.scheme}:// addresses are not fetched: the provider must return a path")
        text = unquote(parts.path)
    return folder / text


def _prompt(context: Mapping[str, Any]) -> str | None:
    given = (context.get("vars") or {}).get("prompt") or context.get("prompt")
    return given if isinstance(given, str) else None


@cache
def _evaluator(folder: Path | None) -> ClipEvaluator:
    """One a process: models are loaded once."""
    from v2t_eval.testing.clips import ClipEvaluator

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    return ClipEvaluator(folder)


def _grading(verdict: ClipVerdict) -> dict[str, Any]:
    rows: list[dict[str, Any]] = [
        {"pass": bool(row["right"]), "score": float(bool(row["right"])),
         "reason": f"{row['question']} asked for: {row['wanted']}, seen: {row['answer']}"}
        for row in verdict.answers
        if row["status"] != "unaudited"
    ] + [
        {"pass": bound.holds, "score": float(bound.holds), "reason": bound.description} for bound in verdict.bounds
    ]  # fmt: skip
    share = sum(row["score"] for row in rows) / len(rows) if rows else float(bool(verdict))
    return {
        "pass": bool(verdict), "score": share, "reason": verdict.message, "componentResults": rows,
        "namedScores": {bound.metric: bound.value for bound in verdict.bounds if bound.value is not None},
    }  # fmt: skip
