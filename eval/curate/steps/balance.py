"""Balance: clusters of like clips, and the place of a clip in its cluster and in its source, on which caps are limits.

K-means on the unit vectors of `near_copies` (the mean embedding of five frames), with at most a tenth as many clusters
as clips. Places are drawn by id and seed, so that a clip more or less moves none of the others before it:
`cluster_place: {most: 200}` keeps 200 clips of each cluster, `source_place: {most: 3}` three of each source.
Letters: N clips, D width of embeddings, k clusters.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from v2t_eval.core.features import unit
from v2t_eval.curate.clip import FilmClip
from v2t_eval.curate.step import BaseStep, Column, CompareResult, Work
from v2t_eval.near.vectors import FRAMES, CopyVectors

_ROUNDS = 25


@dataclass(frozen=True, kw_only=True)
class BalanceSettings:
    """`clusters`: as many, but no more than a tenth of the clips; 0 for the square root of their number. `model`: as of
    `near_copies`. `seed`: of clusters and places."""

    clusters: int = 0
    model: str = "starter-tower"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.clusters < 0:
            raise ValueError(f"clusters must be at least 0, got {self.clusters}")


class Step(BaseStep):
    name = "balance"
    columns = {
        "cluster": Column("number of the cluster of like clips"),
        "cluster_place": Column("place of the clip in its cluster, from 1, drawn by seed", 1),
        "source_place": Column("place of the clip in its source, from 1, drawn by seed", 1),
    }
    version = 2
    detects = "kinds of clips that there are too many of, films longer than the others"
    misses = "likeness that the embeddings do not see: motion, sound, what lies outside the model's domain"
    Settings = BalanceSettings

    def examine(self, clips: Sequence[FilmClip], work: Work) -> dict[str, Any]:
        """`cluster`: the number of each clip's cluster, by id."""
        evidence = work.evidence(CopyVectors(model=self.settings.model), clips, FRAMES)
        known = [clip.id for clip in clips if clip.id in evidence]
        if not known:
            return {"cluster": {}}
        vectors = unit(np.stack([evidence[id]["vector"] for id in known])).astype(np.float32)
        wanted = self.settings.clusters or round(len(known) ** 0.5)
        labels = clusters_of(vectors, max(1, min(wanted, len(known) // 10)), self.settings.seed)
        return {"cluster": dict(zip(known, labels.tolist(), strict=True))}

    def compare(self, clips: Sequence[FilmClip]) -> CompareResult:
        clusters = [self.known["cluster"].get(clip.id) for clip in clips]
        order = sorted(range(len(clips)), key=lambda n: self._draw(clips[n].id))
        taken: Counter[tuple[str, Any]] = Counter()
        cluster_place: list[float | None] = [None] * len(clips)
        source_place: list[float | None] = [None] * len(clips)
        for n in order:
            for places, kind in ((cluster_place, ("cluster", clusters[n])), (source_place, ("", clips[n].provenance))):
                taken[kind] += 1
                places[n] = None if kind[1] is None else float(taken[kind])
        numbers = [None if cluster is None else float(cluster) for cluster in clusters]
        return CompareResult(columns={"cluster": numbers, "cluster_place": cluster_place, "source_place": source_place})

    def _draw(self, id: str) -> bytes:
        return hashlib.sha256(f"{self.settings.seed} {id}".encode()).digest()


def clusters_of(vectors: np.ndarray, num: int, seed: int) -> np.ndarray:
    """int64 (N,): clusters of float32 (N, D) of length 1 by K-means on the sphere, the largest being 0."""
    rng = np.random.default_rng(seed)
    centres = vectors[rng.choice(len(vectors), num, replace=False)]  # (k, D)
    labels, parts = np.full(len(vectors), -1), np.array_split(vectors, len(vectors) // 8192 + 1)
    for _ in range(_ROUNDS):
        near = np.concatenate([(part @ centres.T).argmax(1) for part in parts])
        if (near == labels).all():
            break
        labels = near
        sums = np.zeros_like(centres)
        np.add.at(sums, labels, vectors)
        centres = np.where(np.bincount(labels, minlength=num)[:, None] > 0, unit(sums), centres).astype(np.float32)
    order = np.argsort(-np.bincount(labels, minlength=num), kind="stable")
    ranked: np.ndarray = np.argsort(order)[labels].astype(np.int64)
    return ranked
