"""EMScore: how well a caption fits a clip, as a whole and word by word.

In: clips with a caption (or a prompt), references where there are some. Out: the mean of a coarse cosine (mean of the
normalised frames, against the text) and a fine F1: precision is the mean over tokens, weighted by IDF, of the best
frame; recall the mean over frames of the best token. Shi et al. 2022 (arXiv:2111.08919), with their choices: the marks
of begin and end are tokens; IDF log((N+1)/(c+1)) over all references, or over all captions where there are none; the
end's weight is the mean over all tokens of that corpus, padding (weight 0) among them. `emscore_ref` also compares the
caption with each reference (recall weighted by IDF too), takes the best, and averages.
Different from their code: a token's best frame is the best even where all cosines are negative (they pad with zeros,
so a score depends on its batch); F1 is 0 where precision or recall is not positive; equal weights where all IDF are 0.
Letters: L tokens, T frames.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import fsum, log
from statistics import fmean
from typing import Any

import numpy as np

from cineloop.errors import MissingDependencyError
from v2t_eval.core.features import frame_features, mean_features, text_features, unit
from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import Summary
from v2t_eval.core.sample import Sample
from v2t_eval.core.statistics import f1
from v2t_eval.metrics import alignment
from v2t_eval.metrics.alignment import cosine, exact_mean


@dataclass(frozen=True, kw_only=True)
class Settings(alignment.Settings):
    """See `v2t_eval.metrics.alignment.Settings`. `idf`: weigh tokens by how rare they are in the set."""

    idf: bool = True


class Metric(alignment.AlignmentMetric):
    name = "emscore"
    uses = ("caption", "prompt", "references")
    value_range = (-1.0, 1.0)
    detects = "whether each word is seen in some frame, and each frame is spoken of by some word"
    misses = "order of frames and motion: a reversed or shuffled clip scores the same"
    requires = "a dual encoder that shows its tokens: the starter's, any of open_clip, or clip: of transformers"
    Settings = Settings

    def prepare(self) -> None:
        if not self.extractor.has_tokens:
            raise MissingDependencyError(
                f"emscore needs features of single words, and {self.extractor.name} gives one for the whole text",
                hint="choose model=starter, an open_clip model, or a CLIP of transformers",
            )

    def measure(self, sample: Sample) -> Evidence:
        text, kind = self.text_and_kind(sample)
        extractor = self.extractor
        frames = frame_features(sample, extractor)  # (T, D)
        numbers, tokens = extractor.embed_tokens(text)  # (L,), (L, D)
        own = text_features(extractor, text)
        near = _cosines(tokens, frames)  # (L, T)
        compared: list[dict[str, Any]] = []
        for reference in sample.references:
            their_numbers, theirs = extractor.embed_tokens(reference)
            both = _cosines(tokens, theirs)  # (L, L_ref)
            compared.append({
                "tokens": their_numbers, "best": both.max(1).tolist(), "best_of_theirs": both.max(0).tolist(),
                "coarse": float(cosine(text_features(extractor, reference), own)),
            })  # fmt: skip
        return {
            "tokens": numbers,
            "best": near.max(1).tolist(),
            "recall": exact_mean(near.max(0)),
            "coarse": float(cosine(mean_features(unit(frames)), own)),
            "references": compared,
            **self.about_text(text, kind),
        }

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        reference_tokens = [compared["tokens"] for row in rows for compared in row.evidence["references"]]
        corpus = reference_tokens or [row.evidence["tokens"] for row in rows]
        weights = Weights(corpus if self.settings.idf else [], self.extractor.end_token)
        items, scored = [], []
        for row in rows:
            item = _scores(row.evidence, weights)
            items.append({"id": row.id, **item})
            scored.append(replace(row, evidence=item))
        figures = {self.name: self.mean(scored)} | {key: self.mean(scored, key) for key in ("coarse", "fine")}
        if with_references := [row for row in scored if "emscore_ref" in row.evidence]:
            figures["emscore_ref"] = self.mean(with_references, "emscore_ref")
        source = "references" if reference_tokens else "captions of this set"
        idf = f"IDF over {len(corpus)} {source}" if self.settings.idf else "no IDF"
        counts = self.counts(rows) | {"idf_texts": len(corpus) if self.settings.idf else 0}
        return Summary(headline=self.name, figures=figures, items=items, counts=counts, notes=(idf, *self.notes(rows)))


class Weights:
    """IDF of tokens by a corpus of token lists; equal for all tokens when the corpus is empty.

    `end` is the number of the token that marks the end of a text.
    """

    def __init__(self, corpus: Sequence[Sequence[int]], end: int) -> None:
        self.num = len(corpus)
        frequencies = Counter(token for tokens in corpus for token in set(tokens))
        self.idf = {token: log((self.num + 1) / (count + 1)) for token, count in frequencies.items()}
        if end in self.idf:
            self.idf[end] = fsum(self.idf.values()) / (len(self.idf) + 1)  # one more: the padding

    def of(self, tokens: Sequence[int]) -> np.ndarray:
        """float64 (L,), summing to 1."""
        weights = np.array([self.idf.get(token, log(self.num + 1)) for token in tokens])
        total = weights.sum()
        return weights / total if total > 0 else np.full(len(tokens), 1 / len(tokens))


def _scores(evidence: Evidence, weights: Weights) -> dict[str, float]:
    """`value`, `coarse`, `fine`, precision and recall of one clip; with references also `emscore_ref`."""
    own = weights.of(evidence["tokens"])
    precision, recall = float(own @ np.asarray(evidence["best"])), float(evidence["recall"])
    fine = f1(precision, recall)
    value = (evidence["coarse"] + fine) / 2
    scores = {
        "value": value, "coarse": evidence["coarse"], "fine": fine, "precision": precision, "recall": recall
    }  # fmt: skip
    if evidence["references"]:
        compared = evidence["references"]
        fines = [
            f1(
                float(own @ np.asarray(one["best"])),
                float(weights.of(one["tokens"]) @ np.asarray(one["best_of_theirs"])),
            )
            for one in compared
        ]
        against = (max(one["coarse"] for one in compared) + max(fines)) / 2
        scores |= {"against_references": against, "emscore_ref": fmean((value, against))}
    return scores


def _cosines(tokens: np.ndarray, others: np.ndarray) -> np.ndarray:
    """float64 (L, n) of (L, D) and (n, D), each pair by itself."""
    return np.stack([cosine(others, token) for token in tokens])
