"""VBench's consistency: similarity of the frames of a clip to the one before and to the first.

In: a feature vector for each frame, and the pairs to compare. Out: the sum of the terms and their number. A term is
half of max(0, cos(earlier, later)) plus half of max(0, cos(first, later)).
Letters: T frames, D width of the features, P pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

import numpy as np

from cineloop.errors import ItemError


def consistency(features: np.ndarray, pairs: Sequence[tuple[int, int]] | None = None) -> tuple[float, int]:
    """Sum of the terms and how many there are.

    Args:
        features: float (T, D), of any length but zero.
        pairs: (earlier, later) indices; neighbours when None.

    Raises:
        ItemError: TOO_SHORT, there is no pair; MODEL_ERROR, a feature is zero or not finite.
    """
    features = np.asarray(features, dtype=np.float64)
    if pairs is None:
        pairs = [(t, t + 1) for t in range(len(features) - 1)]
    if not pairs:
        raise ItemError("one frame has nothing to be consistent with", code="TOO_SHORT", hint="two frames at least")
    length = np.linalg.norm(features, axis=1, keepdims=True)  # (T, 1)
    if not np.isfinite(length).all() or (length == 0).any():
        raise ItemError("a frame's feature is zero or not finite", code="MODEL_ERROR")
    unit = features / length
    earlier, later = unit[[a for a, _ in pairs]], unit[[b for _, b in pairs]]  # (P, D)
    before = np.clip((earlier * later).sum(1), 0.0, 1.0)  # (P,)
    first = np.clip(later @ unit[0], 0.0, 1.0)  # (P,)
    return fsum((before + first) / 2), len(pairs)
