"""Retrieval: does a text find its clip among all clips of the set, and a clip its text?

In: clips with captions or prompts. Out: R@1, R@5, R@10 and the median rank, both ways. A model for single frames sees a
clip as the mean of its normalised frame features (CLIP4Clip's mean pooling, arXiv:2104.08860). Clips of one text are
never each other's negatives: a text is compared with its own clip and the clips of other texts, a clip against its own
text and the other texts, each text once. A tie (to six places) counts half a place, so a model that distinguishes
nothing lands in the middle. R@K is left out where there are not more than K to choose from. Intervals resample clips
(by cluster) against a gallery that stays.
Letters: n clips, m distinct texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from v2t_eval.core.features import clip_embedding, text_features, unit
from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import Figure, Summary, mean_of
from v2t_eval.core.sample import Sample
from v2t_eval.core.statistics import bootstrap
from v2t_eval.metrics import alignment

AT = (1, 5, 10)
WAYS = ("text_to_video", "video_to_text")


@dataclass(frozen=True, kw_only=True)
class Settings(alignment.Settings):
    """See `v2t_eval.metrics.alignment.Settings`."""

    model: str = "starter-video"


class Metric(alignment.AlignmentMetric):
    name = "retrieval"
    level = "set"
    detects = "whether what the clips show distinguishes them by their texts"
    misses = "order of frames and motion, with a model for single frames; compare only sets of one size"
    requires = alignment.AlignmentMetric.requires + "; also one for clips (starter-video)"
    kinds = ("frame", "clip")
    Settings = Settings

    def measure(self, sample: Sample) -> Evidence:
        text, kind = self.text_and_kind(sample)
        extractor = self.extractor
        clip = clip_embedding(sample, extractor).astype(np.float32)  # (D,)
        words = unit(text_features(extractor, self.prefix + text)).astype(np.float32)  # (D,)
        return {"clip": clip, "words": words, "text": text, **self.about_text(text, kind)}

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        headline = f"{WAYS[0]}_r1"
        texts = [str(row.evidence["text"]) for row in rows]
        if len(set(texts)) < 2:
            why = "retrieval needs at least two different texts"
            return Summary(headline=headline, figures={}, counts=self.counts(rows), notes=(why,), scored=0)
        clips, words = (np.stack([row.evidence[key] for row in rows]).astype(np.float64) for key in ("clip", "words"))
        positions = ranks(clips, words, texts)
        figures: dict[str, Figure] = {}
        for way, (places, choices) in zip(WAYS, positions, strict=True):
            for at in AT:
                if choices.min() > at:
                    figures[f"{way}_r{at}"] = mean_of(rows, places <= at)
            middle = bootstrap(places.tolist(), clusters=[row.cluster for row in rows], statistic=median)
            figures[f"{way}_median_rank"] = Figure(
                value=float(median(places.tolist())), low=middle.low, high=middle.high, n=len(rows)
            )
        items = [
            {
                "id": row.id,
                "value": float(first <= 1),
                "text_to_video_rank": float(first),
                "video_to_text_rank": float(s),
            }
            for row, first, s in zip(rows, positions[0][0], positions[1][0], strict=True)
        ]
        size = f"{len(rows)} clips of {len(set(texts))} different texts"
        counts = self.counts(rows) | {"texts": len(set(texts))}
        return Summary(headline=headline, figures=figures, items=items, counts=counts, notes=(size, *self.notes(rows)))


def ranks(
    clips: np.ndarray, words: np.ndarray, texts: Sequence[str]
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Places float64 (n,) of each clip for its text and of each text for its clip, 1 for the first, ties counting half;
    with each, how many there were to choose from. Features are normalised, (n, D); equal texts are one.
    """
    number = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    own = np.array([number[text] for text in texts])  # (n,)
    _, kept = np.unique(own, return_index=True)  # (m,), the first clip of each text
    gallery = words[kept]  # (m, D)
    clip_places, text_places = np.empty(len(texts)), np.empty(len(texts))
    for clip in range(len(texts)):
        clip_places[clip] = _place(clips @ words[clip], clip, own != own[clip])  # among n clips
        text_places[clip] = _place(gallery @ clips[clip], own[clip], np.arange(len(kept)) != own[clip])
    of_text = np.bincount(own)[own]  # (n,), clips that share this clip's text
    return (clip_places, len(texts) - of_text + 1), (text_places, np.full(len(texts), len(kept)))


def _place(similar: np.ndarray, right: int, others: np.ndarray) -> float:
    """Place of entry `right` among `others`, 1 for the first; ties to six places count half."""
    gap = np.round(similar - similar[right], 6)[others]
    return 1 + float((gap > 0).sum()) + 0.5 * float((gap == 0).sum())
