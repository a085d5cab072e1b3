"""Clips of WebDataset shards as training samples: tar files of `KEY.mp4`, `KEY.json`, `KEY.txt`, read where they lie.

In: tar files (those of `v2t caption --format webdataset`, or others in that form), not compressed. Out: batches as
`v2t.data.manifest_clips` gives them. Only the heads of the members are read at the start; samples are then a function
of their number: shards come in an order of each pass, samples in the order of their shard, every sample once a pass,
however many nodes, processes and workers share them, and the number of samples seen is the whole position.
Nothing is ever extracted by the name that a tar gives it.
"""

from __future__ import annotations

import logging
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from cineloop.documents import parse_json
from cineloop.errors import ItemError, UsageError
from cineloop.files import text_key
from cineloop.log import printable
from cineloop.manifest import Row, form_of
from cineloop.suffixes import VIDEO_SUFFIXES
from cineloop.video.frames import Frames
from v2t.data.collate import Batch, ClipSample, clip_batch
from v2t.data.manifest_clips import WRITE, ManifestClip, ManifestSource

MOST_BYTES = 2 << 30  # of a video in a shard


@dataclass(frozen=True)
class ShardClip(ManifestClip):
    """A sample: `path` is its shard, `parts` its members there, as ending → (first byte, number of bytes); its row
    holds nothing but the id until `words` reads them."""

    parts: dict[str, tuple[int, int]]

    @property
    def video(self) -> str:
        """The ending of its video."""
        return next(ending for ending in self.parts if ending in VIDEO_SUFFIXES)

    def words(self) -> Row:
        """Its row: `conversations`, `captions` and `prompt` of the JSON; else its text, or the JSON's caption.

        Raises:
            ItemError: they cannot be read, or there are none.
        """
        row: Row = {}
        try:
            if ".json" in self.parts:
                row = parse_json(self.read(".json"))
            if not (row.get("conversations") or row.get("captions")):
                text = self.read(".txt").decode("utf-8") if ".txt" in self.parts else row.get("caption")
                row = {"captions": [text] if text else [], "prompt": row.get("prompt")}
        except (ValueError, AttributeError) as error:
            raise ItemError(f"its words cannot be read: {error}", code="UNREADABLE") from error
        if not (row.get("conversations") or row.get("captions")):
            raise ItemError("it has neither conversations nor a caption", code="UNREADABLE")
        return {**row, "id": self.row["id"]}

    def read(self, ending: str) -> bytes:
        """The bytes of one member.

        Raises:
            ItemError: the shard is gone or shorter than it was, or the member is beyond `MOST_BYTES`.
        """
        first, size = self.parts[ending]
        if size > MOST_BYTES:
            raise ItemError(f"{size} bytes, at most {MOST_BYTES} are read", code="TOO_LARGE")
        try:
            with open(self.path, "rb") as file:
                file.seek(first)
                data = file.read(size)
        except OSError as error:
            raise ItemError(f"the shard cannot be read: {error.strerror}", code="UNREADABLE") from error
        if len(data) < size:
            raise ItemError("the shard ends before it", code="TRUNCATED")
        return data


def read_shards(paths: Sequence[Path]) -> list[ShardClip]:
    """The samples of all shards (tar files, or folders of them) that have a video and words, in the order of the names.

    Raises:
        UsageError: a shard is missing, cut off, compressed, or holds links, devices or paths that leave it; or there is
            no sample at all.
    """
    for path in paths:
        if form_of(path) == "Lance":
            raise UsageError(f"{printable(str(path))} is a Lance set and no shards", code="SHARD", hint=WRITE)
    shards = [shard for path in paths for shard in (sorted(path.glob("*.tar")) if path.is_dir() else [path])]
    clips = [clip for shard in dict.fromkeys(shards) for clip in _read(shard)]
    if not clips:
        raise UsageError("the shards hold no sample of a video and words", hint="KEY.mp4 with KEY.json or KEY.txt")
    return clips


def _read(path: Path) -> list[ShardClip]:
    samples: dict[str, dict[str, tuple[int, int]]] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                _check(path, member)
                if member.isfile():
                    name = PurePosixPath(member.name)
                    stem, dot, ending = name.name.partition(".")
                    key = str(name.with_name(stem))
                    samples.setdefault(key, {})[(dot + ending).lower()] = (member.offset_data, member.size)
    except (OSError, tarfile.TarError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(
            f"{printable(str(path))} is not a whole tar file: {why}", code="SHARD", hint="shards are not compressed"
        ) from error
    return [
        ShardClip({"id": f"{path.name}:{key}"}, path, parts)
        for key, parts in samples.items()
        if parts.keys() & VIDEO_SUFFIXES and parts.keys() & {".json", ".txt"}
    ]


def _check(path: Path, member: tarfile.TarInfo) -> None:
    name = PurePosixPath(member.name)
    what = "a path that leaves it" if name.is_absolute() or ".." in name.parts else ""
    if not (member.isfile() or member.isdir()):
        what = "a link or a device"
    if what:
        raise UsageError(
            f"{printable(str(path))} holds {what}: {printable(member.name)!r}",
            code="SHARD",
            hint="such tars are refused",
        )


class ShardSource(ManifestSource):
    """Samples of shards; `clips` stand in the order of their shards. Picklable."""

    clips: Sequence[ShardClip]

    @property
    def identity(self) -> str:
        """What the order of the samples depends on: a run continues from a checkpoint only where it is the same."""
        names = [(clip.row["id"], clip.parts[clip.video][1]) for clip in self.clips]
        return text_key(f"{self.seed}|{names}".encode())

    def __call__(self, start: int, count: int) -> Batch:
        """Samples `start` … `start + count - 1`; `replaced` (n,) says how many bad ones stood before each."""
        samples = [self.good_sample(number) for number in range(start, start + count)]
        batch = clip_batch([sample for sample, _ in samples], self.processor.tokenizer.pad_token_id, self.max_length)
        return batch | {"replaced": torch.tensor([bad for _, bad in samples])}

    def good_sample(self, number: int) -> tuple[ClipSample, int]:
        """Sample `number`, or where it is bad and `on_bad` is skip the next good one of its shard; how many were bad.

        Raises:
            ItemError: it is bad and `on_bad` is stop, or so is every sample of the shard.
        """
        first = place = self.place(number)
        bad = 0
        while bad == 0 or place != first:
            clip = self.clips[place]
            try:
                return self.encode(clip.words(), self.decode(clip), number), bad
            except (ItemError, UsageError) as error:
                if self.on_bad == "stop":
                    raise ItemError(f"{clip.row['id']}: {error.message}", code=error.code, hint=error.hint) from error
                logging.getLogger("cineloop").warning(
                    "%s gives way to the next of its shard: %s", clip.row["id"], error
                )
            place, bad = self._next(place), bad + 1
        raise ItemError(f"no sample of {printable(str(self.clips[first].path))} can be read")

    def _next(self, place: int) -> int:
        """The sample after it in its shard; after the last, the first."""
        shard = self.clips[place].path
        if place + 1 < len(self.clips) and self.clips[place + 1].path == shard:
            return place + 1
        while place and self.clips[place - 1].path == shard:
            place -= 1
        return place

    def order(self, turn: int) -> np.ndarray:
        """Whole shards in the order of pass `turn`, samples of a shard as they lie."""
        shards: dict[Path, list[int]] = {}
        for number, clip in enumerate(self.clips):
            shards.setdefault(clip.path, []).append(number)
        groups = list(shards.values())
        mixed = np.random.default_rng([self.seed, turn]).permutation(len(groups))
        return np.concatenate([groups[group] for group in mixed])

    def decode(self, clip: Any) -> Frames:
        """Frames of the member, through a file of its own for the decoder's child process."""
        with tempfile.NamedTemporaryFile(suffix=clip.video) as file:
            file.write(clip.read(clip.video))
            file.flush()
            return super().decode(replace(clip, path=Path(file.name)))
