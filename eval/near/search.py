"""Copies of known clips among others: each of the others with the known clip that it copies.

In: two sets of samples. Out: for each of the others the known clip whose pictures it shows, and how much differs.
Candidates are the pairs that `v2t_eval.near.vectors` finds near; their pictures are laid over each other. How much may
differ is the caller's: a copy by another codec differs in a thousandth of the picture, a clip that a generator has
learnt by heart in some hundredths, since it is drawn anew (docs/picking.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cineloop.log import logger, printable
from v2t_eval.core.cache import EvidenceCache
from v2t_eval.core.executor import Executor, ExecutorConfig
from v2t_eval.core.measurement import Evidence, Measurement
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.near.overlay import share_that_differs
from v2t_eval.near.vectors import FRAMES, CopyPictures, CopyVectors, copy_candidates


@dataclass(frozen=True, kw_only=True)
class NearestClip:
    """The known clip that another one is most like, and the share of the pictures that differs, 0 to 1."""

    id: str
    share: float
    is_mirrored: bool = False


def nearest_clips(
    known: Sequence[Sample], others: Sequence[Sample], config: ExecutorConfig, *, model: str = "starter-tower",
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, NearestClip]:  # fmt: skip
    """For each of the others the known clip that it is most like, by id; none where no candidate is near.

    Args:
        known, others: with clips; ids are unique within each. A clip that cannot be read is like none.
        model: gives embeddings of frames; "" for brightness alone.

    Raises:
        MissingDependencyError: no such model. KeyboardInterrupt: stopped.
    """
    every = [*known, *others]
    names = [f"{n}" for n in range(len(every))]
    vectors = _evidence(CopyVectors(model=model), dict(zip(names, every, strict=True)), config, stop)
    candidates = [
        (i, j, is_mirrored)
        for i, j, is_mirrored in copy_candidates([vectors.get(name) for name in names])
        if i < len(known) <= j
    ]
    wanted = {names[n]: every[n] for pair in candidates for n in pair[:2]}
    pictures = _evidence(CopyPictures(), wanted, config, stop)
    nearest: dict[str, NearestClip] = {}
    for i, j, is_mirrored in candidates:
        one, other = pictures.get(names[i]), pictures.get(names[j])
        if one is None or other is None:
            continue
        share = share_that_differs(one["pictures"], other["pictures"], is_mirrored)
        before = nearest.get(every[j].id)
        if before is None or share < before.share:
            nearest[every[j].id] = NearestClip(id=every[i].id, share=share, is_mirrored=is_mirrored)
    return nearest


def _sample_of(name: str, sample: Sample) -> Sample:
    """The frames of its clip that are looked at, under a name."""
    clip = sample.clip
    if clip is None or clip.path is None:
        return Sample(id=name)
    video = SampleClip(content="", path=clip.path, start_s=clip.start_s, end_s=clip.end_s, sampling=FRAMES)
    return Sample(id=name, clip=video)


def _evidence(
    measurement: Measurement, samples: Mapping[str, Sample], config: ExecutorConfig, stop: Callable[[], bool]
) -> dict[str, Evidence]:
    """Of the frames of each clip, by the names given here."""
    measurement.prepare()
    evidence: dict[str, Any] = {}
    with (
        EvidenceCache(config.cache) as cache,
        Executor([measurement], config.limits, cache, config.place_for(len(samples))) as executor,
    ):
        jobs = (executor.open(_sample_of(name, sample), [0]) for name, sample in samples.items())
        for job in executor.run(jobs, stop):
            if 0 in job.evidence:
                evidence[job.sample.id] = job.evidence[0]
            elif error := job.error or job.errors.get(0):
                logger.debug("%s: %s", printable(job.sample.id), printable(error["message"]))
    if stop():
        raise KeyboardInterrupt
    return evidence
