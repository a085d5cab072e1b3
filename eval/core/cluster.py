"""Measure on a cluster: clips are decoded by its decoding workers and measured by its model workers.

In: jobs. Out: the same jobs, measured, in any order, with the same bits as in one process. Frames go from the machine
that decoded them to the one that measures. A model worker journals its evidence under the keys of the cache
(`cineloop.cluster.journals`) before it answers; what a run that died left there is taken into the cache by the next.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cineloop.cluster import journals
from cineloop.cluster.node import Kept
from cineloop.cluster.pool import InputLostError, Pool
from cineloop.cluster.settings import ClusterConfig
from cineloop.cluster.workers import Session, open_workers
from cineloop.config import to_dict
from cineloop.errors import ItemError
from cineloop.journal import Entry, Journal
from cineloop.plugin import source
from cineloop.video.frames import Frames
from cineloop.video.sample import SampleSpec
from cineloop.video.survey import Survey
from cineloop.video.worker import DecoderPool
from v2t_eval.core import models
from v2t_eval.core.cache import EvidenceCache, decode, encode
from v2t_eval.core.measure import NOT_PENDING, ClipLimits, Engine, Job, spec_of
from v2t_eval.core.measurement import Measurement
from v2t_eval.core.metric import load_metric
from v2t_eval.core.sample import Clip, Sample

_POLL_S = 0.2
_TRIES = 3  # of frames that are lost with their machine


def measured_on(
    cluster: ClusterConfig,
    state: Path,
    metrics: Sequence[Measurement],
    limits: ClipLimits,
    jobs: Iterable[Job],
    stop: Callable[[], bool],
    session: Session | None = None,
) -> Iterator[Job]:
    """The jobs, as the workers finish them; no new ones start after a stop. `state`: folder for the workers' journals,
    seen by every machine; jobs with frames are decoded on the cluster. Metrics read frames, or all of them surveys.
    `session`: see `open_workers`.

    Raises:
        MissingDependencyError: no ray, no cluster, no decoder. UsageError: the workers do not see `state`.
    """
    run = journals.new_run(state)
    specs = [(source(type(metric)) or type(metric), to_dict(metric.settings)) for metric in metrics]
    model = ModelStep(specs, limits, models.chosen_device(), str(run.resolve()))
    with open_workers(cluster, model, DecodeStep(limits), [run], session) as workers:
        assert workers.decoders is not None
        reads = "survey" if _read_surveys(metrics) else "decode"
        yield from _Flow(workers.decoders, workers.models, reads, stop).finished(iter(jobs))
    journals.end_run(run, answer_key, workers.models.deaths, "measured")


def answer_key(entry: Entry) -> Any:
    """The id of the clip whose evidence an entry of a worker's journal holds; None for other entries."""
    return entry["id"] if entry["kind"] == "evidence" else None


def fold(state: Path, cache: EvidenceCache) -> None:
    """Take what the workers of a run that died had measured into the cache."""
    for path in journals.journals(state):
        with Journal(path, writable=False) as journal:
            for entry, _ in journal.replay():
                if entry["kind"] == "evidence":
                    cache.keep({key: decode(base64.b64decode(text)) for key, text in entry["data"].items()})
    cache.save()
    journals.remove(state)


class _Flow:
    """The jobs on their way through the workers, a bounded number at a time."""

    def __init__(self, decoders: Pool, models: Pool, reads: str, stop: Callable[[], bool]) -> None:
        self.decoders, self.models, self.reads, self.stop = decoders, models, reads, stop
        self.most = decoders.size.most + 2 * models.size.most
        self.decoding: dict[Future[Any], tuple[Job, Clip]] = {}  # of one of a job's two videos each
        self.videos: dict[int, dict[int, Any]] = {}  # by id of the job, then of the clip: its frames, or the error
        self.measuring: dict[Future[Any], Job] = {}
        self.lost: dict[int, int] = {}  # by id of the job, how often its frames were lost

    def finished(self, jobs: Iterator[Job]) -> Iterator[Job]:
        more = True
        while more or self.decoding or self.measuring:
            more = more and not self.stop()
            while more and len(self.videos) + len(self.measuring) < self.most:
                job = next(jobs, None)
                if job is None:
                    more = False
                else:
                    self._begin(job)
            futures: list[Future[Any]] = [*self.decoding, *self.measuring]
            wait(futures, timeout=_POLL_S, return_when=FIRST_COMPLETED)
            for decoded in [future for future in self.decoding if future.done()]:
                job, clip = self.decoding.pop(decoded)
                self.videos[id(job)][id(clip)] = decoded.result()[0]
                self._measure_if_decoded(job)
            for measured in [future for future in self.measuring if future.done()]:
                job = self.measuring.pop(measured)
                try:
                    (reply,) = measured.result()
                except InputLostError as error:
                    self.lost[id(job)] = self.lost.get(id(job), 0) + 1
                    if self.lost[id(job)] < _TRIES:
                        self._begin(job)
                        continue
                    reply = ItemError(f"its frames were lost {_TRIES} times: {error}", code="WORKER_DIED")
                self._put(job, reply)
                yield job

    def _begin(self, job: Job) -> None:
        self.videos[id(job)] = {}
        for clip in (job.sample.clip, job.sample.reference_video):
            if clip is not None and clip.path is not None and clip.frames is None:
                item = (str(clip.path.absolute()), spec_of(clip))
                self.decoding[self.decoders.submit(self.reads, [item])] = (job, clip)
        self._measure_if_decoded(job)

    def _measure_if_decoded(self, job: Job) -> None:
        if any(waiting is job for waiting, _ in self.decoding.values()):
            return
        videos = self.videos.pop(id(job))
        bulks: list[Any] = []
        found: list[Any] = []
        for clip in (job.sample.clip, job.sample.reference_video):
            decoded = None if clip is None else videos.get(id(clip))
            if isinstance(decoded, Kept):
                found.append((decoded.value, len(bulks)))
                bulks.append(decoded.bulk)
            else:
                found.append(decoded)
        sent = replace(job, evidence={}, errors={})
        self.measuring[self.models.submit("measure", [(sent, found)], bulks)] = job

    def _put(self, job: Job, reply: Job | ItemError) -> None:
        if isinstance(reply, ItemError):
            job.errors |= dict.fromkeys(job.todo, reply.record())
            return
        job.evidence |= reply.evidence
        job.errors |= reply.errors
        job.about, job.error = reply.about or job.about, reply.error or job.error


# ---- on the workers


@dataclass(frozen=True)
class DecodeStep:
    """Makes a decoding worker: one killable child process, as in a scoring on one machine."""

    limits: ClipLimits

    def __call__(self, name: str) -> _Decoder:
        return _Decoder(self.limits)


class _Decoder:
    def __init__(self, limits: ClipLimits) -> None:
        self.pool = DecoderPool(1, limits.of_decoder(), threads=1)

    def decode(self, items: Sequence[tuple[str, SampleSpec]], bulks: Sequence[Any]) -> list[Any]:
        ((path, spec),) = items
        try:
            frames = self.pool.decode(path, spec)
        except ItemError as error:
            return [error]
        return [Kept(frames.about(), frames.pixels)]

    def survey(self, items: Sequence[tuple[str, SampleSpec]], bulks: Sequence[Any]) -> list[Any]:
        ((path, spec),) = items
        try:
            found = self.pool.submit_survey(path, spec.start_s, spec.end_s).result()
        except ItemError as error:
            return [error]
        return [Kept(found.plain(), found.arrays())]


@dataclass(frozen=True)
class ModelStep:
    """Makes a model worker: loaded metrics and a journal."""

    specs: list[tuple[type[Measurement] | str, dict[str, Any]]]
    limits: ClipLimits
    device: str
    run: str

    def __call__(self, name: str) -> _Measurer:
        with models.on_device(self.device):
            metrics = [(load_metric(kind) if isinstance(kind, str) else kind)(**own) for kind, own in self.specs]
            for metric in metrics:
                metric.prepare()
        return _Measurer(Engine(metrics, self.limits), self.device, journals.WorkerJournal(Path(self.run), name))


class _Measurer:
    def __init__(self, engine: Engine, device: str, journal: journals.WorkerJournal) -> None:
        self.engine, self.device, self.journal = engine, device, journal

    def measure(self, items: Sequence[tuple[Job, list[Any]]], bulks: Sequence[Any]) -> list[Any]:
        ((job, found),) = items
        first, second = (_future(each, bulks) for each in found)
        if _read_surveys(self.engine.metrics):
            job = replace(job, surveying=first)
        else:
            job = replace(job, decoding=first, decoding_reference=second)
        with models.on_device(self.device):
            done = self.engine.finish(job)
        entries = self.engine.new_entries(done)
        data = {key: base64.b64encode(encode(evidence)).decode("ascii") for key, evidence in entries.items()}
        self.journal.append([{"kind": "evidence", "id": job.sample.id, "data": data}])
        return [replace(done, sample=Sample(id=job.sample.id), **NOT_PENDING)]


def _read_surveys(metrics: Sequence[Measurement]) -> bool:
    return any("survey" in metric.needs for metric in metrics)


def _future(found: Any, bulks: Sequence[Any]) -> Future[Any] | None:
    """What a decoder of this process would have answered."""
    if found is None:
        return None
    future: Future[Any] = Future()
    if isinstance(found, ItemError):
        future.set_exception(found)
        return future
    about, number = found
    bulk = bulks[number]  # the store's own is read-only
    future.set_result(Survey.read(about, bulk) if isinstance(bulk, dict) else Frames.read(bulk.copy(), about))
    return future
