"""Frechet distance between Gaussians fitted to two sets of feature vectors (Dowson and Landau 1982; FID, FVD).

In: two sets (N, d) and (M, d). Out: |m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)), float64.
The trace of (S1 S2)^(1/2) is the sum of the roots of the eigenvalues of S1^(1/2) S2 S1^(1/2), which are real and not
negative, also where a covariance has no full rank (fewer vectors than dimensions, features that never fire; `sqrtm` is
complex and wrong there). Those roots are the singular values of F G^T, where F^T F = S1 and G^T G = S2, and so they are
taken: a root of a rounded eigenvalue keeps half its digits. F has as many rows as S1 has rank; for N <= d it is the
centred vectors themselves, and no d by d matrix is ever made. Letters: N M vectors, d dimensions, r q ranks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Divisor = Literal["n-1", "n"]  # n-1: torchmetrics, torch-fidelity; n: StyleGAN-V, cd-fvd
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A mean (d,), and a covariance as itself (d, d) or, of low rank, as its root (r, d) with root^T root = S."""

    mean: np.ndarray
    covariance: np.ndarray | None = None
    root: np.ndarray | None = None

    @classmethod
    def of(cls, features: np.ndarray, divisor: Divisor = "n-1") -> Gaussian:
        """Fitted to vectors (n, d).

        Raises:
            ValueError: fewer than two vectors, values that are not finite.
        """
        features = as_matrix(features)
        num, dimension = features.shape
        if num < 2:
            raise ValueError("a covariance needs at least 2 vectors, got 1")
        degrees = num - (divisor == "n-1")
        mean = features.mean(axis=0)  # (d,)
        centred = features - mean
        if num <= dimension:
            return cls(mean, root=centred / np.sqrt(degrees))  # root (N, d)
        rest = centred.mean(axis=0)  # (d,) what rounding left in the mean
        centred -= rest
        return cls(mean + rest, covariance=centred.T @ centred / degrees)

    @property
    def trace(self) -> float:
        if self.covariance is not None:
            return float(np.trace(self.covariance))
        return float(np.sum(self.narrow() ** 2))

    def narrow(self) -> np.ndarray:
        """A root (r, d) of as few rows as the rank allows."""
        if self.root is not None:
            return self.root
        if self.covariance is None:
            raise ValueError("a Gaussian needs a covariance or its root")
        values, vectors = np.linalg.eigh(self.covariance)  # (d,), (d, d)
        kept = values > values[-1] * len(values) * _EPS
        return (vectors[:, kept] * np.sqrt(values[kept])).T  # (r, d)

    def under(self, root: np.ndarray) -> np.ndarray:
        """`root` (r, d) of another Gaussian times the transpose of a root of this one: (r, q)."""
        if self.covariance is not None:
            try:
                return root @ np.linalg.cholesky(self.covariance)  # a quarter of the time of `narrow`
            except np.linalg.LinAlgError:
                pass  # no full rank
        return root @ self.narrow().T


def frechet(first: np.ndarray, second: np.ndarray, divisor: Divisor = "n-1") -> float:
    """The distance between sets of vectors (N, d) and (M, d), >= 0 (rounding below zero is cut off).

    Raises:
        ValueError: fewer than two vectors on a side, values that are not finite, lengths that differ.
    """
    one, two = Gaussian.of(first, divisor), Gaussian.of(second, divisor)
    if one.mean.shape != two.mean.shape:
        raise ValueError(f"features have {len(one.mean)} and {len(two.mean)} dimensions, expected the same")
    if two.root is not None and (one.root is None or len(two.root) < len(one.root)):
        one, two = two, one
    cross = two.under(one.narrow())  # (r, q)
    roots = np.linalg.svd(cross, compute_uv=False) if cross.size else np.zeros(1)
    shift = one.mean - two.mean
    return max(0.0, float(shift @ shift) + one.trace + two.trace - 2 * float(roots.sum()))


def as_matrix(features: np.ndarray) -> np.ndarray:
    """`features` as a float64 matrix (n, d).

    Raises:
        ValueError: not a matrix, no vector in it, or a value that is not finite.
    """
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2 or not features.size:
        raise ValueError(f"features must be a matrix (n, d) of at least one vector, got shape {features.shape}")
    if not np.isfinite(features).all():
        where = int(np.flatnonzero(~np.isfinite(features).all(axis=1))[0])
        raise ValueError(f"features must be finite; vector {where} of {len(features)} holds NaN or infinity")
    return features
