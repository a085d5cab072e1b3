"""Clips of a manifest as training samples: real files, decoded in killable children, with their conversations.

In: `manifest.jsonl` files (conversations in the LLaVA form, or captions), the model's processor. Out: batches as
`v2t.data.collate.clip_batch` gives them. Each pass over the rows has its own order, fixed by the seed, so the number of
samples seen is the whole position in the data.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cineloop.errors import ItemError, UsageError
from cineloop.manifest import Row, clip_path, form_of, is_rejected, read_manifest
from cineloop.threads import usable_cpus
from cineloop.video.frames import Frames
from cineloop.video.sample import SampleSpec
from cineloop.video.worker import DecoderPool
from v2t.data.chat import IGNORE, LabelledTokens, Turn, check_labels, encode, from_llava
from v2t.data.collate import Batch, ClipSample, clip_batch
from v2t.model.clips import cut_segments, fit_frames

DEFAULT_PROMPT = "Describe the video."
WRITE = "write the clips as webdataset (shards) or manifest (manifests): v2t-eval curate SET --write webdataset"


@dataclass(frozen=True)
class ManifestClip:
    """A row that can be trained on, and where its file lies."""

    row: Row
    path: Path


def read_clips(manifests: Sequence[Path]) -> list[ManifestClip]:
    """The rows of all manifests that hold words, but for those that a person rejected.

    Raises:
        UsageError: a manifest is broken, or no row holds conversations or captions.
    """
    for path in manifests:
        if form := form_of(path):
            hint = "name it under shards" if form == "WebDataset" else WRITE
            raise UsageError(f"{path} is a {form} set and no manifest", code="MANIFEST", hint=hint)
    rows = [ManifestClip(row, clip_path(path, row)) for path in manifests for row in read_manifest(path)]
    worded = [clip for clip in rows if clip.row.get("conversations") or clip.row.get("captions")]
    usable = [clip for clip in worded if not is_rejected(clip.row)]
    if not usable:
        raise UsageError(
            f"none of the {len(rows)} rows of {', '.join(map(str, manifests))} holds conversations or captions"
        )
    return usable


def turns_of(row: Row, rng: random.Random) -> list[Turn]:
    """The conversation of a row, or one made of a caption drawn from its captions; its first turn carries the clip."""
    if row.get("conversations"):
        turns = from_llava(row["conversations"])
    else:
        captions = row["captions"]
        if isinstance(captions, dict):
            captions = [text for texts in captions.values() for text in ([texts] if isinstance(texts, str) else texts)]
        caption = captions[int(rng.random() * len(captions))]
        turns = [Turn("user", row.get("prompt") or DEFAULT_PROMPT, 1), Turn("assistant", caption)]
    marks = sum(turn.clips for turn in turns)
    if marks > 1:
        raise UsageError(f"row {row['id']!r} holds one clip, but its conversation {marks} video marks")
    if marks == 0:
        first = next(number for number, turn in enumerate(turns) if turn.role == "user")
        turns[first] = Turn("user", turns[first].text, 1)
    return turns


@dataclass(frozen=True)
class ManifestSource:
    """Samples of a manifest, reshuffled each pass; picklable."""

    clips: Sequence[ManifestClip]
    processor: Any
    seed: int
    max_length: int
    on_bad: Literal["stop", "skip"] = "stop"
    _orders: dict[int, np.ndarray] = field(default_factory=dict, init=False, compare=False, repr=False)

    def __call__(self, start: int, count: int) -> Batch:
        """Samples `start` … `start + count - 1` of the endless shuffled stream."""
        samples = [self.sample(number) for number in range(start, start + count)]
        return clip_batch(samples, self.processor.tokenizer.pad_token_id, self.max_length)

    def sample(self, number: int) -> ClipSample:
        """One clip with its conversation.

        Raises:
            ItemError: the file cannot be decoded, and `on_bad` is stop.
            UsageError: no answer lies within `max_length`.
        """
        clip = self.clips[self.place(number)]
        try:
            frames = self.decode(clip)
        except ItemError as error:
            if self.on_bad == "stop":
                raise ItemError(f"row {clip.row['id']!r}: {error.message}", code=error.code, hint=error.hint) from error
            logging.getLogger("cineloop").warning("row %r is skipped: %s", clip.row["id"], error)
            return self._nothing(len(self.conversations(clip.row, number)))
        return self.encode(clip.row, frames, number)

    def encode(self, row: Row, frames: Frames, number: int) -> ClipSample:
        """The frames of sample `number` in segments, and the row's conversations as tokens."""
        video = self.processor.video_processor
        size = (video.size["height"], video.size["width"])
        pixels, seconds = fit_frames(frames.pixels, size, video.fit), np.maximum(frames.relative_times_s, 0)
        segments, times, mask = cut_segments(pixels, seconds, video.segment_frames)
        clip_text = self.processor.clip_text(times[mask].tolist())
        return ClipSample(
            segments, times, mask, [self._encode(row, turns, clip_text) for turns in self.conversations(row, number)]
        )

    def conversations(self, row: Row, number: int) -> list[list[Turn]]:
        """What sample `number` says about the row's clip."""
        return [turns_of(row, random.Random(f"manifest|{self.seed}|{number}"))]

    def _encode(self, row: Row, turns: list[Turn], clip_text: str) -> LabelledTokens:
        encoded = encode(self.processor.tokenizer, turns, [clip_text])
        check_labels(encoded, f"row {row['id']!r}", max_length=self.max_length)
        if len(encoded.ids) > self.max_length:
            return LabelledTokens(encoded.ids[: self.max_length], encoded.labels[: self.max_length])
        return encoded

    def place(self, number: int) -> int:
        turn, place = divmod(number, len(self.clips))
        if turn not in self._orders:  # numbers ascend: one order at a time is enough
            self._orders.clear()
            self._orders[turn] = self.order(turn)
        return int(self._orders[turn][place])

    def order(self, turn: int) -> np.ndarray:
        """The rows in the order of pass `turn`."""
        return permutation(self.seed, turn, len(self.clips))

    def decode(self, clip: ManifestClip) -> Frames:
        """The frames of the clip's file that the processor wants.

        Raises:
            ItemError: the file cannot be decoded.
        """
        video = self.processor.video_processor
        spec: SampleSpec = video.sample_spec()
        spec = SampleSpec(**{**vars(spec), "start_s": clip.row.get("start_s"), "end_s": clip.row.get("end_s")})
        size = (video.size["height"], video.size["width"]) if video.fit == "stretch" else None
        return _pool().decode(clip.path, spec, size)

    def _nothing(self, conversations: int) -> ClipSample:
        """In place of a clip that cannot be read: one black frame, nothing to learn from it."""
        video = self.processor.video_processor
        black = np.zeros((1, video.size["height"], video.size["width"], 3), np.uint8)
        segments, times, mask = cut_segments(black, np.zeros(1), video.segment_frames)
        ids = self.processor.tokenizer.encode(self.processor.clip_text([0.0]), add_special_tokens=False)
        return ClipSample(segments, times, mask, [LabelledTokens(ids, [IGNORE] * len(ids))] * conversations)


def permutation(seed: int, turn: int, length: int) -> np.ndarray:
    """The order of the rows in pass `turn`."""
    return np.random.default_rng([seed, turn]).permutation(length)


_POOLS: dict[int, DecoderPool] = {}


def _pool() -> DecoderPool:
    """The decoder pool of this process (a loader's worker is a process of its own)."""
    if os.getpid() not in _POOLS:
        from torch.utils.data import get_worker_info

        worker = get_worker_info()
        beside = (1 if worker is None else worker.num_workers) * int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        _POOLS[os.getpid()] = DecoderPool(num_workers=1, threads=max(1, usable_cpus() // beside))
    return _POOLS[os.getpid()]
