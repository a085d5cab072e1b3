"""Captions that exist, checked against a dialect: the job behind `v2t check-captions`.

In: an output folder of `v2t caption`, a folder of `.txt` files, a file of JSON lines, or one `.txt` file; a style with
rules (`v2t.styles.dialect`). Out: a `CaptionCheck`. Nothing is written. A file or row that cannot be read is a
caption with an error; the others are checked all the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cineloop.documents import json_lines
from cineloop.errors import EXIT_FAILED_ITEMS, EXIT_OK, NothingMatchedError, Notice, UsageError
from cineloop.files import escape_name, read_bytes, unescape_name
from cineloop.log import plural, printable
from cineloop.manifest import is_rejected
from v2t import styles
from v2t.caption.outputs import STATE_FOLDER, CaptionFolder
from v2t.caption.wording import Wording
from v2t.styles.dialect import CaptionDialect, Draft, is_error
from v2t.writers import txt

_LINES = (".jsonl", ".json", ".ndjson")
_KEYS = ("caption", "captions", "prompt", "text")  # of a row, the first that it has
_MOST_LINES = 20  # of captions that fail, on a terminal


@dataclass(frozen=True, kw_only=True)
class CheckedCaption:
    """One caption and what its dialect objects to, errors first."""

    id: str
    tokens: int | None  # None without an encoder, or where the caption could not be read
    objections: tuple[Notice, ...]

    @property
    def passes(self) -> bool:
        """Whether there is no error."""
        return not any(map(is_error, self.objections))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        objections = [
            {"code": o.code, "level": "error" if is_error(o) else "advice", "message": o.message}
            for o in self.objections
        ]
        return {"id": self.id, "ok": self.passes, "tokens": self.tokens, "objections": objections}


@dataclass(frozen=True, kw_only=True)
class CaptionCheck:
    """The result for every caption of a place.

    Attributes:
        counted: how tokens are counted; "" without an encoder.
        skipped: clips without a caption, since captioning them failed.
    """

    style: str
    counted: str
    captions: list[CheckedCaption] = field(default_factory=list)
    skipped: int = 0

    @property
    def num_failed(self) -> int:
        """Captions with an error."""
        return sum(not each.passes for each in self.captions)

    @property
    def exit_code(self) -> int:
        """3 where captions have errors; advice alone is 0."""
        return EXIT_FAILED_ITEMS if self.num_failed else EXIT_OK

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the counts, then every caption."""
        return {
            "style": self.style,
            "tokens": self.counted,
            "num_captions": len(self.captions),
            "num_failed": self.num_failed,
            "skipped": self.skipped,
            "codes": dict(self._codes()),
            "captions": [each.to_dict() for each in self.captions],
        }

    def lines(self) -> list[str]:
        """For a terminal: a table of codes, then the captions that fail."""
        num_advice = sum(each.passes and bool(each.objections) for each in self.captions)
        total = f"{self.style}: {plural(len(self.captions), 'caption')}, {self.num_failed} with errors"
        total += f", {num_advice} more with advice" if num_advice else ""
        total += f"; {plural(self.skipped, 'clip')} without a caption" if self.skipped else ""
        lines = [total + (f" (tokens are {self.counted})" if self.counted else "")]
        for code, count in self._codes():
            level = "error" if is_error(Notice(code, "")) else "advice"
            lines.append(f"  {code:<20} {level:<7} {count:>6}")
        failing = [each for each in self.captions if not each.passes]
        for each in failing[:_MOST_LINES]:
            first = each.objections[0]
            lines.append(f"{printable(each.id)}\t{first.code}\t{printable(first.message)}")
        if len(failing) > _MOST_LINES:
            lines.append(f"and {len(failing) - _MOST_LINES} more; --json names every one")
        return lines

    def _codes(self) -> list[tuple[str, int]]:
        """Captions with each code, errors first, then by number."""
        codes = Counter(code for each in self.captions for code in {o.code for o in each.objections})
        return sorted(codes.items(), key=lambda item: (not is_error(Notice(item[0], "")), -item[1], item[0]))


def check(place: Path | str, style: str, wording: Wording | None = None) -> CaptionCheck:
    """Check every caption of a place.

    Args:
        place: an output folder of `v2t caption`, a folder of `.txt` files, a `.jsonl` or a `.txt` file.
        style: a style with rules, or a YAML file that is read as one.
        wording: names another text encoder or its tokenizer; the rest of it is not used.

    Raises:
        UsageError: the style has no rules, the place holds captions of another kind, a line of it is no JSON object.
        NothingMatchedError: there is no caption. MissingDependencyError: NO_TOKENIZER.
    """
    place = Path(place)
    dialect = (wording or Wording()).read_by(_dialect(style))
    assert dialect is not None
    reader, checked, skipped = dialect.reader, [], 0
    for clip_id, text, duration_s in _captions(place):
        if isinstance(text, Notice):
            checked.append(CheckedCaption(id=clip_id, tokens=None, objections=(text,)))
        elif text is None:
            skipped += 1
        else:
            objections = tuple(dialect.objections(Draft(text=text, duration_s=duration_s)))
            tokens = reader.count(text) if reader else None
            checked.append(CheckedCaption(id=clip_id, tokens=tokens, objections=objections))
    if not checked:
        raise NothingMatchedError(
            f"{printable(str(place))} holds no captions",
            hint="an output folder of v2t caption, a folder of .txt files, or a .jsonl file with a caption in each row",
        )
    counted = reader.how if reader else ""
    return CaptionCheck(style=style, counted=counted, captions=checked, skipped=skipped)


def _dialect(style: str) -> CaptionDialect:
    dialect = styles.load(style).dialect
    if dialect is None:
        raise UsageError(
            f"style {printable(style)!r} has no rules to check",
            code="NO_RULES",
            hint=f"one of {', '.join(styles.dialects())}",
        )
    return dialect


_Found = tuple[str, str | Notice | None, float | None]  # id; caption, why it cannot be read, or None; duration


def _captions(place: Path) -> Iterator[_Found]:
    """Every caption of a place with its id and its clip's duration in seconds, if known."""
    if (place / STATE_FOLDER).is_dir():
        yield from _of_run(place)
    elif place.is_dir():
        for path in sorted(path for path in place.rglob("*.txt") if not _is_hidden(path.relative_to(place))):
            yield escape_name(str(path.relative_to(place))), _of_file(path), None
    elif place.suffix.lower() in _LINES:
        for number, row in json_lines(place, code="CAPTIONS"):
            yield from _of_row(row, number)
    elif not place.exists():
        return
    elif place.suffix.lower() == ".txt":
        yield place.name, _of_file(place), None
    else:
        raise UsageError(
            f"{printable(str(place))}: expected a folder, a .jsonl or a .txt file",
            code="CAPTIONS",
            hint="v2t check-captions captions/",
        )


def _of_run(place: Path) -> Iterator[_Found]:
    """Captions of a run; a `.txt` file that was edited since the last run counts as it is."""
    with CaptionFolder(place, (), writable=False) as folder:
        for clip_id, state in sorted(folder.ledger.known.items()):
            record = folder.ledger.record(clip_id)
            path = place / unescape_name(state.files["txt"]) if "txt" in state.files else None
            is_there = record["caption"] is not None and path is not None and path.is_file()
            caption = None if is_rejected(record) else record["caption"]
            yield clip_id, _of_file(path) if path and is_there else caption, record.get("duration_s")


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _of_file(path: Path) -> str | Notice:
    try:
        return txt.read(read_bytes(path))
    except OSError as error:
        return Notice("BAD_CAPTION", f"cannot be read: {error.strerror or error}")
    except ValueError as error:
        return Notice("BAD_CAPTION", f"cannot be read: {error}")


def _of_row(row: Mapping[str, Any], number: int) -> Iterator[_Found]:
    """The captions of a row: a text, a list of texts, or a mapping of styles to texts."""
    clip_id = str(row.get("id") or row.get("path") or row.get("video") or f"line {number}")
    duration = row.get("duration_s")
    duration_s = float(duration) if isinstance(duration, int | float) and not isinstance(duration, bool) else None
    key = next((key for key in _KEYS if row.get(key) is not None), None)
    value = None if key is None else row[key]
    if is_rejected(row):
        yield clip_id, None, None
        return
    if value is None:
        yield clip_id, None if row.get("status") == "failed" else Notice("BAD_CAPTION", "the row has no caption"), None
        return
    texts = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else [value]
    for place, text in enumerate(texts, 1):
        name = clip_id if len(texts) == 1 else f"{clip_id} ({place})"
        if isinstance(text, str):
            yield name, text, duration_s
        else:
            yield name, Notice("BAD_CAPTION", f"{key} is no text"), None
