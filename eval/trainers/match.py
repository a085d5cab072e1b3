"""Whether captions belong to their clips: the test for shifted captions by a dual encoder.

In: a `CheckedSet` with captions. Out: a `ShiftTest`, findings at the clips of a shift, a notice where nothing could be
tested. Evidence is that of the metric `retrieval`, cached as a scoring's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cineloop.errors import Notice
from cineloop.log import Progress, logger, printable
from cineloop.video.sample import SampleSpec
from v2t_eval.core.cache import EvidenceCache
from v2t_eval.core.executor import Executor, ExecutorConfig
from v2t_eval.core.metric import load_metric
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.trainers.findings import SetFinding
from v2t_eval.trainers.rows import CheckedClip, CheckedSet
from v2t_eval.trainers.settings import CheckSetConfig
from v2t_eval.trainers.shift import FEWEST, OFFSETS, ShiftTest, shift_of

FRAMES = SampleSpec(num_frames=16)


def match_captions(
    checked: CheckedSet,
    asked: CheckSetConfig,
    config: ExecutorConfig,
    stop: Callable[[], bool] = lambda: False,
    show_progress: bool = False,
) -> ShiftTest | None:
    """Test the captions of the clips that have one, in the order of their paths; None where nothing was asked.

    Raises:
        MissingDependencyError: the encoder is not available. UsageError: there is none of that name.
        KeyboardInterrupt: stopped.
    """
    clips = [each for each in checked.clips if each.footage is not None and each.captions and any(each.captions.texts)]
    if asked.encoder == "none":
        return None
    if len(clips) < FEWEST + max(map(abs, OFFSETS)):
        _note(checked, f"shifted captions are not looked for among {len(clips)} clips with a caption: too few")
        return None
    vectors = _vectors(clips, asked.encoder, config, stop, show_progress)
    clips = [clip for clip in clips if clip.path in vectors]
    if len(clips) < FEWEST + max(map(abs, OFFSETS)):
        _note(checked, f"shifted captions are not looked for: the encoder reads {len(clips)} clips, too few")
        return None
    test = shift_of(*(np.stack([vectors[clip.path][n] for clip in clips]) for n in (0, 1)))
    if not test.knows:
        _note(
            checked,
            f"shifted captions are not tested: {asked.encoder} does not tell these clips' captions apart "
            f"(own ones {test.own:.1f} standard errors above others); name an encoder of your clips by --encoder",
        )
    for number in range(test.first, len(clips)) if test.offset else ():
        own = number + test.offset
        whose = printable(clips[own].path) if 0 <= own < len(clips) else "no clip"
        message = f"the caption of {whose} fits it better, so for all clips from {printable(clips[test.first].path)} on"
        clips[number].findings.append(
            SetFinding(code="SHIFTED_CAPTION", effect="changed", message=f"{message} (p = {test.p:.3f})")
        )
    return test


def _vectors(
    clips: list[CheckedClip], encoder: str, config: ExecutorConfig, stop: Callable[[], bool], show_progress: bool
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Embeddings (D,) of clip and caption by path, of clips that the encoder can read."""
    metric = load_metric("retrieval")(model=encoder, text="caption")
    metric.prepare()
    vectors: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    with (
        EvidenceCache(config.cache) as cache,
        Executor([metric], config.limits, cache, config.place_for(len(clips))) as executor,
        Progress(len(clips), "captions", enabled=show_progress) as bar,
    ):
        jobs = (executor.open(_sample(clip), [0]) for clip in clips)
        for job in executor.run(jobs, stop):
            if 0 in job.evidence:
                vectors[job.sample.id] = (job.evidence[0]["clip"], job.evidence[0]["words"])
            elif error := job.error or job.errors.get(0):
                logger.debug("%s: %s", printable(job.sample.id), printable(error["message"]))
            bar.advance(1)
    if stop():
        raise KeyboardInterrupt
    return vectors


def _sample(clip: CheckedClip) -> Sample:
    caption = next(text for text in clip.captions.texts if text) if clip.captions else None
    video = SampleClip(content=f"file:{clip.sha} {FRAMES}", path=clip.file, sampling=FRAMES)
    return Sample(id=clip.path, clip=video, caption=caption, prompt=caption)


def _note(checked: CheckedSet, message: str) -> None:
    checked.notices.append(Notice("SHIFT_NOT_TESTED", message))
