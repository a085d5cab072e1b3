"""Inception Score (Salimans et al. 2016): exp of the mean divergence of a frame's classes from those of all frames.

In: class probabilities (N, C) of an ImageNet classifier. Out: exp(mean_n KL(p(y|x_n) || mean p(y))), from 1 (all frames
of the same classes) to C. The marginal of few frames is too close to each of them, so the score grows with N, and
the splits of the publications (10) make it smaller still. Letters: N frames, C classes.
"""

from __future__ import annotations

import numpy as np

from v2t_eval.distribution.moments import as_matrix

_TINY = float(np.finfo(np.float64).tiny)


def inception_score(probabilities: np.ndarray) -> float:
    """The score of one split, probabilities (N, C); a class of probability 0 adds nothing.

    Raises:
        ValueError: no frame, values that are not finite, or rows that are no probabilities.
    """
    probabilities = as_matrix(probabilities)
    sums = probabilities.sum(axis=1)
    if probabilities.min() < 0 or np.abs(sums - 1).max() > 1e-3:
        raise ValueError(f"probabilities must be >= 0 and sum to 1, got sums from {sums.min():.6f} to {sums.max():.6f}")
    probabilities = probabilities / sums[:, None]  # float32 rows sum to 1 only nearly
    marginal = probabilities.mean(axis=0)  # (C,)
    logs = np.log(np.maximum(probabilities, _TINY)) - np.log(np.maximum(marginal, _TINY))  # (N, C)
    return max(1.0, float(np.exp((probabilities * logs).sum(axis=1).mean())))
