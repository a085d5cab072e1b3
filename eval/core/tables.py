"""Read rows of files that belong to clips: prompts, references, captions, truth, answers.

In: `.jsonl`, `.json`, `.csv`, `.txt`. Out: plain dicts, and of a row its prompt, its references, and the names by
which it may be joined to a clip. A `.json` may be a list of rows, a mapping of ids to texts, COCO captions (`images`
and `annotations`, or a list of results), or VBench's list of prompts.
"""

from __future__ import annotations

import csv
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from cineloop.documents import json_lines, parse_json, read_text, text_lines
from cineloop.errors import NothingMatchedError, UsageError
from cineloop.log import logger, printable
from cineloop.spreadsheet import unquote
from cineloop.suffixes import VIDEO_SUFFIXES
from v2t_eval.core.sample import Sample

Row = dict[str, Any]
NAMES = ("id", "path", "clip", "file_name", "video", "video_id", "image_id", "name")  # keys that may name the clip
_PROMPTS = ("prompt", "prompt_en", "caption", "captions", "text")
_TEXTS = ("references", "captions", "reference", "caption", "text")
_RECORD = ("id", "status", "caption")  # columns by which the file of `v2t caption --format csv` is known
_LONGEST_CELL = 1 << 30


def read_rows(path: Path) -> list[Row]:
    """All rows of a file, in its order.

    Raises:
        UsageError: the file cannot be read, is not UTF-8, or has an unknown form; the message names the line.
    """
    if path.suffix not in (".csv", ".txt", ".json"):
        return [row for _, row in json_lines(path)]
    where = printable(str(path))
    try:
        text = read_text(path)
        if path.suffix == ".json":
            return list(_from_json(parse_json(text), path))
    except OSError as error:
        raise UsageError(f"cannot read {where}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{where} cannot be read: {error}") from error
    if path.suffix == ".csv":
        return list(_from_csv(text, path))
    return [{"prompt": line} for _, line in text_lines(text)]


def names_of(row: Row) -> list[str]:
    """The names by which a row may be joined to a clip, the plainest first."""
    return [str(row[name]) for name in NAMES if isinstance(row.get(name), (str, int)) and str(row[name])]


def prompt_of(row: Row, where: Path, number: int) -> str:
    """The prompt of row `number` of the file `where`; of captions the first short one.

    Raises:
        UsageError: the row has none, or an empty one.
    """
    for name in _PROMPTS:
        texts = texts_of(row.get(name), "short")
        if texts:
            return texts[0]
    called = f" ({printable(names[0])!r})" if (names := names_of(row)) else ""
    empty = next((name for name in _PROMPTS if name in row), None)
    why = (
        f"its {empty!r} is empty"
        if empty
        else f"expected a 'prompt', got the keys {', '.join(map(str, row)) or 'none'}"
    )
    raise UsageError(f"{printable(str(where))}, row {number}{called}: {why}", hint="give it a prompt, or remove it")


def references_of(row: Row, style: str = "short") -> list[str]:
    """The reference texts of a row, [] when it has none; `style` chooses where they stand by style."""
    for name in _TEXTS:
        texts = texts_of(row.get(name), style)
        if texts:
            return texts
    return []


def texts_of(value: Any, style: str) -> list[str]:
    """The texts in a text, a list of texts, or a mapping of styles to these."""
    if isinstance(value, dict):
        if style in value or "short" in value:
            return texts_of(value.get(style) or value.get("short"), style)
        return [text for each in value.values() for text in texts_of(each, style)]
    if isinstance(value, str):
        return [value] if value.strip() else []
    if isinstance(value, list):
        return [text for each in value for text in texts_of(each, style)]
    return []


def requirements_of(row: Row) -> Row:
    """The content of VBench's `auxiliary_info` without the dimension around it: `{"color": "red"}`."""
    asked: Row = {}
    for value in (row.get("auxiliary_info") or {}).values():
        asked |= value if isinstance(value, dict) else {}
    return asked


def _from_json(tree: Any, path: Path) -> Iterable[Row]:
    if isinstance(tree, dict) and isinstance(tree.get("annotations"), list):
        return _from_coco(tree)
    if isinstance(tree, dict):
        return [{"id": str(key), **(value if isinstance(value, dict) else {"captions": value})} for key, value in
                tree.items()]  # fmt: skip
    if isinstance(tree, list) and all(isinstance(row, dict) for row in tree):
        return tree
    raise UsageError(f"{printable(str(path))}: expected a list of objects, ids with their texts, or COCO captions")


def _from_coco(tree: Row) -> Iterator[Row]:
    images = {image.get("id"): image for image in tree.get("images") or () if isinstance(image, dict)}
    texts: dict[Any, list[str]] = {}
    for note in tree["annotations"]:
        if isinstance(note, dict) and isinstance(note.get("caption"), str):
            texts.setdefault(note.get("image_id"), []).append(note["caption"])
    for key, captions in texts.items():
        image = images.get(key, {})
        named = {name: image[name] for name in ("clip", "file_name") if isinstance(image.get(name), str)}
        yield {"id": str(key), **named, "captions": captions}


def _from_csv(text: str, path: Path) -> Iterator[Row]:
    before = csv.field_size_limit(_LONGEST_CELL)
    try:
        table = csv.DictReader(_lines(text), strict=True)
        is_record = set(_RECORD) <= set(table.fieldnames or ())  # other columns are JSON, or empty for null
        for row in table:
            if None in row or None in row.values():
                raise UsageError(f"{printable(str(path))}, line {table.line_num}: more or fewer cells than the header")
            if is_record:
                yield {name: unquote(row[name]) for name in _RECORD}
            else:
                yield {str(key).strip(): value for key, value in row.items()}
    except csv.Error as error:
        raise UsageError(f"{printable(str(path))}: {error}") from error
    finally:
        csv.field_size_limit(before)


def _lines(text: str) -> Iterator[str]:
    """Lines for csv: split at "\\n" alone, not at the separators that `splitlines` also uses."""
    return (line + "\n" for line in text.split("\n"))


_SHOWN = 3  # examples in a message


class SampleRows:
    """Rows of one file, each with the sample it is about.

    Raises:
        UsageError: a name matches two samples, or two rows match one sample by file name alone.
        NothingMatchedError: no row matches.
    """

    def __init__(self, samples: Iterable[Sample], rows: Sequence[Row], file: Path, role: str) -> None:
        self.samples, self.file, self.role = list(samples), file, role
        self._exact: dict[str, Sample] = {}
        self._stems: dict[str, list[Sample]] = {}
        for sample in self.samples:
            for name in dict.fromkeys((str(sample.row.get("path", "")), sample.id)):
                if name:
                    self._exact[name] = sample
            for stem in {stem_of(sample.id), stem_of(str(sample.row.get("path", sample.id)))}:
                self._stems.setdefault(stem, []).append(sample)
        self.pairs: list[tuple[Sample, Row]] = []
        self.unmatched: list[Row] = []
        by_stem: dict[str, str] = {}
        for row in rows:
            match = self._find(row, by_stem)
            if match is None:
                self.unmatched.append(row)
            else:
                self.pairs.append((match, row))
        if not self.pairs:
            ours, theirs = examples(s.id for s in self.samples), examples(map(clip_name, rows))
            hint = f"ids here look like {ours}, there like {theirs}"
            if rows and not any(map(names_of, rows)):
                columns = ", ".join(printable(str(key)) for key in rows[0])
                hint = f"its columns {columns} name no clip; a row is joined by one of {', '.join(NAMES)}"
            raise NothingMatchedError(f"no row of {printable(str(file))} belongs to a sample", hint=hint)

    def leave_out(self, ids: Collection[str]) -> None:
        """Forget these samples, and the rows about them."""
        self.samples = [sample for sample in self.samples if sample.id not in ids]
        self.pairs = [(sample, row) for sample, row in self.pairs if sample.id not in ids]

    def _find(self, row: Row, by_stem: dict[str, str]) -> Sample | None:
        names = names_of(row)
        for name in names:
            if name in self._exact:
                return self._exact[name]
        for name in names:
            named = self._stems.get(stem_of(name), [])
            if len(named) > 1:
                raise UsageError(
                    f"{printable(str(self.file))}: {printable(name)} matches several: {examples(s.id for s in named)}",
                    code="AMBIGUOUS",
                    hint="use the ids of the clips",
                )
            if named:
                other = by_stem.setdefault(named[0].id, name)
                if other != name:
                    raise UsageError(
                        f"{printable(str(self.file))}: {printable(other)} and {printable(name)} both match "
                        f"{printable(named[0].id)} by their file names",
                        code="AMBIGUOUS",
                        hint="use the ids of the clips",
                    )
                return named[0]
        return None

    def report(self, counts: Counter[str]) -> None:
        """Count and log unmatched samples and rows."""
        having = {sample.id for sample, _ in self.pairs}
        without = [sample.id for sample in self.samples if sample.id not in having]
        counts[f"with_{self.role}"] = len(having)
        if without:
            counts[f"without_{self.role}"] = len(without)
            logger.warning("%d of %d samples have no %s, for example %s", len(without), len(self.samples), self.role,
                           examples(without))  # fmt: skip
        if self.unmatched:
            counts[f"{self.role}_unmatched"] = len(self.unmatched)
            logger.warning("%d rows of %s belong to no sample, for example %s", len(self.unmatched),
                           printable(str(self.file)), examples(map(clip_name, self.unmatched)))  # fmt: skip


def stem_of(name: str) -> str:
    """The file name without folder and without the ending of a video, composed."""
    last = PurePosixPath(name.replace("\\", "/")).name
    stem, dot, ending = last.rpartition(".")
    return unicodedata.normalize("NFC", stem if stem and f"{dot}{ending.lower()}" in VIDEO_SUFFIXES else last)


def clip_name(row: Row) -> str:
    """The name of a row's clip."""
    return (names_of(row) or ["a row without an id"])[0]


def examples(names: Iterable[str]) -> str:
    """A few of the names, for a message."""
    shown = [repr(printable(name, 60)) for name in list(names)[:_SHOWN]]
    return ", ".join(shown) or "nothing"
