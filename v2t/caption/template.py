"""Caption templates: jinja2 in its sandbox, over what is known of a clip.

In: a template over `VARIABLES`, such as `{{ caption }} ({{ folder }})`. Out: text. A template is refused before any
clip is captioned: where it is no jinja2, names what is not known, or fails on an example.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from cineloop.errors import ItemError, UsageError, did_you_mean

VARIABLES = ("caption", "id", "path", "name", "folder", "duration_s", "style", "model", "segments")
_EXAMPLE = {
    "caption": "A dog runs. It jumps.", "id": "dogs/dog 1.mp4", "path": "dogs/dog 1.mp4", "name": "dog 1",
    "folder": "dogs", "duration_s": 2.5, "style": "timed", "model": "starter",
    "segments": [
        {"start_s": 0.0, "end_s": 1.0, "caption": "A dog runs."},
        {"start_s": 1.0, "end_s": 2.5, "caption": "It jumps."},
    ],
}  # fmt: skip


def check(template: str) -> None:
    """Raise UsageError (code TEMPLATE), with the line where it is known, if a template is invalid."""
    from jinja2 import TemplateSyntaxError, meta

    try:
        unknown = meta.find_undeclared_variables(_sandbox().parse(template)) - set(VARIABLES)
        _compile(template)
    except TemplateSyntaxError as error:
        raise UsageError(f"the template: line {error.lineno}: {error.message}", code="TEMPLATE") from error
    if unknown:
        raise UsageError(
            f"the template: unknown name {min(unknown)!r}; choices: {', '.join(VARIABLES)}",
            code="TEMPLATE",
            hint=did_you_mean(min(unknown), VARIABLES),
        )
    try:
        render(template, _EXAMPLE)
    except ItemError as error:
        raise UsageError(f"{error.message}, on an example clip", code="TEMPLATE") from error


def render(template: str, values: Mapping[str, Any]) -> str:
    """The text of a template that `check` accepted.

    Raises:
        ItemError: code TEMPLATE, it fails on these values.
    """
    try:
        return str(_compile(template).render(values))
    except Exception as error:  # jinja2's own errors, and whatever an expression of the template raises
        raise ItemError(f"the template fails: {error}", code="TEMPLATE") from error


@lru_cache(maxsize=8)
def _compile(template: str) -> Any:
    return _sandbox().from_string(template)


@lru_cache(maxsize=1)
def _sandbox() -> Any:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    return SandboxedEnvironment(
        undefined=StrictUndefined, keep_trailing_newline=True, finalize=lambda value: "" if value is None else value
    )
