"""Training sets as people keep them, as one list of items: a video or an image, and its prompts.

In: folders and files. Out: `Item`s in a fixed order. Four layouts are known by what lies there:
- two_file: `videos.txt` and `prompts.txt`, a path and a prompt a line (finetrainers, CogVideoX);
- sidecar: `clip.mp4` beside `clip.txt` (musubi-tuner, kohya, diffusion-pipe), folders searched through and through;
- manifest: `*.jsonl` with `path` and `captions`, `caption` or `prompt` (ours; `captions.jsonl` of `v2t caption` too);
- metadata: `metadata.csv` or `metadata.jsonl` with `file_name` and `text` (a `datasets` videofolder or imagefolder).
Videos and images may lie together. Every fault of a set is found before anything is trained, and named.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from cineloop.documents import json_lines, read_text
from cineloop.errors import NothingMatchedError, UsageError
from cineloop.files import escape_name
from cineloop.log import logger, printable
from cineloop.manifest import clip_path, form_of, is_rejected, read_manifest
from cineloop.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES

LAYOUTS = ("two_file", "sidecar", "manifest", "metadata")
_TABLES = {
    "two_file": ("videos.txt", "prompts.txt"),
    "manifest": ("manifest.jsonl", "captions.jsonl"),
    "metadata": ("metadata.jsonl", "metadata.csv"),
}
_FILE_KEYS, _TEXT_KEYS = ("file_name", "video", "image"), ("text", "caption", "prompt")
_WORDLESS = ("empty prompt", "no text beside the clip")
_SHOWN = 20  # names of a kind of fault; the rest is counted
Found = Iterator["Item | LayoutFault"]


@dataclass(frozen=True)
class Item:
    """A video or image and its prompts (one is drawn at each visit).

    `start_s`, `end_s` give a window of the file in seconds; None is the whole file.
    """

    id: str
    path: Path
    prompts: tuple[str, ...]
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class ClipPlaces:
    """Which clips a recipe trains on.

    Args:
        data: folders and files of clips with words. layout, root, on_bad: see `read_items`.
        eval_data: clips to judge by, of other films than `data`: `set/val` of a curated set.
    """

    data: tuple[Path, ...]
    layout: Literal["auto", "two_file", "sidecar", "manifest", "metadata"] = "auto"
    root: Path | None = None
    on_bad: Literal["stop", "skip"] = "stop"
    eval_data: tuple[Path, ...] = ()

    def items(self, setting: Literal["data", "eval_data"]) -> list[Item]:
        """The clips of a setting; see `read_items`."""
        places = self.data if setting == "data" else self.eval_data
        if not places:
            return []
        return read_items(places, layout=self.layout, root=self.root, on_bad=self.on_bad, setting=setting)


@dataclass(frozen=True)
class LayoutFault:
    """What is wrong (one of a few kinds), and where."""

    kind: str
    where: str


def read_items(
    places: Sequence[Path],
    *,
    layout: Literal["auto", "two_file", "sidecar", "manifest", "metadata"] = "auto",
    root: Path | None = None,
    on_bad: Literal["stop", "skip"] = "stop",
    setting: str = "data",
) -> list[Item]:
    """All items of all places, in order; ids made of the file's path when a layout has none.

    A clip that is named several times is one item with all its prompts.

    Args:
        places: folders, or the files that name a layout (`videos.txt`, `*.jsonl`, `metadata.csv`).
        layout: one of `LAYOUTS` when a folder holds several; auto finds the only one.
        root: where the videos lie when that is not where their texts lie.
        on_bad: stop at faults, or leave the faulty rows out and warn of each kind.
        setting: that of the recipe which holds the places, for messages.

    Raises:
        UsageError: no known layout or several; unequal numbers of lines; with `on_bad` stop a list of every kind of
            fault: missing and empty files, empty prompts, videos without text.
        NothingMatchedError: no item is left.
    """
    items: dict[tuple[str, float | None, float | None], Item] = {}
    faults: list[LayoutFault] = []
    for place in places:
        if not place.exists():
            hint = f'name what is there: --set "{setting}=[FOLDER]"'
            raise UsageError(f"{setting}: no such file or folder: {printable(str(place))}", code="LAYOUT", hint=hint)
        for entry in _READERS[_layout_of(place, layout)](place, root):
            fault = entry if isinstance(entry, LayoutFault) else _fault_of(entry)
            if fault is not None:
                faults.append(fault)
            elif isinstance(entry, Item):
                key = (os.path.realpath(entry.path), entry.start_s, entry.end_s)
                known = items.get(key, entry)
                items[key] = replace(known, prompts=tuple(dict.fromkeys(known.prompts + entry.prompts)))
    if faults:
        message = f"{setting}: {len(faults)} faults in {', '.join(map(str, places))}: {_list_faults(faults)}"
        if on_bad == "stop":
            raise UsageError(message, code="LAYOUT", hint=_hint(faults, places, setting))
        logger.warning("left out: %s", message)
    if not items:
        message = f"{setting}: no clip with words in {', '.join(map(str, places))}"
        raise NothingMatchedError(message, hint=_hint(faults, places, setting))
    return _with_own_ids(items.values())


def _layout_of(place: Path, layout: str) -> str:
    if place.is_file():
        names = {".jsonl": "manifest", ".csv": "metadata", ".txt": "two_file"}
        if place.suffix not in names:
            _refuse_form(place)
            raise UsageError(f"{place} is no layout", code="LAYOUT", hint="*.jsonl, *.csv, videos.txt or a folder")
        return "metadata" if place.suffix == ".jsonl" and _is_metadata(place) else names[place.suffix]
    if not place.is_dir():
        raise UsageError(f"{place} is not a regular file or folder", code="LAYOUT")
    there = [name for name, tables in _TABLES.items() if any((place / table).is_file() for table in tables)]
    if not there:
        _refuse_form(place)
    if layout == "sidecar" or not there:
        return "sidecar"
    if layout == "auto" and any(path.with_suffix(".txt").is_file() for path in _media(place)):
        there.append("sidecar")
    if layout == "auto" and len(there) == 1:
        return there[0]
    if layout in there:
        return layout
    raise UsageError(
        f"{place} holds the layouts {', '.join(there)}; asked for: {layout}",
        code="LAYOUT",
        hint="say which with layout: NAME, or give the file itself",
    )


def _refuse_form(place: Path) -> None:
    if form := form_of(place):
        raise UsageError(
            f"{place} is a {form} set, which is not read here",
            code="LAYOUT",
            hint="write the clips as videofolder or manifest and name that: v2t-eval curate SET --write videofolder",
        )


def _table(place: Path, layout: str) -> Path:
    """The file that holds a layout's rows: `place` itself, or the one of its names that lies there."""
    if place.is_file():
        return place
    names = [place / name for name in _TABLES[layout]]
    return next((path for path in names if path.is_file()), names[0])


def _is_metadata(path: Path) -> bool:
    try:
        _, row = next(json_lines(path), (0, {}))
    except UsageError:
        return False  # the manifest's reader says what is wrong with it
    return "path" not in row and any(key in row for key in _FILE_KEYS)


def _two_file(place: Path, root: Path | None) -> Found:
    folder = place if place.is_dir() else place.parent
    columns = []
    for name in ("videos.txt", "prompts.txt"):
        if not (folder / name).is_file():
            raise UsageError(
                f"{folder} lacks {name}", code="LAYOUT", hint="line n of one belongs to line n of the other"
            )
        lines = _text(folder / name).split("\n")
        columns.append(lines[:-1] if lines[-1] == "" else lines)
    if len(columns[0]) != len(columns[1]):
        raise UsageError(
            f"{folder}: videos.txt has {len(columns[0])} lines, prompts.txt {len(columns[1])}",
            code="LAYOUT",
            hint="line n of one must belong to line n of the other; a prompt may hold no line break",
        )
    for number, (path, prompt) in enumerate(zip(*columns, strict=True), 1):
        if path.strip():
            yield Item(path.strip(), (root or folder) / path.strip(), _texts(prompt))
        else:
            yield LayoutFault("empty line", f"{folder / 'videos.txt'}, line {number}")


def _sidecar(place: Path, root: Path | None) -> Found:
    """Texts lie beside the videos, or in `place` as they lie under `root`."""
    videos = root or place
    for path in _media(videos):
        name = path.relative_to(videos)
        text = (place / name).with_suffix(".txt")
        if not text.is_file():
            yield LayoutFault(_WORDLESS[1], str(path))
            continue
        try:
            yield Item(escape_name(str(name)), path, _texts(read_text(text)))
        except ValueError:
            yield LayoutFault("text is not UTF-8", str(text))


def _manifest(place: Path, root: Path | None) -> Found:
    table = _table(place, "manifest")
    for row in read_manifest(table):
        file = clip_path(root / table.name if root else table, row)
        if is_rejected(row):
            continue
        if row.get("error") or row.get("status") == "failed":
            yield LayoutFault("its captioning failed", row["id"])
            continue
        captions: Any = row.get("captions") or row.get("caption") or row.get("prompt") or ""
        yield Item(row["id"], file, _texts(captions), row.get("start_s"), row.get("end_s"))


def _metadata(place: Path, root: Path | None) -> Found:
    table = _table(place, "metadata")
    rows = enumerate(_csv_rows(table), 1) if table.suffix == ".csv" else json_lines(table, code="LAYOUT")
    for number, row in rows:
        file = next((row[key] for key in _FILE_KEYS if isinstance(row.get(key), str) and row[key]), None)
        if file is None:
            yield LayoutFault(f"no {', '.join(_FILE_KEYS)}", f"{table}, row {number}")
            continue
        words = next((row[key] for key in _TEXT_KEYS if row.get(key)), "")
        yield Item(str(row.get("id") or file), (root or table.parent) / file, _texts(words))


def _csv_rows(path: Path) -> Iterator[dict[str, Any]]:
    rows = csv.DictReader(io.StringIO(_text(path), newline=""))
    if not set(_FILE_KEYS) & set(rows.fieldnames or ()):
        raise UsageError(f"{path} has no column {', '.join(_FILE_KEYS)}; it has {rows.fieldnames}", code="LAYOUT")
    yield from rows


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {printable(str(path))}: {error}", code="LAYOUT") from error


def _media(folder: Path) -> list[Path]:
    """Videos and images of a folder, hidden ones left out, in the order of their names."""
    known = IMAGE_SUFFIXES | VIDEO_SUFFIXES
    files = []
    for home, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [Path(home, name) for name in names if name[:1] != "." and Path(name).suffix.lower() in known]
    return sorted(files)


def _texts(words: Any) -> tuple[str, ...]:
    """Texts of a string, a list of strings, or a mapping of style to either; breaks and double spaces become one."""
    if isinstance(words, str):
        words = [words]
    elif isinstance(words, dict):
        words = [each for value in words.values() for each in ([value] if isinstance(value, str) else value)]
    return tuple(text for each in words if isinstance(each, str) and (text := " ".join(each.split())))


def _fault_of(item: Item) -> LayoutFault | None:
    try:
        size = item.path.stat().st_size if item.path.is_file() else -1
    except OSError as error:
        return LayoutFault(f"cannot be read ({error.strerror})", str(item.path))
    if size < 0:
        return LayoutFault("no such file", str(item.path))
    if size == 0:
        return LayoutFault("empty file", str(item.path))
    return None if item.prompts else LayoutFault(_WORDLESS[0], item.id)


def _list_faults(faults: Iterable[LayoutFault]) -> str:
    kinds: dict[str, list[str]] = {}
    for fault in faults:
        kinds.setdefault(fault.kind, []).append(printable(fault.where))
    lines = []
    for kind, wheres in kinds.items():
        more = f" and {len(wheres) - _SHOWN} more" if len(wheres) > _SHOWN else ""
        lines.append(f"{kind} ({len(wheres)}): {', '.join(wheres[:_SHOWN])}{more}")
    return "; ".join(lines)


def _hint(faults: Sequence[LayoutFault], places: Sequence[Path], setting: str) -> str:
    """What to do about faults; clips without words are captioned first."""
    rest = "leave such rows out with on_bad: skip"
    if not faults or any(fault.kind not in _WORDLESS for fault in faults):
        return f"mend them, or {rest}"
    place = places[0]
    home = place if place.is_dir() else place.parent
    # A curated set has its clips once, beside its formats, of which `v2t caption` reads the manifest.
    if (beside := home.parent / "manifest.jsonl").is_file():
        place, home = beside, home.parent
    folder = printable(str(home))  # where the paths of the captions begin
    return (
        f"caption them: v2t caption {printable(str(place))} -o {folder} --model MODEL, then "
        f'--set "{setting}=[{folder}/captions.jsonl]"; or {rest}'
    )


def _with_own_ids(items: Iterable[Item]) -> list[Item]:
    """The same items; an id that several places use gets a number."""
    used: dict[str, int] = {}
    result = []
    for item in items:
        used[item.id] = used.get(item.id, 0) + 1
        name = item.id if used[item.id] == 1 else f"{item.id}#{used[item.id]}"
        result.append(replace(item, id=name))
    return result


_READERS = {"two_file": _two_file, "sidecar": _sidecar, "manifest": _manifest, "metadata": _metadata}
