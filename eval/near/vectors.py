"""Which clips may be copies of each other: five frames of each, their brightness and their embedding.

In: samples with frames by `FRAMES`. Out: the evidence `CopyVectors`, of which `copy_candidates` takes the pairs of
clips that are near in one of the two vectors, and `CopyPictures`, which `v2t_eval.near.overlay` lays over each other.
Letters: N clips, T = 5 frames, D width of embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cineloop.video.sample import SampleSpec
from v2t_eval.core.features import open_extractor, unit
from v2t_eval.core.measurement import Evidence, Measurement
from v2t_eval.core.sample import Sample
from v2t_eval.near.overlay import SIZE
from v2t_eval.near.pairs import near_pairs

FRAMES = SampleSpec(num_frames=5)
LEAST_HASH, LEAST_COSINE = 0.85, 0.95  # of the two vectors of candidates
_LOW = 6  # frequencies in each direction


@dataclass(frozen=True, kw_only=True)
class VectorSettings:
    """`model`: see `NearCopiesSettings`."""

    model: str = "starter-tower"


class CopyVectors(Measurement):
    """`hash` float32 (T 35): the low frequencies of the frames' brightness, without its mean. `vector` and `mirrored`
    float32 (D,): the mean of the frames' embeddings, and of those of mirrored frames; none without a model."""

    name = "copy_vectors"
    needs = ("frames",)
    Settings = VectorSettings

    def prepare(self) -> None:
        self._extractor = open_extractor(self.settings.model) if self.settings.model else None

    def describe(self) -> dict[str, str]:
        return self._extractor.fingerprint() if self._extractor else {}

    def measure(self, sample: Sample) -> Evidence:
        import cv2

        pixels, low = sample.frames.pixels, []
        for frame in pixels:
            grey = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
            low.append(cv2.dct(grey.astype(np.float32))[:_LOW, :_LOW].reshape(-1)[1:])
        evidence: Evidence = {"hash": np.concatenate(_as_five(low))}
        if self._extractor is not None:
            both = {"vector": pixels, "mirrored": np.ascontiguousarray(pixels[:, :, ::-1])}
            for name, each in both.items():
                evidence[name] = unit(self._extractor.embed_frames(each)).mean(0).astype(np.float32)
        return evidence


class CopyPictures(Measurement):
    """`pictures` uint8 (T, h, w, 3): the frames, small."""

    name = "copy_pictures"
    needs = ("frames",)

    def measure(self, sample: Sample) -> Evidence:
        import cv2

        small = [cv2.resize(frame, SIZE[::-1], interpolation=cv2.INTER_AREA) for frame in sample.frames.pixels]
        return {"pictures": np.stack(_as_five(small))}


def _as_five(each: Sequence[np.ndarray]) -> list[np.ndarray]:
    """One of each frame; the last one again where a clip has fewer."""
    return [*each, *[each[-1]] * (FRAMES.num_frames - len(each))]


def copy_candidates(
    evidence: Sequence[Evidence | None], least_hash: float = LEAST_HASH, least_cosine: float = LEAST_COSINE
) -> list[tuple[int, int, bool]]:
    """Pairs (i, j), i < j, of clips near in brightness or embedding, and whether the second is mirrored; sorted.

    Args:
        evidence: of `CopyVectors`; None is near nothing.
    """
    hashes = [each and each["hash"] for each in evidence]
    near = _near(hashes, [None if each is None else mirrored_hash(each["hash"]) for each in evidence], least_hash)
    if any(each is not None and "vector" in each for each in evidence):
        plain, mirrored = ([each and each[key] for each in evidence] for key in ("vector", "mirrored"))
        near |= _near(plain, mirrored, least_cosine)
    return sorted(near)


def mirrored_hash(hash: np.ndarray) -> np.ndarray:
    """The hash (T 35) of the mirrored frames."""
    flipped = np.where(np.arange(_LOW * _LOW)[1:] % _LOW % 2 == 1, -1, 1)  # signs of a mirrored picture
    mirrored: np.ndarray = hash * np.tile(flipped, FRAMES.num_frames)
    return mirrored


def _near(plain: Sequence[Any], mirrored: Sequence[Any], least: float) -> set[tuple[int, int, bool]]:
    """Pairs of near vectors, of a clip with another or with its mirror image; None is near nothing."""
    known = [n for n, each in enumerate(plain) if each is not None]
    if len(known) < 2:
        return set()
    one, other = (
        unit(np.stack([vectors[n] for n in known])).astype(np.float32) for vectors in (plain, mirrored)
    )  # (N, D)
    return {
        (known[i], known[j], is_mirrored)
        for is_mirrored, second in ((False, one), (True, other))
        for i, j in near_pairs(one, least, second)[0].tolist()
    }
