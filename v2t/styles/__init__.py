"""Named caption styles, one small file each: the prompt a captioner gets, how long an answer may be, how to read it.

A style module defines `PROMPT`, `MAX_NEW_TOKENS` and, where the answer has parts, one of the readers
`segments(text, duration_s)` (parts with times) and `fields(text)` (parts with names). The words that a video model
wants are a style with rules: `check(draft)` and the text encoder `ENCODER` (`v2t.styles.dialect`). A user adds a style
with a YAML file, which holds words and never code: `prompt`, and if wanted `max_new_tokens` and `read_as`, the name of
a style here whose readers and rules are to be used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from cineloop import config, plugin
from cineloop.errors import UsageError
from cineloop.log import printable
from v2t.encoders import reader
from v2t.styles.dialect import CaptionDialect

_ENDINGS = (".yaml", ".yml")
_MAX_BYTES = 64 << 10


@dataclass(frozen=True, kw_only=True)
class Style:
    """One way to ask for a caption.

    Attributes:
        name: what records call it.
        prompt: the words the captioner gets.
        max_new_tokens: longest answer, >= 1.
        segments: reads an answer's timed parts, `(text, duration_s) -> [{start_s, end_s, caption}]`, or None.
        fields: reads an answer's named parts, `text -> {name: value}`, or None.
        dialect: the rules that a caption obeys, or None.
    """

    name: str
    prompt: str
    max_new_tokens: int = 256
    segments: Callable[[str, float], list[dict[str, Any]]] | None = None
    fields: Callable[[str], dict[str, Any]] | None = None
    dialect: CaptionDialect | None = None

    def __post_init__(self) -> None:
        if not self.prompt.strip():
            raise UsageError(f"style {printable(self.name)!r}: prompt must say something")
        if self.max_new_tokens < 1:
            raise UsageError(
                f"style {printable(self.name)!r}: max_new_tokens must be at least 1, got {self.max_new_tokens}"
            )


@dataclass(frozen=True, kw_only=True)
class _File:
    """What a user's style file may say."""

    prompt: str
    max_new_tokens: int = 256
    read_as: str = ""


def load(name: str) -> Style:
    """The style of a name, or of a YAML file.

    Args:
        name: a file of this folder ("short"), or the path of a `.yaml` file.

    Raises:
        UsageError: no such style or file, an unknown key, a value out of range.
    """
    if name.lower().endswith(_ENDINGS):
        return _from_file(Path(name))
    module = plugin.load("v2t.styles", name, "PROMPT")
    return Style(
        name=name,
        prompt=module.PROMPT,
        max_new_tokens=module.MAX_NEW_TOKENS,
        segments=getattr(module, "segments", None),
        fields=getattr(module, "fields", None),
        dialect=_dialect_of(name, module),
    )


def dialects() -> list[str]:
    """Names of the styles with rules."""
    return plugin.choices("v2t.styles", "check")


def _dialect_of(name: str, module: ModuleType) -> CaptionDialect | None:
    if not hasattr(module, "check"):
        return None
    encoder = getattr(module, "ENCODER", "")
    return CaptionDialect(name=name, check=module.check, reader=reader(encoder) if encoder else None)


def _from_file(path: Path) -> Style:
    where = printable(str(path))
    try:
        size = path.stat().st_size
    except OSError as error:
        raise UsageError(f"cannot read the style {where}: {error.strerror}", code="STYLE") from error
    if size > _MAX_BYTES:
        raise UsageError(f"the style {where} has {size} bytes; at most {_MAX_BYTES}", code="STYLE")
    try:
        given = config.from_dict(_File, config.read_yaml(path))
    except UnicodeDecodeError as error:
        raise UsageError(f"the style {where} is not UTF-8: {error}", code="STYLE") from error
    except UsageError as error:
        raise UsageError(f"the style {where}: {error.message}", code="STYLE", hint=error.hint) from error
    like = load(given.read_as) if given.read_as and not given.read_as.lower().endswith(_ENDINGS) else None
    if given.read_as and like is None:
        raise UsageError(f"the style {where}: read_as names a style of this package, not a file", code="STYLE")
    return Style(
        name=path.stem,
        prompt=given.prompt,
        max_new_tokens=given.max_new_tokens,
        segments=like.segments if like else None,
        fields=like.fields if like else None,
        dialect=like.dialect if like else None,
    )
