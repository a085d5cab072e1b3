"""Preference pairs as training samples: one clip, one prompt, two answers of which the first is the better one.

In: `preferences.jsonl` files, of `v2t-eval mine` or written by hand: manifests whose rows hold `chosen` and `rejected`,
and maybe the `prompt` that both answer; the model's processor; the log-probabilities of both answers under the
reference. Out: batches of `v2t.data.collate.clip_batch` with two conversations a clip, the chosen one first, and
`reference` (n, 2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from cineloop.errors import UsageError
from cineloop.files import text_key, unescape_name
from cineloop.log import printable
from cineloop.manifest import Row, clip_path, read_manifest
from cineloop.tensor_cache import TensorCache
from v2t.data.chat import IGNORE, Turn
from v2t.data.collate import Batch, ClipSample
from v2t.data.manifest_clips import DEFAULT_PROMPT, ManifestClip, ManifestSource

Reference = dict[str, tuple[float, float]]  # by `pair_key`: log-probabilities of the chosen and the rejected answer
ANSWERS = ("chosen", "rejected")
KEPT = ("tokens", "times_s", "mask")  # of a clip: query tokens (s, Q, D), seconds and mask (s, F)


def read_pairs(files: Sequence[Path], root: Path | None = None) -> list[ManifestClip]:
    """The pairs of all files.

    Args:
        root: what paths of clips are relative to; None: the file's folder.

    Raises:
        UsageError: a file is missing, broken or empty; a row lacks an answer, or both are the same.
    """
    pairs = []
    for path in files:
        for row in read_manifest(path):
            _check(row, f"{printable(str(path))}, row {row['id']!r}")
            file = clip_path(path, row) if root is None else root / unescape_name(row["path"])
            pairs.append(ManifestClip(row, file))
    if not pairs:
        raise UsageError(
            f"no preference pair in {', '.join(printable(str(path)) for path in files)}",
            hint="rows of id, path, chosen, rejected; `v2t-eval mine` writes them",
        )
    return pairs


def _check(row: Row, where: str) -> None:
    for name in ANSWERS:
        if not isinstance(row.get(name), str) or not row[name].strip():
            raise UsageError(f"{where}: {name!r} must be a text, got {row.get(name)!r}", code="MANIFEST")
    if row["chosen"].strip() == row["rejected"].strip():
        raise UsageError(
            f"{where}: chosen and rejected are the same text, {printable(row['chosen'], 80)!r}",
            code="MANIFEST",
            hint="a tie teaches nothing: leave the row out",
        )
    if not isinstance(row.get("prompt", ""), str | None):
        raise UsageError(f"{where}: 'prompt' must be a text, got {row['prompt']!r}", code="MANIFEST")


def pair_key(clip: ManifestClip) -> str:
    """What the reference of a pair depends on, as a short hash: clip, prompt and answers."""
    about = [str(clip.path), *(clip.row.get(name) for name in ("start_s", "end_s", "prompt", *ANSWERS))]
    return text_key(repr(about).encode("utf-8", "surrogatepass"))


@dataclass(frozen=True)
class PreferenceSource(ManifestSource):
    """Pairs, reshuffled each pass; picklable. Without a `reference` batches have none. With `tokens`, which holds
    `KEPT` of each clip by `pair_key`, no clip is opened, and batches have `query_tokens` (S, Q, D) in place of
    pixels."""

    reference: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    tokens: TensorCache | None = None

    def __call__(self, start: int, count: int) -> Batch:
        """Pairs `start` … `start + count - 1` of the endless shuffled stream."""
        batch = super().__call__(start, count)
        if self.tokens is not None:
            batch["query_tokens"] = batch.pop("pixels")
        if not self.reference:
            return batch
        known = [self.reference[self.key(number)] for number in range(start, start + count)]
        return batch | {"reference": torch.tensor(known)}

    def sample(self, number: int) -> ClipSample:
        if self.tokens is None:
            return super().sample(number)
        row = self.clips[self.place(number)].row
        kept = self.tokens.get(self.key(number))
        tokens, times, mask = (kept[name].numpy() for name in KEPT)
        clip_text = self.processor.clip_text(times[mask].tolist())
        rows = [self._encode(row, turns, clip_text) for turns in self.conversations(row, number)]
        return ClipSample(tokens, times, mask, rows)

    def key(self, number: int) -> str:
        return pair_key(self.clips[self.place(number)])

    def conversations(self, row: Row, number: int) -> list[list[Turn]]:
        """The same prompt with either answer."""
        asked = Turn("user", row.get("prompt") or DEFAULT_PROMPT, clips=1)
        return [[asked, Turn("assistant", row[name].strip())] for name in ANSWERS]


def whole_pairs(batch: Batch) -> torch.Tensor:
    """Which pairs (n,) of a batch can be learned from: both answers have targets; a clip that was skipped has none."""
    return (batch["labels"][:, 1:] != IGNORE).any(1).view(-1, len(ANSWERS)).all(1)
