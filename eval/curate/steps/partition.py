"""Partition: the clips for training and those for validation, by source and never by clip.

All clips of a source go to the same side, and so do sources of which clips show the same, also where a limit has
dropped one of them as a copy: the rest of its film stays. The side is drawn by the name of the source, so that more
films move none from one side to the other, unless they join two groups.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from v2t_eval.curate.clip import FilmClip
from v2t_eval.curate.step import BaseStep, CompareResult
from v2t_eval.near.pairs import groups


@dataclass(frozen=True, kw_only=True)
class PartitionSettings:
    """`val`: share of the sources that are for validation, from 0 to 1. `seed`: of the draw."""

    val: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.val <= 1:
            raise ValueError(f"val must be from 0 to 1, got {self.val}")


class Step(BaseStep):
    name = "partition"
    detects = "leaks from training to validation through one film, and through copies that earlier steps found"
    misses = "films of one place or person under several sources: name a `source` in the manifest"
    Settings = PartitionSettings

    def compare(self, clips: Sequence[FilmClip]) -> CompareResult:
        """Links: `split` is train or val; with two groups or more, neither is empty."""
        joined = {id for step in self.work.steps for pair in step.same for id in pair}
        copies = [clip for clip in self.work.clips if clip.id in joined]  # such as are not left too
        pairs = [(("clip", clip.id), ("source", clip.provenance)) for clip in (*clips, *copies)]
        pairs += [(("clip", clip.id), ("clip", clip.links.duplicate_of or clip.id)) for clip in clips]
        pairs += [(("clip", one), ("clip", other)) for step in self.work.steps for one, other in step.same]
        place: dict[tuple[str, str], int] = {}  # of clips and sources
        edges = [[place.setdefault(each, len(place)) for each in pair] for pair in pairs]
        labels = groups(len(place), np.array(edges, dtype=np.int64).reshape(-1, 2)).tolist()
        draws: dict[int, float] = {}
        for source in sorted({clip.provenance for clip in clips}):
            draws.setdefault(labels[place["source", source]], self._draw(source))  # of its first source by name
        val = {label for label, draw in draws.items() if draw < self.settings.val}
        if len(draws) > 1 and 0 < self.settings.val < 1 and len(val) in (0, len(draws)):
            val = {min(draws, key=draws.__getitem__)}
        sides = ["val" if labels[place["clip", clip.id]] in val else "train" for clip in clips]
        return CompareResult(links={"split": sides})

    def _draw(self, source: str) -> float:
        digest = hashlib.sha256(f"{self.settings.seed} {source}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64
