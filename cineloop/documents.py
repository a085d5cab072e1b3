"""Text and JSON from outside, read with bounds: the one reader of every file that a user or another program wrote.

In: a path, or text. Out: text, a JSON value, or JSON lines with their numbers. `OSError` and `ValueError` are for
callers that add what the file is for; `json_lines` names file and line itself. Refused are files that are not regular
(opening a named pipe would block until it has a writer), text that is not UTF-8, nesting deeper than
`MAX_DEPTH`, NaN and infinity, and lone surrogates (`"\\ud800"`), which neither a file name nor an output can hold.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from cineloop.errors import UsageError
from cineloop.files import open_file, read_bytes
from cineloop.log import printable

MAX_DEPTH = 64
MAX_DIGITS = 100  # of a whole number: reading one takes the square of its length
_LONE = re.compile("[\ud800-\udfff]")
_HALF_CHAR = re.compile(r"[\ud800-\udfff]|\\u[dD][89abABcdefCDEF]")  # pairs included: `_half_char` looks closer


def read_text(path: str | Path) -> str:
    """The text of a UTF-8 file without byte order mark, lines ended by newlines. Raises OSError, ValueError."""
    return decode_text(read_bytes(path)).replace("\r\n", "\n")


def read_json(path: str | Path, *, finite: bool = True) -> Any:
    """The JSON value in a file. Raises OSError; ValueError, see `parse_json`."""
    return parse_json(read_bytes(path), finite=finite)


def parse_json(text: str | bytes, *, finite: bool = True) -> Any:
    """The JSON value in `text`.

    Args:
        text: the document.
        finite: refuse NaN and infinity, which some models' configurations hold and no contract of ours.

    Raises:
        ValueError: it is not JSON, not UTF-8, nested deeper than `MAX_DEPTH`, or holds a number that is not finite,
            a whole number of more than `MAX_DIGITS` or a lone surrogate; the message says where.
    """
    text = decode_text(text) if isinstance(text, bytes) else text.removeprefix("\ufeff")
    numbers: dict[str, Any] = {"parse_float": _finite, "parse_int": _whole} if finite else {}
    try:
        value = json.loads(text, parse_constant=_refuse if finite else None, **numbers)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text.strip() else ""
        raise ValueError(f"{error.msg} at {line}column {error.colno}") from error
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from None
    if text.count("[") + text.count("{") > MAX_DEPTH:
        check_depth(value)
    # The first two look faster through a long text than the pattern does.
    if (not text.isascii() or "\\u" in text) and _HALF_CHAR.search(text) and (place := half_char(value)) is not None:
        raise ValueError(f"{place} holds half a character, a lone surrogate such as \\ud800")
    return value


def json_lines(
    source: str | Path | Iterable[str | bytes], where: str = "", *, code: str = "USAGE", finite: bool = True
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file of JSON lines, or of given lines, each with its line number from 1; blank lines pass.

    Args:
        source: a path, or lines.
        where: what messages call the source; the path itself by default.
        code: of the errors.
        finite: see `parse_json`.

    Raises:
        UsageError: the file cannot be read, or a line is no JSON object; the message names file and line.
    """
    lines: Iterable[str | bytes] = source if not isinstance(source, (str, Path)) else []
    if isinstance(source, (str, Path)):
        where = where or printable(str(source))
        lines = _lines(source, where, code)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line, finite=finite)
            if not isinstance(row, dict):
                raise ValueError(f"it is a {type(row).__name__}")
        except ValueError as error:
            text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
            raise UsageError(
                f"{where}, line {number}: expected a JSON object, got {printable(text.strip(), 60)!r} ({error})",
                code=code,
            ) from error
        yield number, row


def text_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a plain list, such as of prompts, each with its number from 1 and without spaces around it; blank
    lines and comments, which begin with `#`, are left out."""
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if line and not line.startswith("#"):
            yield number, line


def decode_text(data: bytes) -> str:
    """UTF-8 bytes as text without byte order mark. Raises ValueError that names the line."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"not UTF-8: byte 0x{data[error.start]:02x} in line {line}") from error


def utf8_bytes(text: str) -> bytes:
    """A document as UTF-8; half characters, which names of files that are not UTF-8 hold, are replaced."""
    return _LONE.sub("\ufffd", text).encode("utf-8")


def check_depth(value: Any, *, max_nodes: float = math.inf) -> None:
    """Raise ValueError for lists and mappings nested deeper than `MAX_DEPTH`, or of more than `max_nodes` values
    (a YAML alias counts each time: a few lines of them stand for billions of values, or for themselves)."""
    level, num_nodes = [value], 0
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for each in level
            if isinstance(each, (dict, list))
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        num_nodes += len(level)
        if not level:
            return
        if num_nodes > max_nodes:
            raise ValueError(f"more than {max_nodes:.0f} values")
    raise ValueError(f"nested deeper than {MAX_DEPTH} levels")


def half_char(value: Any, place: str = "") -> str | None:
    """The first field (`captions.short[0]`) of a parsed document whose text or name UTF-8 cannot hold, or None."""
    if isinstance(value, str):
        return None if _fits_utf8(value) else (f"the field {place!r}" if place else "the text")
    if isinstance(value, dict):
        for key, inner in value.items():
            path = f"{place}.{key}" if place else str(key)
            if isinstance(key, str) and not _fits_utf8(key):
                return f"the name of the field {printable(path)!r}"
            if (inside := half_char(inner, path)) is not None:
                return inside
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            if (inside := half_char(inner, f"{place}[{number}]")) is not None:
                return inside
    return None


def _lines(path: str | Path, where: str, code: str) -> Iterator[bytes]:
    try:
        with open_file(path) as file:
            yield from file
    except OSError as error:
        raise UsageError(f"cannot read {where}: {error.strerror}", code=code) from error


def _fits_utf8(text: str) -> bool:
    try:
        text.encode()  # a loop over the characters of a long text would take seconds
    except UnicodeEncodeError:
        return False
    return True


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text[:20]} is not finite as a float")
    return value


def _whole(text: str) -> int:
    if len(text.lstrip("-")) > MAX_DIGITS:
        raise ValueError(f"the number {text[:20]}... has {len(text)} digits; at most {MAX_DIGITS}")
    return int(text)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
