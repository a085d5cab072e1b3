"""Discovery of clips: folders, files, globs, lists and manifests → clips with stable ids.

In: the arguments a user gave. Out: a list of `Clip`, sorted by id. Rules (addresses such as `s3://bucket/clips` go by
the same ones; see `cineloop.remote_clips`):
- A folder is searched through and through; hidden names and symlinked folders inside it are passed by.
- A clip's `path` is relative to the folder it was found in (loose files: to their common parent, or `root`), and
  mirrors under the output folder. Its id is that path, or the manifest's id.
- Ids are valid UTF-8: see `cineloop.files.escape_name`.
- What looks like a clip and is not one (a folder named x.mp4, a broken link) becomes a clip with a `problem`, so that
  it ends as a row with a code and never silently.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import random
import stat
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from cineloop import remote_clips
from cineloop.address import is_url, redact
from cineloop.clip import Clip, not_a_file, problem_of
from cineloop.errors import ItemError, NothingMatchedError, UsageError
from cineloop.files import escape_name, read_bytes, unescape_name
from cineloop.log import logger, printable
from cineloop.manifest import read_manifest
from cineloop.remote import RemoteFile
from cineloop.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES

SKIP_FILE = ".v2t-set"  # in a folder of copies that an output format made of videos; a search passes by the folder


def discover(
    paths: Sequence[str],
    *,
    lists: Sequence[str] = (),
    root: str | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    allow_remote: Sequence[str] = (),
    holds: Callable[[str], bool] = lambda clip_id: True,
    suffixes: Collection[str] = VIDEO_SUFFIXES,
) -> list[Clip]:
    """All clips that the arguments name, sorted by id, each once.

    Args:
        paths: folders, files, globs, `@file` (a list), `*.jsonl` (a manifest), `-` (a list on stdin), addresses.
        lists: more list files: one path a line, or NUL-separated, or a manifest ending in .jsonl.
        root: folder that ids are relative to, instead of the rules above.
        include, exclude: patterns of names or relative paths; clips must fit one of `include` and none of `exclude`.
        allow_remote: protocols and beginnings of addresses that lists and manifests may name, and all of the web.
        holds: by id, which clips' files are looked at; hundreds of shards that looked at all would load a file server.
        suffixes: endings of names, in lower case, by which a search of folders knows a clip.

    Raises:
        NothingMatchedError: an argument names nothing, or nothing is left.
        UsageError: two different files would get the same id, a list cannot be read, a file is outside `root`.
        PolicyError: an address that was not allowed. MissingDependencyError: one that cannot be listed.
    """
    clips: list[Clip] = []
    loose, away = list[str](), list[RemoteFile]()
    for argument in [*paths, *(f"@{name}" for name in lists)]:
        if argument == "-":
            loose += _split_list(sys.stdin.buffer.read())
        elif is_url(argument.removeprefix("@")):
            listed, single = remote_clips.from_argument(argument, tuple(suffixes), allow_remote)
            clips += listed
            away += single
        elif os.path.isdir(argument):
            clips += _from_folder(argument, suffixes)
        elif os.path.lexists(argument) and not argument.endswith(".jsonl"):
            loose.append(argument)
        elif argument.endswith(".jsonl"):
            clips += _from_manifest(argument.removeprefix("@"), allow_remote)
        elif argument.startswith("@"):
            loose += _read_list(argument[1:])
        else:
            files, folders = _from_glob(argument, suffixes)
            loose += files
            clips += [clip for folder in folders for clip in _from_folder(folder, suffixes)]
    away += [remote_clips.from_list(name, allow_remote) for name in loose if is_url(name)]
    clips += _from_loose([name for name in loose if not is_url(name)], root)
    clips += remote_clips.from_loose(away)
    if root is not None:
        clips = [_rebase(clip, root) if clip.id == clip.path else clip for clip in clips]
    has_filters = bool(include or exclude)
    clips = _unique(clip for clip in clips if not has_filters or _is_wanted(clip.path, include, exclude))
    if not clips:
        named = ", ".join(printable(p) for p in [*paths, *lists]) or "nothing"
        filters = ", --include and --exclude" if has_filters else ""
        hint = f"look at the paths{filters}; known endings: {' '.join(sorted(suffixes))}"
        hint = next(filter(None, map(_pictures, paths)), hint)
        raise NothingMatchedError(f"no video found in {named}", hint=hint)
    return [_look_at(clip) if holds(clip.id) else clip for clip in clips]


def _pictures(folder: str) -> str:
    """What to do with the pictures in a folder without videos; empty where there are none."""
    names = [name for _, _, files in os.walk(folder) for name in files]
    endings = sorted(ending for name in names if (ending := os.path.splitext(name)[1]).lower() in IMAGE_SUFFIXES)
    if not endings:
        return ""
    what = "1 picture is" if len(endings) == 1 else f"{len(endings)} pictures are"
    pattern = printable(os.path.join(folder, "**", f"*{endings[-1]}"))
    return f"{what} there, which are captioned when they are named: '{pattern}'"


def choose(clips: list[Clip], *, limit: int | None, sample: int | None, seed: int) -> list[Clip]:
    """The first `limit` of a random `sample` of the clips (the same ones for the same seed); sorted as before."""
    if sample is not None and sample < len(clips):
        kept = set(random.Random(seed).sample(range(len(clips)), sample))
        clips = [clip for i, clip in enumerate(clips) if i in kept]
    return clips if limit is None else clips[:limit]


def _from_folder(folder: str, suffixes: Collection[str]) -> list[Clip]:
    stack, suspects, clips = [("", folder)], [], list[Clip]()
    num_links = 0
    while stack:
        prefix, place = stack.pop()
        try:
            with os.scandir(place) as entries:
                ordered = sorted(entries, key=lambda entry: entry.name)
            if any(entry.name == SKIP_FILE for entry in ordered):
                continue
        except OSError as error:
            clips.append(_clip(prefix.rstrip("/") or ".", place, problem_of(error)))
            continue
        for entry in ordered:
            name = prefix + entry.name
            is_video = os.path.splitext(entry.name)[1].lower() in suffixes
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                stack.append((name + "/", entry.path))
                if is_video:
                    suspects.append((name, entry.path))
            elif entry.is_symlink() and os.path.isdir(entry.path):
                num_links += 1
            elif is_video:
                clips.append(_clip(name, entry.path))
    for name, place in suspects:
        if not any(clip.problem is None and clip.file.startswith(place + "/") for clip in clips):
            clips.append(_clip(name, place, not_a_file()))
    if num_links:
        logger.info("%s: %d symlinked folders inside it were not followed", printable(folder), num_links)
    return clips


def _from_manifest(path: str, allow_remote: Sequence[str]) -> Iterator[Clip]:
    base = os.path.dirname(path)
    for row in read_manifest(path):
        if is_url(row["path"]):
            yield remote_clips.from_row(row, allow_remote)
            continue
        clip = _clip(unescape_name(row["path"]), os.path.join(base, unescape_name(row["path"])))
        yield replace(clip, id=row["id"], start_s=row.get("start_s"), end_s=row.get("end_s"))


def _from_glob(pattern: str, suffixes: Collection[str]) -> tuple[list[str], list[str]]:
    names = sorted(glob.glob(pattern, recursive=True))
    folders = [name for name in names if os.path.isdir(name)]
    # A pattern that spells out an ending asks for it; one that does not (`clips/*`) means the videos among its matches.
    ending = os.path.splitext(pattern)[1]
    is_exact = bool(ending) and not glob.has_magic(ending)
    files = [name for name in names if not os.path.isdir(name) and (is_exact or _has_suffix(name, suffixes))]
    if not files and not folders:
        raise NothingMatchedError(f"nothing is called {printable(pattern)}", hint="no such file or folder, no match")
    # `clips/**` matches a folder and all that is in it; where files matched, they are what was meant.
    return files, [] if files else folders


def _from_loose(names: Sequence[str], root: str | None) -> Iterator[Clip]:
    if not names:
        return
    full = [os.path.abspath(name) for name in names]
    base = os.path.abspath(root) if root is not None else os.path.commonpath([os.path.dirname(name) for name in full])
    for name, place in zip(names, full, strict=True):
        problem = not_a_file() if os.path.isdir(place) else None
        yield _clip(os.path.relpath(place, base), name if os.path.dirname(name) else os.path.join(".", name), problem)


def _read_list(name: str) -> list[str]:
    try:
        return _split_list(read_bytes(name))
    except OSError as error:
        raise UsageError(f"cannot read the list {printable(name)}: {error.strerror}", code="LIST") from error


def _split_list(data: bytes) -> list[str]:
    """Names in a list: NUL-separated when it holds a NUL (names may then hold newlines), else one a line."""
    parts = data.split(b"\0") if b"\0" in data else [line.rstrip(b"\r") for line in data.split(b"\n")]
    return [os.fsdecode(part) for part in parts if part.strip()]


def _clip(relative: str, file: str, problem: ItemError | None = None) -> Clip:
    name = escape_name(relative)
    return Clip(name, name, file, problem=problem)


def _look_at(clip: Clip) -> Clip:
    """The clip with its file's size and date, or the problem of its file."""
    if clip.problem is not None or clip.is_remote:
        return clip
    try:
        status = os.stat(clip.file)
    except OSError as error:
        return replace(clip, problem=problem_of(error))
    problem = None if stat.S_ISREG(status.st_mode) else not_a_file()
    return replace(clip, size=status.st_size, mtime_ns=status.st_mtime_ns, problem=problem)


def _rebase(clip: Clip, root: str) -> Clip:
    if clip.is_remote:
        return remote_clips.rebase(clip, root) if is_url(root) else clip
    relative = escape_name(os.path.relpath(os.path.abspath(clip.file), os.path.abspath(root)))
    if relative.split("/")[0] == "..":
        raise UsageError(f"{printable(clip.file)} is outside --root {printable(root)}")
    return replace(clip, id=relative, path=relative)


def _has_suffix(name: str, suffixes: Collection[str]) -> bool:
    return os.path.splitext(name)[1].lower() in suffixes


def _is_wanted(path: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    def fits(pattern: str) -> bool:
        return fnmatch.fnmatchcase(path if "/" in pattern else path.rsplit("/", 1)[-1], pattern)

    return (not include or any(map(fits, include))) and not any(map(fits, exclude))


def _unique(clips: Iterable[Clip]) -> list[Clip]:
    by_id: dict[str, Clip] = {}
    for clip in clips:
        other = by_id.setdefault(clip.id, clip)
        if other is not clip and (os.path.abspath(other.file), other.start_s) != (
            os.path.abspath(clip.file),
            clip.start_s,
        ):
            raise UsageError(
                f"two inputs would both be called {printable(clip.id)}: {printable(redact(other.file))} and "
                f"{printable(redact(clip.file))}",
                code="SAME_NAME",
                hint="name a folder above both with --root, or give each its own -o",
            )
    return [by_id[key] for key in sorted(by_id)]
