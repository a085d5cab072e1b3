"""First-frame fidelity: does a clip stay with the picture that it was given (image to video)?

In: frames and the given picture: `image` of a row of `t2v generate --image`, or of --prompts. Out: VBench++'s
i2v_subject and i2v_background (Huang et al. 2024, arXiv:2411.13503): w_max max_t c_t + w_mean mean_t s_t + w_min min_t
s_t, where c_t is the cosine of frame t with the picture, s_t that with the frame before, negative ones as 0. The
reference takes DINO ViT-B/16 with weights .5, .5, 0 (`part=subject`, model=dino:facebook/dino-vitb16) and DreamSim,
which cannot be had here, with .4, .3, .3 (`part=background`); the usual model is the tower of the shipped captioner. By
`max` a clip that shows the picture in one frame and then leaves it keeps half of the value: in mode `fixed` the first
term is the mean of c_t, and a frozen clip, which would be perfect, is named and left out, as in VBench's dimensions.
Letters: T frames, D width of the features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from cineloop.errors import ItemError, UsageError
from v2t_eval.core.features import BaseExtractor, frame_features, unit
from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import BaseMetric, Summary
from v2t_eval.core.sample import Sample
from v2t_eval.vbench.dimension import describe_backbone, open_extractor_as
from v2t_eval.vbench.still import is_frozen

WEIGHTS = {"subject": (0.5, 0.5, 0.0), "background": (0.4, 0.3, 0.3)}  # of c, the mean of s, the least s
_REFERENCES = {"subject": "DINO ViT-B/16", "background": "DreamSim"}


@dataclass(frozen=True, kw_only=True)
class FirstFrameSettings:
    """Attributes:
    model: a frame extractor, see `v2t_eval.core.features`.
    part: whose weights: of i2v_subject or of i2v_background.
    mode: "compat" repeats the reference's max, with its backbone alone; "fixed" takes the mean.
    """

    model: str = "starter-tower"
    part: Literal["subject", "background"] = "subject"
    mode: Literal["fixed", "compat"] = "fixed"

    def __post_init__(self) -> None:
        if self.mode == "compat" and self.part == "background":
            raise ValueError("mode=compat of part=background repeats VBench++ on DreamSim, which is not to be had here")


class Metric(BaseMetric):
    name = "first_frame_fidelity"
    needs = ("frames", "first_frame")
    detects = "a clip that ignores the given picture or departs from it, cuts, frames in disorder"
    misses = "whether anything happens (a frozen clip would be perfect; it is named and left out), order reversed"
    requires = "nothing with the starter; for the reference's backbone model=dino:facebook/dino-vitb16"
    Settings = FirstFrameSettings

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        if self.settings.mode == "compat" and not self.settings.model.startswith("dino:"):
            raise UsageError(
                f"{self.name}: mode=compat repeats VBench++ on {_REFERENCES['subject']}, not on {self.settings.model}",
                hint="model=dino:facebook/dino-vitb16, or mode=fixed",
            )

    @cached_property
    def extractor(self) -> BaseExtractor:
        """The model of the frames, loaded at its first use."""
        return open_extractor_as(self.settings.model, compat=self.settings.mode == "compat", kind="frame")

    def prepare(self) -> None:
        _ = self.extractor

    def describe(self) -> dict[str, str]:
        return describe_backbone(self.extractor)

    def measure(self, sample: Sample) -> Evidence:
        """`value`; `to_picture`, the mean cosine with the picture, and `last`, that of the last frame.

        Raises:
            ItemError: TOO_SHORT, a single frame; MODEL_ERROR, a feature is zero.
        """
        if len(sample.frames) < 2:
            raise ItemError(f"{sample.id} has one frame: nothing follows the picture", code="TOO_SHORT")
        picture = self.extractor.embed_frames(sample.first_picture[None])[0]  # (D,)
        conform, steady = similarities(frame_features(sample, self.extractor), picture)
        value = fidelity(conform, steady, self.settings.part, compat=self.settings.mode == "compat")
        return {"value": value, "to_picture": float(conform.mean()), "last": float(conform[-1]),
                "frozen": is_frozen(sample)}  # fmt: skip

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        """Means over clips; in mode fixed over those in which something moves."""
        compat = self.settings.mode == "compat"
        kept = [row for row in rows if compat or not row.evidence["frozen"]]
        named = {self.name: "value", "to_picture": "to_picture", "last": "last"}
        figures = {name: self.mean(kept, key) for name, key in named.items()} if kept else {}
        frozen = sum(bool(row.evidence["frozen"]) for row in rows)
        theirs = _REFERENCES[self.settings.part]
        notes = [f"backbone: {self.settings.model} (the reference has {theirs})"]
        if not compat:
            notes.append("not a VBench++ leaderboard number: formula repaired (mode fixed)")
        if frozen and not compat:
            notes.append(f"{frozen} of {len(rows)} clips are frozen; they are left out, never a pass")
        return Summary(headline=self.name, figures=figures, items=[_item(row, row in kept) for row in rows],
                       counts={"frozen": frozen}, notes=tuple(notes), scored=len(kept))  # fmt: skip


def _item(row: Observation, counts: bool) -> dict[str, object]:
    """A clip that does not count has its value under `raw`."""
    value = row.evidence["value"]
    shown = {"value": value} if counts else {"value": None, "raw": value}
    return {"id": row.id, **row.evidence, **shown, "frozen": bool(row.evidence["frozen"])}


def similarities(features: np.ndarray, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of the frames (T, D) with the picture (D,), and of each with the one before: (T,) and (T - 1,), 0 to 1.

    Raises:
        ItemError: MODEL_ERROR, a feature is zero.
    """
    frames, given = unit(features), unit(picture)
    if not (np.abs(frames).sum(1) > 0).all() or not np.abs(given).sum() > 0:
        raise ItemError("a frame's feature is zero", code="MODEL_ERROR")
    return np.clip(frames @ given, 0.0, 1.0), np.clip((frames[1:] * frames[:-1]).sum(1), 0.0, 1.0)


def fidelity(conform: np.ndarray, steady: np.ndarray, part: str, *, compat: bool) -> float:
    """The value of a clip, see the module's head."""
    first, mean, least = WEIGHTS[part]
    near = conform.max() if compat else conform.mean()
    return float(min(1.0, first * near + mean * steady.mean() + least * steady.min()))
