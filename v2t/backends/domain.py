"""Domain check: the calibrated distance of a clip from the clips a small model was trained on.

In: pooled vision features (N, D) of clips of the model's domain, and of held-out clips of that domain. Out: a
`Domain` that scores further clips; its threshold is a quantile of the held-out scores, so the rate of false warnings
within the domain is known: 1 - quantile. The distance is Mahalanobis with a shrunken covariance
(Lee et al. 2018, arXiv:1807.03888, one class; Ledoit and Wolf 2004 for why to shrink), divided by sqrt(D), so that
clips of the domain score near 1. Letters: N clips, D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cineloop.errors import MissingDependencyError, Notice, UsageError
from cineloop.files import write_atomic

FILE_NAME = "domain.safetensors"


@dataclass(frozen=True, eq=False, kw_only=True)
class Domain:
    """The domain a model was trained on.

    Attributes:
        mean: float32 (D,).
        whiten: float32 (D, D); (x - mean) @ whiten has unit covariance over the fitted clips.
        threshold: clips with a higher score are outside.
        quantile: share of held-out clips of the domain at or below the threshold, in (0, 1).
        num_fit, num_held_out: number of clips behind mean and threshold.
        description: the domain in words, for the warning.
    """

    mean: np.ndarray
    whiten: np.ndarray
    threshold: float
    quantile: float
    num_fit: int
    num_held_out: int
    description: str

    def score(self, features: np.ndarray) -> np.ndarray:
        """Distances float64 (N,) of features (N, D); about 1 within the domain, infinite for non-finite features."""
        features = np.asarray(features, dtype=np.float64)
        if features.ndim != 2 or features.shape[1] != len(self.mean):
            raise ValueError(f"expected features (N, {len(self.mean)}), got {features.shape}")
        with np.errstate(invalid="ignore", over="ignore"):
            z = (features - self.mean) @ self.whiten.astype(np.float64)  # (N, D)
            scores = np.sqrt((z**2).mean(axis=1))  # (N,)
        return np.where(np.isfinite(scores), scores, np.inf)

    def warnings(self, features: np.ndarray) -> list[Notice | None]:
        """For each row of features (N, D) a warning, None if it is inside."""
        return [
            Notice(
                "OUT_OF_DOMAIN",
                f"unlike {self.description} (distance {score:.1f}, limit {self.threshold:.1f}); "
                "do not trust this caption, name a larger --model",
            )
            if score > self.threshold
            else None
            for score in self.score(features)
        ]


def fit(
    features: np.ndarray,
    held_out: np.ndarray,
    *,
    quantile: float = 0.995,
    shrinkage: float = 1e-3,
    description: str = "the clips this model was trained on",
) -> Domain:
    """A domain from clips the model was trained on.

    Args:
        features: (N, D), N of the order of 10 D or more.
        held_out: (M, D) clips of the same domain that are not among `features`; they set the threshold.
        quantile: share of held-out clips to leave unwarned, in (0, 1).
        shrinkage: weight in [0, 1) of the mean variance times identity in the covariance; keeps directions that the
            fitted clips never move in from deciding alone.
        description: the domain in words.

    Raises:
        UsageError: too few clips, wrong shapes, or numbers out of range.
    """
    features, held_out = np.asarray(features, dtype=np.float64), np.asarray(held_out, dtype=np.float64)
    if features.ndim != 2 or held_out.ndim != 2 or features.shape[1] != held_out.shape[1]:
        raise UsageError(f"fit needs features (N, D) and held_out (M, D), got {features.shape} and {held_out.shape}")
    if len(features) <= features.shape[1] or len(held_out) < 1 / (1 - quantile):
        raise UsageError(
            f"too few clips: {len(features)} for {features.shape[1]} features, and {len(held_out)} held out "
            f"to find the {quantile} quantile"
        )
    if not 0 < quantile < 1 or not 0 <= shrinkage < 1:
        raise UsageError(f"quantile must be in (0, 1) and shrinkage in [0, 1), got {quantile} and {shrinkage}")
    mean = features.mean(axis=0)  # (D,)
    covariance = np.cov(features, rowvar=False).reshape(len(mean), len(mean))  # (D, D)
    scale = np.trace(covariance) / len(mean)
    values, vectors = np.linalg.eigh((1 - shrinkage) * covariance + shrinkage * scale * np.eye(len(mean)))
    whiten = vectors / np.sqrt(np.maximum(values, 1e-12 * max(scale, 1e-12)))  # (D, D)
    draft = Domain(
        mean=mean.astype(np.float32),
        whiten=whiten.astype(np.float32),
        threshold=0.0,
        quantile=quantile,
        num_fit=len(features),
        num_held_out=len(held_out),
        description=description,
    )
    threshold = float(np.quantile(draft.score(held_out), quantile))
    return Domain(**{**draft.__dict__, "threshold": threshold})


def save(domain: Domain, folder: Path) -> Path:
    """Write `domain.safetensors` into a model's folder; returns its path."""
    from safetensors.numpy import save as to_bytes

    facts = {n: str(getattr(domain, n)) for n in ("threshold", "quantile", "num_fit", "num_held_out", "description")}
    data = to_bytes({"mean": domain.mean, "whiten": np.ascontiguousarray(domain.whiten)}, metadata=facts)
    write_atomic(folder / FILE_NAME, data)
    return folder / FILE_NAME


def load(folder: Path) -> Domain:
    """The domain in a model's folder. Raises MissingDependencyError: the file is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / FILE_NAME, framework="np") as file:
            facts = file.metadata()
            domain = Domain(
                mean=file.get_tensor("mean"),
                whiten=file.get_tensor("whiten"),
                threshold=float(facts["threshold"]),
                quantile=float(facts["quantile"]),
                num_fit=int(facts["num_fit"]),
                num_held_out=int(facts["num_held_out"]),
                description=facts["description"],
            )
        if domain.whiten.shape != (domain.mean.size, domain.mean.size) or domain.mean.ndim != 1:
            raise ValueError(f"mean (D,) and whiten (D, D), got {domain.mean.shape} and {domain.whiten.shape}")
        if not all(np.isfinite(values).all() for values in (domain.mean, domain.whiten, domain.threshold)):
            raise ValueError("it must be finite")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise MissingDependencyError(f"cannot read {folder / FILE_NAME}: {error}", code="DOMAIN") from error
    return domain
