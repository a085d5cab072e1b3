"""Frechet distance between Gaussians fitted to two sets of feature vectors (Dowson and Landau 1982; FID, FVD).

In: two sets (N, d) and (M, d), or their moments. Out: |m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)), float64.
The trace of (S1 S2)^(1/2) is the sum of the roots of the eigenvalues of S1^(1/2) S2 S1^(1/2), which are real and not
negative, also where a covariance has no full rank (fewer vectors than dimensions, features that never fire; `sqrtm` is
complex and wrong there). Those roots are the singular values of F G^T, where F^T F = S1 and G^T G = S2, and so they are
taken: a root of a rounded eigenvalue keeps half its digits. F has as many rows as S1 has rank; for N <= d it is the
centred vectors themselves, and no d by d matrix is ever made. Letters: N M vectors, d dimensions, r q ranks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from v2t_eval.distribution.moments import Moments, as_matrix, degrees

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A mean (d,), and a covariance as itself (d, d) or, of low rank, as its root (r, d) with root^T root = S."""

    mean: np.ndarray
    covariance: np.ndarray | None = None
    root: np.ndarray | None = None

    @classmethod
    def of(cls, features: np.ndarray, divisor: str = "n-1") -> Gaussian:
        """Fitted to vectors (n, d).

        Raises:
            ValueError: fewer than two vectors, values that are not finite, an unknown divisor.
        """
        features = as_matrix(features)
        num, dimension = features.shape
        if num < 2:
            raise ValueError("a covariance needs at least 2 vectors, got 1")
        if num > dimension:
            return cls.of_moments(Moments.of(features), divisor)
        mean = features.mean(axis=0)  # (d,)
        return cls(mean, root=(features - mean) / np.sqrt(degrees(num, divisor)))  # root (N, d)

    @classmethod
    def of_moments(cls, moments: Moments, divisor: str = "n-1") -> Gaussian:
        """Fitted to what was gathered in batches.

        Raises:
            ValueError: too few vectors for the divisor, or an unknown one.
        """
        return cls(moments.mean, covariance=moments.covariance(divisor))

    @property
    def trace(self) -> float:
        """Trace of the covariance."""
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


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """The distance, >= 0 (rounding below zero is cut off).

    Raises:
        ValueError: vectors of different lengths.
    """
    if first.mean.shape != second.mean.shape:
        raise ValueError(f"features have {len(first.mean)} and {len(second.mean)} dimensions, expected the same")
    if second.root is not None and (first.root is None or len(second.root) < len(first.root)):
        first, second = second, first
    cross = second.under(first.narrow())  # (r, q)
    roots = np.linalg.svd(cross, compute_uv=False) if cross.size else np.zeros(1)
    shift = first.mean - second.mean
    distance = float(shift @ shift) + first.trace + second.trace - 2 * float(roots.sum())
    return max(0.0, distance)


def frechet(first: np.ndarray, second: np.ndarray, divisor: str = "n-1") -> float:
    """The distance between sets of vectors (N, d) and (M, d).

    Raises:
        ValueError: fewer than two vectors on a side, values that are not finite, lengths that differ.
    """
    return frechet_distance(Gaussian.of(first, divisor), Gaussian.of(second, divisor))
