"""Measure on a cluster: clips are decoded by its decoding workers and measured by its model workers.

In: jobs. Out: the same jobs with replies, in any order, with the same bits as in one process. Frames go from the
machine that decoded them to the one that measures. A model worker journals its evidence under the keys of the cache
(`cineloop.cluster.journals`) before it answers; what a run that died left there is taken into the cache by the next.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cineloop.audio import read as audio
from cineloop.cluster import journals
from cineloop.cluster.node import PlacedResult
from cineloop.cluster.settings import ClusterConfig
from cineloop.cluster.workers import (
    DecodeWorker,
    ModelWorker,
    Session,
    Task,
    Workers,
    open_workers,
    read_frames,
    retry_inputs,
    run_tasks,
)
from cineloop.errors import ItemError
from cineloop.journal import Entry, Journal
from cineloop.video.frames import Frames
from cineloop.video.worker import DecoderPool
from v2t_eval.core import models
from v2t_eval.core.cache import EvidenceCache, decode, encode
from v2t_eval.core.measurement import FilmPass
from v2t_eval.core.sample import BESIDE, SampleClip
from v2t_eval.core.worker import ClipLimits, Job, MeasurementWorker, PendingJob, Reply, WorkerSpec, spec_of

Video = tuple[Any, int | None] | None  # a result of a decoding worker; which of the call's bulks has its pixels


@dataclass(frozen=True)
class ClusterPlace:
    """A cluster as the place of an `Executor`.

    Attributes:
        config: with an engine.
        state: folder for the workers' journals, seen by every machine.
        session: see `open_workers`.
    """

    config: ClusterConfig
    state: Path
    session: Session | None = None

    def __call__(
        self, worker: MeasurementWorker, jobs: Iterator[Job], stop: Callable[[], bool]
    ) -> Iterator[tuple[Job, Reply]]:
        """The jobs with their replies, as the workers finish them; no new ones start after a stop. Measurements read
        frames, or all of them surveys.

        Raises:
            MissingDependencyError: no ray, no cluster, no decoder. UsageError: the workers do not see `state`.
        """
        model = partial(EvidenceModel, worker.spec(models.chosen_device()))
        decoder = partial(_decode_worker, worker.limits)
        with open_workers(self.config, self.state, model, decoder, answer_key, session=self.session) as workers:
            assert workers.decoders is not None
            most = workers.decoders.size.most + 2 * workers.models.size.most
            yield from run_tasks((_task(workers, worker, job) for job in jobs), most, stop)
        journals.log_twice(workers.num_twice, "measured")


def place_on(
    config: ClusterConfig, state: Path, cache: Path | None, session: Session | None = None
) -> ClusterPlace | None:
    """The cluster as a place; None where `config` names no engine. What the workers of a run that died had measured is
    first taken from `state` into the cache."""
    if paths := journals.journals(state):
        with EvidenceCache(cache) as kept:
            for path in paths:
                with Journal(path, writable=False) as journal:
                    for entry, _ in journal.replay():
                        if entry["kind"] == "evidence":
                            kept.keep({key: decode(base64.b64decode(text)) for key, text in entry["data"].items()})
        journals.remove(state)
    return None if config.engine == "none" else ClusterPlace(config, state, session)


def answer_key(entry: Entry) -> Any:
    """The id of the clip whose evidence an entry of a worker's journal holds; None for other entries."""
    return entry["id"] if entry["kind"] == "evidence" else None


def _task(workers: Workers, worker: MeasurementWorker, job: Job) -> Task[tuple[Job, Reply]]:
    """A job on its way through the workers: its videos and its sound are decoded, then it is measured."""
    film, heard = worker.film_pass_of(job), job.sample.clip if "sound" in worker.needs_of(job) else None

    def begin() -> Task[Reply | ItemError]:
        clips = (job.sample.clip, *(getattr(job.sample, name) for name in BESIDE))
        decoding = [*(_decoding(workers, clip, film) for clip in clips), _hearing(workers, heard)]
        videos: list[Video] = []
        bulks: list[Any] = []
        for future in decoding:
            if future is None:
                videos.append(None)
                continue
            (video,) = yield future
            if isinstance(video, PlacedResult):
                videos.append((video.value, len(bulks)))
                bulks.append(video.bulk)
            else:
                videos.append((video, None))
        replies: list[Reply | ItemError] = yield workers.models.submit("answer", [(job.request(), videos)], bulks)
        return replies[0]

    try:
        reply = yield from retry_inputs(begin)
    except ItemError as problem:
        reply = problem
    return job, Reply(errors=dict.fromkeys(job.todo, reply.record())) if isinstance(reply, ItemError) else reply


def _decoding(workers: Workers, clip: SampleClip | None, film: FilmPass | None) -> Future[list[Any]] | None:
    if clip is None or clip.path is None or clip.frames is not None or workers.decoders is None:
        return None
    path = clip.path.absolute()
    if film is not None:
        return workers.decoders.submit("job", [(path, film.job, clip.window)])
    return workers.decoders.submit("decode", [(str(path), spec_of(clip))])


def _hearing(workers: Workers, clip: SampleClip | None) -> Future[list[Any]] | None:
    if clip is None or clip.path is None or workers.decoders is None:
        return None
    given = audio.of_clip(clip.start_s, clip.end_s)
    return workers.decoders.submit("job", [(clip.path.absolute(), audio.SAMPLES_JOB, given)])


# ---- on the workers


def _decode_worker(limits: ClipLimits) -> DecodeWorker:
    return DecodeWorker(DecoderPool(1, limits.of_decoder(), threads=1))


class EvidenceModel(ModelWorker):
    """A model worker: loaded measurements; an item is a job with its decoded videos."""

    def __init__(self, spec: WorkerSpec) -> None:
        self.worker = spec.open()

    def names(self, items: Sequence[tuple[Job, list[Video]]]) -> list[str]:
        return [job.sample.id for job, _ in items]

    def handle(self, items: Sequence[tuple[Job, list[Video]]], bulks: Sequence[Any]) -> list[Reply]:
        """The reply to the one job."""
        ((job, videos),) = items
        film = self.worker.film_pass_of(job)
        read = film.read if film is not None else _read_frames
        clip, *others = (_future(video, bulks, read) for video in videos[:-1])
        sound = _future(videos[-1], bulks, audio.sound_of)
        if film is not None:
            reply = self.worker.finish(PendingJob(job, survey=clip, sound=sound))
        else:
            beside = {name: other for name, other in zip(BESIDE, others, strict=True) if other is not None}
            reply = self.worker.finish(PendingJob(job, clip, beside, sound=sound))
        entries = job.take(reply).new_entries()
        data = {key: base64.b64encode(encode(evidence)).decode("ascii") for key, evidence in entries.items()}
        self.journal.append([{"kind": "evidence", "id": job.sample.id, "data": data}])
        return [reply]


def _read_frames(value: Any, pixels: Any) -> Frames:
    return read_frames(value[1], pixels)


def _future(video: Video, bulks: Sequence[Any], read: Callable[[Any, Any], Any]) -> Future[Any] | None:
    """What a decoder of this process would have answered."""
    if video is None:
        return None
    future: Future[Any] = Future()
    value, number = video
    if number is None:
        future.set_exception(value)
    else:
        future.set_result(read(value, bulks[number]))
    return future
