"""Near copies: clips that show the same in another codec, size, crop, speed or mirrored, or under a logo.

Five frames of each clip, spread over its length, give two vectors: the low frequencies of their brightness (a
perceptual hash, kept as numbers) and the mean of their embeddings. Clips near in one of them are candidates, and their
pictures are laid over each other: a copy is the same picture everywhere in all five, but for a corner. Of the clips
joined so the best is kept: the largest, then the sharpest. Letters: N clips, T = 5 frames, D width of embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from v2t_eval.curate.clip import FilmClip
from v2t_eval.curate.step import BaseStep, Column, CompareResult, Work
from v2t_eval.near.overlay import same_pictures
from v2t_eval.near.pairs import groups
from v2t_eval.near.vectors import FRAMES, LEAST_COSINE, LEAST_HASH, CopyPictures, CopyVectors, copy_candidates


@dataclass(frozen=True, kw_only=True)
class NearCopiesSettings:
    """`model`: gives embeddings of frames, see `v2t_eval.core.features`; "" for brightness alone. `least_hash`,
    `least_cosine`: of the two vectors of candidates."""

    model: str = "starter-tower"
    least_hash: float = LEAST_HASH
    least_cosine: float = LEAST_COSINE

    def __post_init__(self) -> None:
        for name in ("least_hash", "least_cosine"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, got {getattr(self, name)}")


class Step(BaseStep):
    """A mirrored copy is one of its own kind: captions that say left or right differ."""

    name = "near_copies"
    columns = {
        "near_copy": Column("1 where a better clip in the set shows the same, else 0", 0, 1),
        "mirrored_copy": Column("1 where a better clip in the set shows the mirror image, else 0", 0, 1),
        "leak": Column("1 where a clip of --against shows the same or its mirror image, else 0", 0, 1),
    }
    detects = "other codecs, sizes, crops, speeds, logos in a corner, mirrored copies; clips of a held-out set"
    misses = "parts of a clip, cuts at other moments, text over the picture, strong grading"
    Settings = NearCopiesSettings

    def examine(self, clips: Sequence[FilmClip], work: Work) -> dict[str, Any]:
        """`pairs`: [id, id, mirrored]."""
        every = [*clips, *work.held_out]
        candidates = self._candidates(every, work)
        wanted = sorted({n for i, j, _ in candidates for n in (i, j)})
        evidence = work.evidence(CopyPictures(), [every[n] for n in wanted], FRAMES)
        pictures = {id: each["pictures"] for id, each in evidence.items()}
        pairs = []
        for i, j, is_mirrored in candidates:
            one, two = every[i].id, every[j].id
            if one in pictures and two in pictures and same_pictures(pictures[one], pictures[two], is_mirrored):
                pairs.append([one, two, is_mirrored])
        return {"pairs": pairs, "held_out": [clip.id for clip in work.held_out]}

    def _candidates(self, clips: Sequence[FilmClip], work: Work) -> list[tuple[int, int, bool]]:
        evidence = work.evidence(CopyVectors(model=self.settings.model), clips, FRAMES)
        vectors = [evidence.get(clip.id) for clip in clips]
        return copy_candidates(vectors, self.settings.least_hash, self.settings.least_cosine)

    def compare(self, clips: Sequence[FilmClip]) -> CompareResult:
        """Links: `duplicate_of` is the clip that is kept, `leak_of` that of the held-out set."""
        place = {clip.id: n for n, clip in enumerate(clips)}
        pairs = [(place[a], place[b], flipped) for a, b, flipped in self.known["pairs"] if a in place and b in place]
        plain = groups(len(clips), np.array([pair[:2] for pair in pairs if not pair[2]]).reshape(-1, 2))
        every = groups(len(clips), np.array([pair[:2] for pair in pairs]).reshape(-1, 2))
        best_plain, best = _best(clips, plain), _best(clips, every)
        near, mirrored = [], []
        kept: list[str | None] = []
        for n in range(len(clips)):
            own, other = best_plain[plain[n]], best[every[n]]
            near.append(float(own != n))
            mirrored.append(float(own == n and other != n))
            better = own if own != n else other
            kept.append(clips[better].id if better != n else None)
        held_out_ids = self._leaks(clips)
        return CompareResult(
            columns={
                "near_copy": near,
                "mirrored_copy": mirrored,
                "leak": [float(id is not None) for id in held_out_ids],
            },
            links={"duplicate_of": kept, "leak_of": held_out_ids},
        )

    def pairs(self, clips: Sequence[FilmClip]) -> Sequence[tuple[str, str]]:
        """Mirror images too."""
        ids = {clip.id for clip in clips}
        return [(a, b) for a, b, _ in self.known["pairs"] if a in ids and b in ids]

    def _leaks(self, clips: Sequence[FilmClip]) -> list[str | None]:
        """The held-out clip that each is joined to, also as a copy of a copy."""
        ids = sorted({id for a, b, _ in self.known["pairs"] for id in (a, b)})
        place = {id: n for n, id in enumerate(ids)}
        joined = groups(len(ids), np.array([(place[a], place[b]) for a, b, _ in self.known["pairs"]]).reshape(-1, 2))
        held_out = {joined[place[id]]: id for id in reversed(self.known["held_out"]) if id in place}
        return [held_out.get(joined[place[clip.id]]) if clip.id in place else None for clip in clips]


def _best(clips: Sequence[FilmClip], labels: np.ndarray) -> dict[int, int]:
    """The best clip of each group: the largest, then the sharpest, the longest, the first."""

    def worth(n: int) -> tuple[float, ...]:
        clip = clips[n]
        sharp = clip.scores.get("sharpness") or 0.0
        return ((clip.width or 0) * (clip.height or 0), sharp, clip.end_s - clip.start_s, -n)

    best: dict[int, int] = {}
    for n, label in enumerate(labels.tolist()):
        if label not in best or worth(n) > worth(best[label]):
            best[label] = n
    return best
