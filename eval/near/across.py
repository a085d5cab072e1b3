"""The clips of a second set that show what a clip shows: the nearest one, and the one that it is a copy of.

In: evidence of `CopyVectors` and `CopyPictures` of two sets. Out: a `Nearest` for each clip of the first. Within one
set `v2t_eval.near.vectors.copy_candidates` finds the pairs; of two sets only pairs across count, and each clip has a
nearest one whether it is near or not, so all products are formed. Evidence without embeddings goes by brightness alone.
Letters: N M clips of the two sets, D width of the
vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from v2t_eval.core.features import unit
from v2t_eval.core.measurement import Evidence
from v2t_eval.near.overlay import share_that_differs
from v2t_eval.near.vectors import LEAST_COSINE, LEAST_HASH, mirrored_hash

MOST_LAID = 20  # clips that are laid over a clip, the nearest by each vector
_ROWS = 256  # of the first set at once


@dataclass(frozen=True)
class Nearest:
    """Place of the nearest clip by embedding and its cosine; place of the clip that is copied, -1 for none, whether
    mirrored, and the share of the pictures that differs from it."""

    place: int
    cosine: float
    copied: int
    is_mirrored: bool = False
    share: float = 1.0


def nearest_across(own: Sequence[Evidence], others: Sequence[Evidence], most_differs: float) -> list[Nearest]:
    """For each of `own` its nearest of `others`; both have one at least. A clip is a copy where no more than
    `most_differs` of the pictures differs (`share_that_differs`); of several that it may be a copy of the likest."""
    keys: list[str] = [key for key in ("hash", "vector") if key in others[0]]
    theirs = {key: _stack(others, key) for key in keys}  # (M, D)
    nearest = []
    for start in range(0, len(own), _ROWS):
        part = own[start : start + _ROWS]
        plain = {key: _stack(part, key) @ theirs[key].T for key in keys}  # (N, M)
        mirrored = unit(np.stack([mirrored_hash(each["hash"]) for each in part])).astype(np.float32)
        flipped = {"hash": mirrored @ theirs["hash"].T}
        if "vector" in keys:
            flipped["vector"] = _stack(part, "mirrored") @ theirs["vector"].T
        for number, each in enumerate(part):
            rows = [{key: of[key][number] for key in keys} for of in (plain, flipped)]
            nearest.append(_nearest(each, others, rows, most_differs))
    return nearest


def _nearest(
    own: Evidence, others: Sequence[Evidence], rows: Sequence[dict[str, np.ndarray]], most_differs: float
) -> Nearest:
    """`rows`: cosines (M,) of the clip as it is, and of its mirror image, by vector."""
    surest = [*rows[0]][-1]
    best = np.maximum(rows[0][surest], rows[1][surest])  # (M,)
    place = int(best.argmax())
    candidates = set()
    for is_mirrored, cosines in enumerate(rows):
        for key, near in cosines.items():
            for other in np.argsort(-near, kind="stable")[:MOST_LAID].tolist():
                if near[other] >= (LEAST_HASH if key == "hash" else LEAST_COSINE):
                    candidates.add((-float(best[other]), other, bool(is_mirrored)))
    likest = Nearest(place, float(best[place]), -1)
    for _, other, is_mirrored in sorted(candidates):
        share = share_that_differs(others[other]["pictures"], own["pictures"], is_mirrored, enough=most_differs)
        if share <= most_differs and share < likest.share:
            likest = Nearest(place, float(best[place]), other, is_mirrored, share)
    return likest


def _stack(evidence: Sequence[Evidence], key: str) -> np.ndarray:
    """float32 (N, D) of length 1."""
    return unit(np.stack([np.asarray(each[key]) for each in evidence])).astype(np.float32)
