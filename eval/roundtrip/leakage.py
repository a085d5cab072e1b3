"""Prevent prompts from leaking through file names or container tags, and detect shared weights.

In: external clips and their prompts. Out: the clips under neutral names, without such tags, and warnings. A name
reveals its prompt when the two share two content words. Files are hard-linked where possible; copied stream by stream,
without tags, where a tag holds text. A captioner or judge that shares its text encoder with the generator shares its
biases: weight files are compared by content where all are in local folders, else models by their names.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from cineloop.files import link_or_copy, raise_if_full
from v2t_eval.core.models import file_sha256

_TAGS = frozenset("major_brand minor_version compatible_brands encoder language creation_time duration vendor_id "
                  "handler_name".split())  # fmt: skip
_EMPTY = frozenset(
    "a an and are as at be by clip file for from gen generated in into is it its mp4 of on or out over sample seed "
    "that the their there they this to toward video we with mkv webm mov avi gif".split()
)
_NAME_CHARS = 12


def neutral_name(id: str) -> str:
    """A name that is constant for an id and reveals nothing."""
    return sha256(id.encode("utf-8", "surrogatepass")).hexdigest()[:_NAME_CHARS]


def shared_words(name: str, prompt: str) -> set[str]:
    """Content words that occur in both."""
    return _words(name) & _words(prompt)


def reveals(name: str, prompt: str) -> bool:
    """Whether a file name reveals its prompt."""
    return len(shared_words(name, prompt)) >= 2


def texts_of(path: Path) -> dict[str, str]:
    """The container's tags except those every muxer writes; empty for a file that cannot be opened."""
    import av

    try:
        with av.open(os.fspath(path)) as opened:
            tags = {**opened.metadata, **{k: v for stream in opened.streams for k, v in stream.metadata.items()}}
    except (OSError, ValueError):  # the captioner reports the error
        return {}
    return {key: value for key, value in tags.items() if value.strip() and not _is_plain(key, value)}


def bring(source: Path, target: Path) -> bool:
    """The file under its neutral name; True where tags had to be removed. An identical file that exists is kept.

    Raises:
        MissingDependencyError: DISK_FULL. OSError: it cannot be read.
    """
    if texts_of(source):
        if not target.exists() or target.stat().st_mtime_ns < source.stat().st_mtime_ns:
            _without_tags(source, target)
        return True
    if target.exists() and _same(source, target):
        return False
    temporary = target.with_name(f".{uuid.uuid4().hex}.tmp{target.suffix}")
    try:
        link_or_copy(source, temporary)
        os.replace(temporary, target)
    except OSError as error:
        raise_if_full(error, target)
        raise
    finally:
        temporary.unlink(missing_ok=True)
    return False


def _without_tags(source: Path, target: Path) -> None:
    """Copy the video's packets into a new container."""
    import av

    temporary = target.with_name(f".{uuid.uuid4().hex}.tmp{target.suffix}")
    try:
        with av.open(os.fspath(source)) as opened, av.open(os.fspath(temporary), "w") as out:
            video = opened.streams.video[0]
            stream = out.add_stream_from_template(video)
            stream.metadata.clear()
            for packet in opened.demux(video):
                if packet.dts is not None:
                    packet.stream = stream
                    out.mux(packet)
        os.replace(temporary, target)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _is_plain(key: str, value: str) -> bool:
    return key.lower() in _TAGS and len(_words(value)) < 4


def _same(source: Path, target: Path) -> bool:
    a, b = source.stat(), target.stat()
    return (a.st_ino, a.st_dev) == (b.st_ino, b.st_dev) or (a.st_size, a.st_mtime_ns) == (b.st_size, b.st_mtime_ns)


def _words(text: str) -> set[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    words = re.findall(r"[^\W\d_]{2,}", spaced.lower())
    return {word.removesuffix("s") for word in words if word not in _EMPTY}


_MOST_BYTES = 4 << 30  # hashing more would take longer than the round trip


def warnings_for(captioner: str, judge: str | None, about: Mapping[str, str]) -> list[str]:
    """Caveats about shared weights. `about`: `generator` and `model` of the clips, where known."""
    generator, model = about.get("generator", ""), about.get("model", "")
    lines = []
    if judge is not None and judge == captioner:
        lines.append(
            f"Judge and captioner are one model ({captioner}): their errors coincide, so the cells understate them."
        )
    if not generator:
        return [
            *lines,
            "The generator of the clips is not known: shared weights with judge or captioner cannot be checked.",
        ]
    if generator == "world":
        return [*lines, "The clips are drawn by a program: it has no weights to share."]
    for role, name in {"captioner": captioner, **({} if judge in (None, captioner) else {"judge": str(judge)})}.items():
        lines.append(_overlap_sentence(role, name, model))
    if model == "starter" and "starter" in (captioner, judge):
        lines.append("The starters were trained separately, but on the same cartoon world and its words.")
    return lines


def _overlap_sentence(role: str, name: str, model: str) -> str:
    ours, theirs = _hashes(_folder(name, "v2t")), _hashes(_folder(model, "t2v"))
    if not ours or not theirs:
        if name == model:
            return f"The {role} has the same name as the generator ({name}): they may share weights."
        return f"The {role} ({name}) and the generator ({model}) are compared by name alone: they differ."
    common = ours & theirs
    if common:
        files = f"{len(common)} files of weights"
        return f"The {role} ({name}) shares {files} with the generator ({model}): it is not independent."
    return f"The {role} ({name}) shares no file of weights with the generator ({model}), its text encoder included."


def _folder(name: str, package: str) -> Path | None:
    if name == "starter":
        return Path(__file__).resolve().parents[2] / package / "starter"
    path = Path(name)
    try:
        return path if path.is_dir() else None
    except OSError:
        return None


def _hashes(folder: Path | None) -> frozenset[str]:
    """SHA-256 of each file of weights; empty without a folder, or above `_MOST_BYTES`."""
    files = [] if folder is None else [path for path in folder.rglob("*.safetensors") if path.is_file()]
    if sum(path.stat().st_size for path in files) > _MOST_BYTES:
        return frozenset()
    return frozenset(map(file_sha256, files))
