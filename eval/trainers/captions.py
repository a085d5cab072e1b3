"""Captions of a folder, as trainers find them: files beside the clips, or lists.

In: a folder, the form's name. Out: `CaptionFile`s by the clip's path in the folder, texts as a trainer would read them
and what is odd about the bytes. Forms: `sidecar` (clip.txt), `captions-json` ({file: [captions]}), `two-file`
(videos.txt and prompts.txt, line by line), and lists of rows in JSON, JSON lines or CSV.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cineloop.documents import parse_json
from cineloop.errors import UsageError
from cineloop.files import read_bytes
from cineloop.log import printable
from cineloop.manifest import is_rejected

_PATHS = ("video", "media_path", "video_path", "file_name", "path")
_TEXTS = ("caption", "captions", "text", "prompt")
_LISTS = {
    "captions-json": ("captions.json",),
    "musubi-jsonl": ("metadata.jsonl", "dataset.jsonl"),
    **{f"{stem}-{kind}": (f"{stem}.{kind}",) for stem in ("dataset", "metadata") for kind in ("json", "jsonl", "csv")},
}
_VIDEO_LISTS, _PROMPT_LISTS = ("videos.txt", "video.txt"), ("prompts.txt", "prompt.txt", "captions.txt", "caption.txt")
ANY = ("captions-json", "two-file", *_LISTS, "manifest", "records", "sidecar")  # forms of any trainer, and ours


@dataclass(frozen=True, kw_only=True)
class CaptionFile:
    """The captions of one clip: texts without spaces at their ends; where they stand; codes of what is odd in the
    bytes: BYTE_ORDER_MARK, LINE_ENDINGS, NOT_UTF8."""

    texts: tuple[str, ...]
    place: str
    oddities: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CaptionSet:
    """The captions of a folder: the form, those by the clip's path, and places of captions that belong to no clip."""

    form: str
    by_path: Mapping[str, CaptionFile]
    orphans: tuple[str, ...] = ()


def read_captions(
    folder: Path, paths: Sequence[str], forms: Sequence[str], suffix: str, beside: Path | None = None
) -> CaptionSet:
    """Captions of clips by the first of the forms that is there.

    Args:
        folder: of the clips.
        paths: of the clips in it.
        forms: of `ANY`, in the trainer's order.
        suffix: of sidecars.
        beside: where captions are, if not in `folder`: a folder, or one list.

    Raises:
        UsageError: CAPTIONS, a list cannot be read, or has not as many lines as its other half.
    """
    home = beside or folder
    if home.is_file():
        return _of_rows("records", home, folder, paths)
    for form in forms:
        if form == "sidecar" and any(_sidecar(home, path, suffix).is_file() for path in paths):
            return _of_sidecars(home, paths, suffix)
        if form == "two-file" and (lists := _two_files(home)) is not None:
            return _of_two_files(*lists, paths)
        for name in {"manifest": ("manifest.jsonl",), "records": ("captions.jsonl",)}.get(form, _LISTS.get(form, ())):
            if (home / name).is_file():
                return _of_rows(form, home / name, folder, paths)
    return CaptionSet(form="", by_path={})


def _sidecar(home: Path, path: str, suffix: str) -> Path:
    return home / (os.path.splitext(path)[0] + suffix)


def _of_sidecars(home: Path, paths: Sequence[str], suffix: str) -> CaptionSet:
    by_path = {}
    for path in paths:
        file = _sidecar(home, path, suffix)
        if file.is_file():
            text, oddities = decoded_text(read_bytes(file))
            by_path[path] = CaptionFile(texts=(text.strip(),), place=file.name, oddities=oddities)
    stems = {os.path.splitext(path)[0] for path in paths}
    lists = {*_VIDEO_LISTS, *_PROMPT_LISTS}
    every = (path.relative_to(home) for path in sorted(home.rglob(f"*{suffix}")) if path.is_file())
    orphans = [str(path) for path in every if str(path.with_suffix("")) not in stems and path.name not in lists]
    return CaptionSet(form="sidecar", by_path=by_path, orphans=tuple(each for each in orphans if each[0] != "."))


def decoded_text(data: bytes) -> tuple[str, tuple[str, ...]]:
    """The text of a caption's file as trainers read it, and codes of what is odd in its bytes."""
    oddities = [
        code
        for code, is_there in (
            ("BYTE_ORDER_MARK", data.startswith(b"\xef\xbb\xbf") or data[:2] in (b"\xff\xfe", b"\xfe\xff")),
            ("LINE_ENDINGS", b"\r" in data),
        )
        if is_there
    ]
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = data.decode(encoding, "replace")
        oddities.append("NOT_UTF8")
    if encoding == "utf-16":
        oddities.append("NOT_UTF8")
    return text.replace("\r\n", "\n").replace("\r", "\n"), tuple(dict.fromkeys(oddities))


def _two_files(home: Path) -> tuple[Path, Path] | None:
    videos = next((home / name for name in _VIDEO_LISTS if (home / name).is_file()), None)
    prompts = next((home / name for name in _PROMPT_LISTS if (home / name).is_file()), None)
    return None if videos is None or prompts is None else (videos, prompts)


def _of_two_files(videos: Path, prompts: Path, paths: Sequence[str]) -> CaptionSet:
    names, texts, oddities = list[str](), list[str](), tuple[str, ...]()
    for file, lines in ((videos, names), (prompts, texts)):
        text, odd = decoded_text(read_bytes(file))
        lines += text.splitlines()
        oddities = tuple(dict.fromkeys((*oddities, *odd)))
    if len(names) != len(texts):
        raise UsageError(
            f"{videos.name} has {len(names)} lines and {prompts.name} {len(texts)}: they do not belong together",
            code="CAPTIONS",
            hint="a caption with a line break in it takes two lines",
        )
    pairs = [(name.strip(), (text.strip(),), f"{prompts.name}, line {n}") for n, (name, text) in
             enumerate(zip(names, texts, strict=True), 1)]  # fmt: skip
    return _by_clip("two-file", pairs, paths, oddities)


def _of_rows(form: str, file: Path, folder: Path, paths: Sequence[str]) -> CaptionSet:
    try:
        text, oddities = decoded_text(read_bytes(file))
        rows = list(_rows(file, text))
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {printable(str(file))}: {error}", code="CAPTIONS") from error
    lead = os.path.relpath(file.parent, folder)
    pairs = []
    for place, row in rows:
        path = next((row[key] for key in _PATHS if isinstance(row.get(key), str)), None)
        if path is None:
            raise UsageError(f"{file.name}, {place}: no path of a video", hint=f"one of {', '.join(_PATHS)}",
                             code="CAPTIONS")  # fmt: skip
        path = path.strip()
        full = os.path.relpath(path, folder.absolute()) if os.path.isabs(path) else os.path.normpath(f"{lead}/{path}")
        pairs.append((full, texts_of(row), f"{file.name}, {place}"))
    # Lines of JSON and CSV end as they like: a reader of these takes any.
    return _by_clip(form, pairs, paths, tuple(odd for odd in oddities if odd != "LINE_ENDINGS"))


def _rows(file: Path, text: str) -> Iterable[tuple[str, Mapping[str, Any]]]:
    if file.suffix == ".csv":
        yield from ((f"line {n}", row) for n, row in enumerate(csv.DictReader(io.StringIO(text)), 2))
        return
    if file.suffix == ".jsonl":
        values = [(f"line {n}", parse_json(line)) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    else:
        tree = parse_json(text)
        if isinstance(tree, dict):  # file: captions, as of captions.json; an object with a caption as of ai-toolkit
            tree = [{"path": key, "captions": value.get("caption") if isinstance(value, dict) else value}
                    for key, value in tree.items()]  # fmt: skip
        values = [(f"row {n}", row) for n, row in enumerate(tree, 1)]
    for place, row in values:
        if not isinstance(row, dict):
            raise ValueError(f"{place} is no object")
        yield place, row


def texts_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The captions of a row; none where it has none, or a person rejected it."""
    if is_rejected(row):
        return ()
    left = [next((row[key] for key in _TEXTS if row.get(key) is not None), None)]
    texts = []
    while left:
        value = left.pop(0)
        if isinstance(value, (dict, list)):  # by style, or several
            left = [*(value.values() if isinstance(value, dict) else value), *left]
        elif isinstance(value, str):
            texts.append(value.strip())
    return tuple(texts)


def _by_clip(
    form: str, pairs: Sequence[tuple[str, tuple[str, ...], str]], paths: Sequence[str], oddities: tuple[str, ...]
) -> CaptionSet:
    """Captions by the clip's path; a path that names no clip may name its file alone, as of captions.json."""
    known, names = set(paths), dict[str, str | None]()
    for path in paths:
        names[os.path.basename(path)] = None if os.path.basename(path) in names else path
    by_path, orphans = {}, []
    find: Callable[[str], str | None] = lambda path: path if path in known else names.get(os.path.basename(path))  # noqa: E731
    for path, texts, place in pairs:
        if (own := find(path)) is None:
            orphans.append(place)
        elif texts:
            by_path[own] = CaptionFile(texts=texts, place=place, oddities=oddities)
    return CaptionSet(form=form, by_path=by_path, orphans=tuple(orphans))
