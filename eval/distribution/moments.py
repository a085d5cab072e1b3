"""Mean and covariance of feature vectors, gathered in batches: float64, equal for every way of cutting the batches.

In: feature vectors (n, d), a batch at a time or from several workers. Out: `Moments`, which merge, and the covariance
by a divisor that is named. The merge is the pairwise update of Chan, Golub and LeVeque (1979): sums of squares about
the mean, never E[x^2] - E[x]^2, which loses all digits where the mean is large. Letters: N vectors, d dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DIVISORS = ("n-1", "n")


@dataclass(frozen=True, eq=False)
class Moments:
    """What a set of vectors adds to a Gaussian.

    Attributes:
        num: vectors seen, N.
        mean: float64 (d,).
        scatter: float64 (d, d), the sum of (x - mean)(x - mean)^T.
    """

    num: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> Moments:
        """Moments of one batch (n, d), n >= 1.

        Raises:
            ValueError: not a matrix, no vector, or a value that is not finite.
        """
        features = as_matrix(features)
        mean = features.mean(axis=0)  # (d,)
        centred = features - mean  # (n, d)
        mean_error = centred.mean(axis=0)  # (d,) what rounding left in the mean
        centred -= mean_error
        return cls(len(features), mean + mean_error, centred.T @ centred)

    def merge(self, other: Moments) -> Moments:
        """Moments of both sets together.

        Raises:
            ValueError: vectors of another length.
        """
        if self.mean.shape != other.mean.shape:
            raise ValueError(f"features of {len(self.mean)} and {len(other.mean)} dimensions cannot be merged")
        num = self.num + other.num
        shift = other.mean - self.mean  # (d,)
        mean = self.mean + shift * (other.num / num)
        scatter = self.scatter + other.scatter + np.outer(shift, shift) * (self.num * other.num / num)
        return Moments(num, mean, scatter)

    def covariance(self, divisor: str = "n-1") -> np.ndarray:
        """Covariance (d, d).

        Args:
            divisor: "n-1" (unbiased; torchmetrics, torch-fidelity, common_metrics_on_video_quality) or "n" (StyleGAN-V,
                cd-fvd).

        Raises:
            ValueError: another divisor, or too few vectors for it.
        """
        return self.scatter / degrees(self.num, divisor)


def degrees(num: int, divisor: str) -> int:
    """What the sum of squares of `num` vectors is divided by.

    Raises:
        ValueError: a divisor that is not of `DIVISORS`, or one vector alone under "n-1".
    """
    if divisor not in DIVISORS:
        raise ValueError(f"divisor must be one of {', '.join(DIVISORS)}, got {divisor!r}")
    if num - (divisor == "n-1") < 1:
        raise ValueError(f"a covariance with divisor {divisor} needs at least 2 vectors, got {num}")
    return num - (divisor == "n-1")


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
