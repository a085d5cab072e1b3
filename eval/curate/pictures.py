"""Clips looked at again: evidence of a measurement from a few frames of each, cached by the clip's content.

In: clips, the files of their films. Out: evidence; a clip whose evidence is cached is not opened. And what the
steps have examined, kept in the set's folder for as long as clips, settings and versions stay the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cineloop.documents import read_json
from cineloop.files import text_key, write_atomic
from cineloop.log import Progress, logger, printable
from cineloop.video.sample import SampleSpec
from v2t_eval.core.cache import EvidenceCache
from v2t_eval.core.executor import Executor, ExecutorConfig
from v2t_eval.core.measurement import Evidence, Measurement
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.curate.clip import FilmClip
from v2t_eval.curate.recipe import Plan
from v2t_eval.curate.step import BaseStep, Work

EXAMINED = "examined"  # folder of what steps have examined, in that of the cache


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Where the clips are; `files` by the id of the film."""

    files: Mapping[str, str]
    config: ExecutorConfig
    stop: Callable[[], bool]
    show_progress: bool = False

    def evidence(
        self, measurement: Measurement, clips: Sequence[FilmClip], sampling: SampleSpec
    ) -> dict[str, Evidence]:
        """See `Work.evidence`.

        Raises:
            MissingDependencyError: its model, or a decoder, is not available.
            KeyboardInterrupt: `stop` returned true before all were measured.
        """
        measurement.prepare()
        evidence: dict[str, Evidence] = {}
        place = self.config.place_for(len(clips))
        with (
            EvidenceCache(self.config.cache) as cache,
            Executor([measurement], self.config.limits, cache, place) as executor,
        ):
            jobs = [executor.open(self._sample(clip, sampling), [0]) for clip in clips]
            num_left = sum(bool(job.todo) for job in jobs)
            with Progress(num_left, measurement.name, enabled=self.show_progress) as bar:
                for job in executor.run(jobs, self.stop):
                    if 0 in job.evidence:
                        evidence[job.sample.id] = job.evidence[0]
                    elif error := job.error or job.errors.get(0):
                        message = printable(error["message"])
                        logger.warning("%s: %s: %s", printable(job.sample.id), error["code"], message)
                    bar.advance(bool(job.todo))
        if self.stop():
            raise KeyboardInterrupt
        return evidence

    def _sample(self, clip: FilmClip, sampling: SampleSpec) -> Sample:
        start_s, end_s, caption = clip.start_s, clip.end_s, clip.links.caption
        content = f"file:{clip.source_sha} {start_s!r}-{end_s!r} {sampling}"
        video = SampleClip(content=content, path=self.file(clip), start_s=start_s, end_s=end_s, sampling=sampling)
        return Sample(id=clip.id, clip=video, caption=caption, prompt=caption)

    def file(self, clip: FilmClip) -> Path:
        return Path(self.files[clip.film])


def examine(plan: Plan, clips: Sequence[FilmClip], work: Work, cache: Path | None) -> None:
    """Let every step examine the clips, or read what it gave for the same ones; sets `BaseStep.known` and `work`."""
    lines = [f"{clip.id} {clip.source_sha}" for clip in clips]
    lines += [f"held out {clip.id} {clip.source_sha}" for clip in work.held_out]
    contents = text_key("\n".join(lines).encode())
    work.clips, work.steps = clips, plan.steps
    for step in plan.steps:
        step.work = work
        if type(step).examine is BaseStep.examine:
            continue
        key = text_key(f"{json.dumps(step.fingerprint(), sort_keys=True)} {contents}".encode())
        path = None if cache is None else cache / EXAMINED / f"{step.name}.json"
        kept = _load(path, key)
        if kept is None:
            kept = step.examine(clips, work)
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(path, json.dumps({"key": key, "known": kept}, allow_nan=False).encode())
        step.known = kept


def _load(path: Path | None, key: str) -> dict[str, Any] | None:
    """What was examined under a key; None where there is nothing, or of other clips."""
    try:
        entry = {} if path is None else read_json(path)
    except (OSError, ValueError):
        return None
    known: dict[str, Any] | None = entry.get("known") if entry.get("key") == key else None
    return known
