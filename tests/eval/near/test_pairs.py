"""All near pairs are those of the whole product, and a crowd has bounded ones."""

from __future__ import annotations

import numpy as np
import pytest

from v2t_eval.near import pairs as near
from v2t_eval.near.pairs import groups, near_pairs


def vectors(num: int, width: int, seed: int = 0) -> np.ndarray:
    """Unit vectors of which many are near each other."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((num // 4, width))
    found = centres[rng.integers(0, len(centres), num)] + 0.2 * rng.standard_normal((num, width))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("width", [8, 200])
@pytest.mark.parametrize("is_other", [False, True])
def test_near_pairs_are_those_of_the_whole_product(monkeypatch, width, is_other):
    monkeypatch.setattr(near, "_ROWS", 30)
    monkeypatch.setattr(near, "_COLUMNS", 70)
    one = vectors(300, width)
    other = vectors(300, width, 0)[::-1].copy() if is_other else one
    pairs, cosines = near_pairs(one, 0.93, other if is_other else None, most=300)
    product = np.triu(one @ other.T, 1)
    assert len(pairs) > 20 and pairs.tolist() == np.argwhere(product >= 0.93).tolist()
    np.testing.assert_allclose(cosines, product[tuple(pairs.T)], atol=1e-5)


def test_a_crowd_of_like_vectors_stays_one_group_with_bounded_pairs():
    crowd = np.repeat(vectors(8, 64)[:1], 900, 0)
    crowd = np.concatenate([crowd, vectors(8, 64)[1:2]])
    pairs, _ = near_pairs(crowd, 0.99, most=5)
    assert np.bincount(pairs[:, 0]).max() == 5
    labels = groups(len(crowd), pairs)
    assert len(set(labels[:900].tolist())) == 1 and labels[900] not in labels[:900]
