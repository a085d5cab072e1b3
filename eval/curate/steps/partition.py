"""Partition: the clips for training and those for validation, by source and never by clip.

All clips of a source go to the same side, and so do sources that share a clip or a near copy. The side is drawn by the
name of the source, so that more films move none from one side to the other, unless they join two groups.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from v2t_eval.curate.near import groups
from v2t_eval.curate.step import BaseStep, Row, source_of


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

    def compare(self, rows: Sequence[Row]) -> Mapping[str, Sequence[float | None]]:
        """Sets `split` of each row to train or val; with two groups or more, neither is empty."""
        place: dict[tuple[str, str], int] = {}  # of sources and clips, which may be such as are not left
        pairs = []
        for row in rows:
            own = ("clip", row["id"])
            for other in (("source", source_of(row)), ("clip", row.get("duplicate_of") or row["id"])):
                pairs.append([place.setdefault(each, len(place)) for each in (own, other)])
        labels = groups(len(place), np.array(pairs, dtype=np.int64).reshape(-1, 2)).tolist()
        draws: dict[int, float] = {}
        for source in sorted({source_of(row) for row in rows}):
            draws.setdefault(labels[place["source", source]], self._draw(source))  # of its first source by name
        val = {label for label, draw in draws.items() if draw < self.settings.val}
        if len(draws) > 1 and 0 < self.settings.val < 1 and len(val) in (0, len(draws)):
            val = {min(draws, key=draws.__getitem__)}
        for row in rows:
            row["split"] = "val" if labels[place["clip", row["id"]]] in val else "train"
        return {}

    def _draw(self, source: str) -> float:
        digest = hashlib.sha256(f"{self.settings.seed} {source}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64
