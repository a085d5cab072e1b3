"""Near copies: which clips of a generator show a clip that it was trained on?

In: clips, and the training clips as the second set (`--reference-clips`). Out: the share of clips that are a copy of
one of them, and for each clip its nearest and the distance to it, 1 - cosine of the mean embedding of five frames, 0
(equal) to 2. A copy shows the same pictures at the same shares of its length, whatever its codec, size, speed, crop, or
mirrored: decided by laying the pictures over each other, as `v2t-eval curate` does (`v2t_eval.near`), not by the
distance, which is small between distinct clips of one prompt too. Somepalli et al. 2023 (arXiv:2212.03860) look for
copies of images by the nearest neighbour in such features. How many are found, and how often two distinct clips of one
prompt are taken for copies: docs/figures/near-copies.json.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import BaseMetric, Summary, mean_of, share_of
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.near.across import Nearest, nearest_across
from v2t_eval.near.vectors import FRAMES, CopyPictures, CopyVectors


@dataclass(frozen=True, kw_only=True)
class NearCopiesMetricSettings:
    """Attributes:
    model: gives embeddings of frames, see `v2t_eval.core.features`.
    most_differs: share of the pictures that differs in a copy. By another codec a thousandth does; what a generator
        has learnt by heart is drawn anew and differs in some hundredths: then 0.05, as `v2t-eval pick` has.
    """

    model: str = "starter-tower"
    most_differs: float = 0.001

    def __post_init__(self) -> None:
        if not 0 <= self.most_differs < 1:
            raise ValueError(f"most_differs must be 0 or above and below 1, got {self.most_differs}")
        if not self.model:
            raise ValueError("model must name an extractor, such as starter-tower")


class Metric(BaseMetric):
    name = "near_copies"
    level = "set"
    needs = ("frames", "reference_clips")
    higher_is_better = False
    detects = "training clips in another codec, size, crop or speed, mirrored ones: a generator that repeats its set"
    misses = (
        "parts of a clip and cuts at other moments, copied style or figures in another scene, strong grading; a shot "
        "in which nearly nothing moves is a copy of its next second"
    )
    requires = "--reference-clips, the training clips"
    of_set = ("most_differs",)
    Settings = NearCopiesMetricSettings

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._vectors, self._pictures = CopyVectors(model=self.settings.model), CopyPictures()

    def prepare(self) -> None:
        self._vectors.prepare()

    def describe(self) -> dict[str, str]:
        self._vectors.prepare()
        made_by = f"{self._vectors.name}/{self._vectors.version} {self._pictures.name}/{self._pictures.version}"
        return self._vectors.describe() | {"pictures": made_by}

    def measure(self, sample: Sample) -> Evidence:
        """`hash`, `vector`, `mirrored`, `pictures` of five frames, see `v2t_eval.near.vectors`."""
        from cineloop.video.sample import choose

        whole = sample.frames
        five = choose(FRAMES, whole.times_s, whole.duration_s)
        frames = replace(whole, pixels=whole.pixels[five], times_s=whole.times_s[five])
        shown = Sample(id=sample.id, clip=SampleClip(content="", frames=frames))
        return {**self._vectors.measure(shown), **self._pictures.measure(shown)}

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        """The share of copies and the mean distance; without a second set no figure."""
        if not references:
            return Summary(
                headline=self.name, figures={}, scored=0, notes=("there is no training clip to compare with",)
            )
        nearest = nearest_across(
            [row.evidence for row in rows], [each.evidence for each in references], self.settings.most_differs
        )
        copies = [float(each.copied >= 0) for each in nearest]
        distances = [_distance(each) for each in nearest]
        figures = {self.name: share_of(rows, copies), "distance": mean_of(rows, distances, (0.0, 2.0))}
        items = [_item(row, each, references) for row, each in zip(rows, nearest, strict=True)]
        again = len({each.copied for each in nearest if each.copied >= 0})
        notes = [f"compared with {len(references)} training clips"]
        if again:
            notes.append(f"{int(sum(copies))} of {len(rows)} clips are copies, of {again} training clips")
        return Summary(headline=self.name, figures=figures, items=items, notes=tuple(notes),
                       counts={"copies": int(sum(copies)), "training_clips": len(references)})  # fmt: skip


def _distance(nearest: Nearest) -> float:
    return min(2.0, max(0.0, 1.0 - nearest.cosine))


def _item(row: Observation, nearest: Nearest, references: Sequence[Observation]) -> dict[str, Any]:
    """A clip's item: 1 where it is a copy, its nearest training clip, and which it copies."""
    item: dict[str, Any] = {
        "id": row.id,
        "value": float(nearest.copied >= 0),
        "distance": _distance(nearest),
        "nearest": references[nearest.place].id,
    }
    if nearest.copied >= 0:
        item |= {"copy_of": references[nearest.copied].id, "mirrored": nearest.is_mirrored, "differs": nearest.share}
    return item
