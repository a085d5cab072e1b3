"""A captioning run on a cluster: decoding workers, model workers, and their likeness in the run's own process.

In: the job's work items. Out: the same futures and answers as from this machine's decoders and captioner, so that the
job (`v2t.caption.job`) is the same: it plans, and alone writes the folder. Frames go from the machine that decoded them
to the one that runs the model; here they have a shape and no pixels. A model worker journals each record before it
answers (`cineloop.cluster.journals`), so a run that dies loses nothing that was answered: `fold` takes it over.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cineloop.clip import Clip
from cineloop.cluster import journals
from cineloop.cluster.node import PlacedResult
from cineloop.cluster.pool import DEATHS, InputLostError, Pool, worker_died
from cineloop.cluster.workers import (
    DecodeWorker,
    ModelWorker,
    Task,
    open_workers,
    or_error,
    read_frames,
    retry_inputs,
    run_tasks,
)
from cineloop.errors import ItemError, MissingDependencyError
from cineloop.journal import Entry
from cineloop.store import StoredFolder
from cineloop.video.frames import Frames
from cineloop.video.info import VideoInfo
from cineloop.video.sample import SampleSpec
from cineloop.video.worker import DecoderPool
from v2t.backends import Output, open_backend
from v2t.caption.asker import CaptionAsker
from v2t.caption.ledger import clip_entry
from v2t.caption.merge import join_folders
from v2t.caption.outputs import STATE_FOLDER, CaptionFolder
from v2t.caption.record import PromptSettings, result_of
from v2t.caption.remote_decoders import RemoteDecoders
from v2t.caption.settings import CaptionConfig
from v2t.caption.summary import CaptionSummary
from v2t.long.items import WorkItem, error_fields

_MOST_THREADS = 256
_FETCHES = 2  # remote files that a decoding worker copies at once


@dataclass(frozen=True)
class PlacedFrames(Frames):
    """Frames whose pixels are on another machine: here an array of their shape that takes no memory."""

    bulk: Any = None  # the engine's handle of the pixels
    request: tuple[str, SampleSpec, tuple[int, int] | None] | None = None  # how to decode them again


# ---- in the run's own process


class PlacedDecoders:
    """Decoding workers, with the methods of a `DecoderPool` that a job uses."""

    def __init__(self, pool: Pool) -> None:
        self.pool, self.num_workers = pool, pool.size.most

    def submit(self, path: str, spec: SampleSpec, size: tuple[int, int] | None) -> Future[Frames]:
        request = (path, spec, size)

        def frames_of(kept: PlacedResult) -> Frames:
            shape, about = kept.value
            pixels = np.broadcast_to(np.uint8(0), shape)
            return PlacedFrames.read(pixels, {**about, "bulk": kept.bulk, "request": request})

        return self._future("decode", request, frames_of)

    def probe(self, path: str) -> VideoInfo:
        return self._future("probe", (path,)).result()

    def cuts(self, path: str, start_s: float | None, end_s: float | None) -> list[float]:
        return self._future("cuts", (path, start_s, end_s)).result()

    def _future(
        self, method: str, item: tuple[Any, ...], convert: Callable[[Any], Any] = lambda value: value
    ) -> Future[Any]:
        future: Future[Any] = Future()

        def on_done(done: Future[list[Any]]) -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                (result,) = done.result()
                if isinstance(result, ItemError):
                    raise result
                future.set_result(convert(result))
            except Exception as error:
                future.set_exception(error)

        self.pool.submit(method, [item]).add_done_callback(on_done)
        return future


class PlacedAsker:
    """Model workers, with the methods of `v2t.caption.asker.CaptionAsker`. Clips in `alone` get a call of their own:
    one of them may be what took an earlier run down."""

    def __init__(
        self, models: Pool, decoders: PlacedDecoders, question: PromptSettings, batch_size: int, alone: set[str]
    ) -> None:
        self.models, self.decoders, self.question = models, decoders, question
        self.batch_size, self.alone = batch_size, alone
        self.concurrency = min(_MOST_THREADS, 2 * models.size.most)

    def load(self) -> None:
        """Nothing: the workers load while the first clips decode."""

    def ask(self, items: Sequence[WorkItem]) -> list[Entry]:
        batches = [[item] for item in items if item.clip.id in self.alone]
        rest = [item for item in items if item.clip.id not in self.alone]
        batches += [rest] if rest else []
        futures = [self._submit(batch) for batch in batches]
        results: dict[WorkItem, Entry] = {}
        for batch, future in zip(batches, futures, strict=True):
            try:
                answers = future.result()
            except InputLostError:
                answers = [self._ask_again(item) for item in batch]
            for item, answer in zip(batch, answers, strict=True):
                is_error = isinstance(answer, ItemError)  # of the worker; the model's are results
                results[item] = result_of(item, error_fields(answer), self.question) if is_error else answer
        return [results[item] for item in items]

    def ask_text(self, prompt: str, max_new_tokens: int) -> Output:
        (answer,) = self.models.submit("ask_text", [(prompt, max_new_tokens)]).result()
        if isinstance(answer, ItemError):
            raise answer
        output: Output = answer
        return output

    def _submit(self, items: Sequence[WorkItem]) -> Future[list[Any]]:
        sent, bulks = [], []
        for item in items:
            assert isinstance(item.frames, PlacedFrames)
            sent.append((replace(item, frames=None, parent=None), item.frames.about()))
            bulks.append(item.frames.bulk)
        return self.models.submit("answer", sent, bulks)

    def _ask_again(self, item: WorkItem) -> Entry | ItemError:
        """The answer to an item whose frames were lost with a machine: they are decoded again."""
        frames = item.frames
        assert isinstance(frames, PlacedFrames) and frames.request is not None
        decode = partial(self.decoders.submit, *frames.request)

        def again() -> Task[Entry | ItemError]:
            item.frames = yield decode()
            (answer,) = yield self._submit([item])
            return answer

        try:
            return next(run_tasks(iter([retry_inputs(again)]), 1))
        except ItemError as problem:
            return problem


@contextmanager
def cluster_of(
    folder: CaptionFolder,
    question: PromptSettings,
    config: CaptionConfig,
    todo: Sequence[Clip],
    summary: CaptionSummary,
) -> Iterator[tuple[PlacedAsker, PlacedDecoders]]:
    """The workers of a run. Their journals are removed when the block ends well: everything in them was saved.

    Raises:
        MissingDependencyError: no ray, or no cluster. UsageError: the address of a client.
    """
    seen = [Path(clip.file) for clip in todo[:1] if clip.problem is None and not clip.is_remote]
    model = partial(CaptionModel, config, question, Path(os.path.abspath(folder.path)))
    decoder = partial(_decode_worker, config)
    with open_workers(
        config.cluster, folder.state, model, decoder, answer_key, paths=seen, store=folder.store
    ) as cluster:
        assert cluster.decoders is not None
        decoders = PlacedDecoders(cluster.decoders)
        alone = set(folder.ledger.begun)
        yield PlacedAsker(cluster.models, decoders, question, config.batch_size, alone), decoders
    summary.twice = cluster.num_twice


def fold(output: Path, formats: Sequence[str], store: StoredFolder | None = None) -> list[str]:
    """Take over what the workers of a run that died had answered; ids that they had begun, once for each time.

    Their journals stay until the caller has noted these ids.

    Raises:
        UsageError: LOCKED, that run is not dead.
    """
    state = output / STATE_FOLDER
    if not journals.journals(state):
        return []
    begun = journals.open_items(state, answer_key)
    join_folders([output], output, formats, allow_mixed=True, store=store)
    return begun


def without_suspects(todo: Sequence[Clip], folder: CaptionFolder) -> list[Clip]:
    """The clips, those with a problem that three runs in a row died on: they are not tried a fourth time."""
    begun = {clip_id for clip_id, count in folder.ledger.begun.items() if count >= DEATHS}
    problem = worker_died(f"{DEATHS} runs died on it")
    return [replace(clip, problem=problem) if clip.id in begun else clip for clip in todo]


def answer_key(entry: Entry) -> Any:
    """What an entry of a worker's journal answers: a clip by its id, or a part of one; None for other entries."""
    if entry["kind"] == "clip":
        return entry["record"]["id"]
    return (entry["id"], entry["start_s"], entry["end_s"]) if entry["kind"] == "part" else None


# ---- on the workers


def _decode_worker(config: CaptionConfig) -> DecodeWorker:
    pool = DecoderPool(1, config.limits, decoders=config.decoders, threads=1)
    return DecodeWorker(RemoteDecoders(pool, _FETCHES, int(config.remote_max_gb * 1e9)).__enter__())


class CaptionModel(ModelWorker):
    """A model worker: a captioner; an item comes with what its frames say of themselves.

    Raises:
        MissingDependencyError: the model does not load here, or is another one than the driver's.
    """

    def __init__(self, config: CaptionConfig, question: PromptSettings, output: Path) -> None:
        captioner = open_backend(
            config.model, captioner=config.captioner, device=config.device, dtype=config.dtype, options=config.options
        )
        here, there = f"{captioner.name}@{captioner.revision}", f"{question.model}@{question.revision}"
        if here != there:
            raise MissingDependencyError(f"the model here is {here}, the driver's is {there}", code="CLUSTER_VERSIONS")
        self.asker = CaptionAsker(captioner, question, config, output)
        self.asker.load()

    def names(self, items: Sequence[tuple[WorkItem, dict[str, Any]]]) -> list[str]:
        return [item.clip.id for item, _ in items]

    def handle(self, items: Sequence[tuple[WorkItem, dict[str, Any]]], bulks: Sequence[Any]) -> list[Entry]:
        decoded = [
            replace(item, frames=read_frames(about, pixels)) for (item, about), pixels in zip(items, bulks, strict=True)
        ]
        results = self.asker.ask(decoded)
        key = self.asker.question.settings_key
        self.journal.append(
            [
                result if item.segment else clip_entry(result, key, item.source, {}, {})
                for item, result in zip(decoded, results, strict=True)
            ]
        )
        return results

    def ask_text(self, items: Sequence[tuple[str, int]], bulks: Sequence[Any]) -> list[Any]:
        return or_error(lambda: self.asker.ask_text(*items[0]))
