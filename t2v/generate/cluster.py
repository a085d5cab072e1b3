"""Generate on a cluster: each of its model workers is a generator that writes clips into the shared run folder.

In: batches of planned clips. Out: the same entries and errors as from a generator of this process, in any order. A
worker journals each entry before it answers (`cineloop.cluster.journals`); `ClipFolder` takes over what a run that died
left there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cineloop.cluster import journals
from cineloop.cluster.workers import open_workers
from cineloop.errors import ItemError, MissingDependencyError
from cineloop.journal import Entry
from t2v.generate.folder import ClipFolder
from t2v.generate.making import Made, Maker, Steps
from t2v.generate.prompts import Clip
from t2v.generate.settings import GenerateConfig
from t2v.generate.summary import Row
from t2v.generators import open_generator

_POLL_S = 0.2


def made_on(
    config: GenerateConfig,
    folder: ClipFolder,
    fingerprint: Row,
    batches: Sequence[Sequence[Clip]],
    todo: Mapping[str, Row],
    stop: Callable[[], bool],
) -> Iterator[Made]:
    """The clips that `todo` names, as the workers finish them; no new batch starts after a stop.

    Raises:
        MissingDependencyError: no ray, no cluster, or a worker without the model.
    """
    run = journals.new_run(folder.state)
    output = folder.path.absolute()
    images = list({clip.request.image: None for batch in batches for clip in batch if clip.request.image is not None})
    step = ModelStep(config, fingerprint, str(output), str(run.absolute()))
    waiting = list(reversed(batches))
    with open_workers(config.cluster, step, None, [run, *images[:1]]) as workers:
        making: dict[Future[list[Any]], Sequence[Clip]] = {}
        while making or (waiting and not stop()):
            while waiting and len(making) < 2 * workers.models.size.most and not stop():
                batch = [_absolute(clip) for clip in waiting.pop()]
                making[workers.models.submit("make", [(clip, todo.get(clip.id)) for clip in batch])] = batch
            done, _ = wait(making, timeout=_POLL_S, return_when=FIRST_COMPLETED)
            for future in done:
                for clip, made in zip(making.pop(future), future.result(), strict=True):
                    if made is not None:
                        yield clip, made
    journals.end_run(run, answer_key, workers.models.deaths, "generated")


def answer_key(entry: Entry) -> Any:
    """The id of the clip whose entry of a worker's journal this is; None for other entries."""
    return entry["row"]["id"] if entry["kind"] == "clip" else None


def _absolute(clip: Clip) -> Clip:
    image = clip.request.image
    return clip if image is None else replace(clip, request=replace(clip.request, image=image.absolute()))


@dataclass(frozen=True)
class ModelStep:
    """Makes a model worker: a generator and a journal.

    Raises:
        MissingDependencyError: the model does not load here, or is another one than the driver's.
    """

    config: GenerateConfig
    fingerprint: Row
    output: str
    run: str

    def __call__(self, name: str) -> _Model:
        config = self.config
        generator = open_generator(
            config.generator,
            model=config.model,
            device=config.device,
            dtype=config.dtype,
            options=config.generator_options,
        )
        if (here := generator.fingerprint()) != self.fingerprint:
            text = f"the generator here is {here}, the driver's is {self.fingerprint}"
            raise MissingDependencyError(text, code="CLUSTER_VERSIONS", hint="the same model on every node")
        return _Model(Maker(generator, config, Path(self.output)), journals.WorkerJournal(Path(self.run), name))


class _Model:
    def __init__(self, maker: Maker, journal: journals.WorkerJournal) -> None:
        self.maker, self.journal = maker, journal

    def make(self, items: Sequence[tuple[Clip, Row | None]], bulks: Sequence[Any]) -> list[Entry | ItemError | None]:
        todo = {clip.id: decisive for clip, decisive in items if decisive is not None}
        self.journal.begin(list(todo))
        found: dict[str, Entry | ItemError] = {}
        for clip, made in self.maker.make([clip for clip, _ in items], todo, Steps(None, len(items), 1, "")):
            found[clip.id] = made
            if not isinstance(made, ItemError):
                self.journal.append([made])
        return [found.get(clip.id) for clip, _ in items]
