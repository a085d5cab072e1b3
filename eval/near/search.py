"""Copies of known clips among others: each of the others with the known clip that it copies.

In: two sets of samples. Out: for each of the others the known clip whose pictures it shows, and how much differs
(`v2t_eval.near.across`). How much may differ is the caller's: a copy by another codec differs in a thousandth of the
picture, a clip that a generator has learnt by heart in some hundredths, since it is drawn anew (docs/picking.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cineloop.log import logger, printable
from v2t_eval.core.cache import EvidenceCache
from v2t_eval.core.executor import Executor, ExecutorConfig
from v2t_eval.core.measurement import Evidence
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.near.across import nearest_across
from v2t_eval.near.vectors import FRAMES, CopyPictures, CopyVectors


@dataclass(frozen=True, kw_only=True)
class NearestClip:
    """The known clip that another one is most like, and the share of the pictures that differs, 0 to 1."""

    id: str
    share: float
    is_mirrored: bool = False


def nearest_clips(
    known: Sequence[Sample], others: Sequence[Sample], config: ExecutorConfig, *, most_differs: float,
    model: str = "starter-tower", stop: Callable[[], bool] = lambda: False,
) -> dict[str, NearestClip]:  # fmt: skip
    """For each of the others the known clip that it copies, by id; none where more than `most_differs` of the pictures
    differs from every known clip.

    Args:
        known, others: with clips; ids are unique within each. A clip that cannot be read is like none.
        most_differs: as of `v2t_eval.near.across.nearest_across`.
        model: gives embeddings of frames; "" for brightness alone.

    Raises:
        MissingDependencyError: no such model. KeyboardInterrupt: stopped.
    """
    evidence = _evidence([*known, *others], model, config, stop)
    theirs = [n for n in range(len(known)) if n in evidence]
    own = [n for n in range(len(known), len(known) + len(others)) if n in evidence]
    if not theirs or not own:
        return {}
    nearest = nearest_across([evidence[n] for n in own], [evidence[n] for n in theirs], most_differs)
    return {
        others[n - len(known)].id: NearestClip(
            id=known[theirs[each.copied]].id, share=each.share, is_mirrored=each.is_mirrored
        )
        for n, each in zip(own, nearest, strict=True)
        if each.copied >= 0
    }


def _sample_of(name: str, sample: Sample) -> Sample:
    """The frames of its clip that are looked at, under a name."""
    clip = sample.clip
    if clip is None or clip.path is None:
        return Sample(id=name)
    video = SampleClip(content="", path=clip.path, start_s=clip.start_s, end_s=clip.end_s, sampling=FRAMES)
    return Sample(id=name, clip=video)


def _evidence(
    samples: Sequence[Sample], model: str, config: ExecutorConfig, stop: Callable[[], bool]
) -> dict[int, Evidence]:
    """Vectors and pictures of each clip that can be read, by its place."""
    measurements = [CopyVectors(model=model), CopyPictures()]
    for measurement in measurements:
        measurement.prepare()
    evidence: dict[int, Evidence] = {}
    with (
        EvidenceCache(config.cache) as cache,
        Executor(measurements, config.limits, cache, config.place_for(len(samples))) as executor,
    ):
        jobs = (executor.open(_sample_of(f"{n}", sample), [0, 1]) for n, sample in enumerate(samples))
        for job in executor.run(jobs, stop):
            if job.evidence.keys() == {0, 1}:
                evidence[int(job.sample.id)] = job.evidence[0] | job.evidence[1]
            elif error := job.error or next(iter(job.errors.values()), None):
                logger.debug("%s: %s", printable(job.sample.id), printable(error["message"]))
    if stop():
        raise KeyboardInterrupt
    return evidence
