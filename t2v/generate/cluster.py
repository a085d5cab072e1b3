"""Generate on a cluster: each of its model workers is a generator that writes clips into the shared run folder.

In: batches of planned clips. Out: the same entries and errors as from a generator of this process, in any order. A
worker journals each entry before it answers (`cineloop.cluster.journals`); `ClipFolder` takes over what a run that died
left there.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from cineloop.cluster import journals
from cineloop.cluster.pool import Pool
from cineloop.cluster.workers import ModelWorker, open_workers, run_tasks
from cineloop.errors import ItemError, MissingDependencyError
from cineloop.journal import Entry
from t2v.generate.folder import ClipFolder
from t2v.generate.making import Made, Maker, Steps
from t2v.generate.prompts import PlannedClip
from t2v.generate.settings import GenerateConfig
from t2v.generate.summary import Row
from t2v.generators import open_generator

Item = tuple[PlannedClip, Row | None]  # a clip of a batch, and what decides over it where it is to be made


def clips_from(
    config: GenerateConfig,
    folder: ClipFolder,
    fingerprint: Row,
    batches: Sequence[Sequence[PlannedClip]],
    todo: Mapping[str, Row],
    stop: Callable[[], bool],
) -> Iterator[Made]:
    """The clips that `todo` names, as the workers finish them; no new batch starts after a stop.

    Raises:
        MissingDependencyError: no ray, no cluster, or a worker without the model.
    """
    images = list({clip.request.image: None for batch in batches for clip in batch if clip.request.image is not None})
    model = partial(GeneratorModel, config, fingerprint, folder.path.absolute())
    with open_workers(config.cluster, folder.state, model, None, answer_key, paths=images[:1]) as workers:
        tasks = (_task(workers.models, [_absolute(clip) for clip in batch], todo) for batch in batches)
        for made in run_tasks(tasks, 2 * workers.models.size.most, stop):
            yield from made
    journals.log_twice(workers.num_twice, "generated")


def _task(pool: Pool, batch: Sequence[PlannedClip], todo: Mapping[str, Row]) -> Generator[Future[Any], Any, list[Made]]:
    rows = yield pool.submit("answer", [(clip, todo.get(clip.id)) for clip in batch])
    return [(clip, made) for clip, made in zip(batch, rows, strict=True) if made is not None]


def answer_key(entry: Entry) -> Any:
    """The id of the clip whose entry of a worker's journal this is; None for other entries."""
    return entry["row"]["id"] if entry["kind"] == "clip" else None


def _absolute(clip: PlannedClip) -> PlannedClip:
    image = clip.request.image
    return clip if image is None else replace(clip, request=replace(clip.request, image=image.absolute()))


class GeneratorModel(ModelWorker):
    """A model worker: a generator; an item is a clip of a batch.

    Raises:
        MissingDependencyError: the model does not load here, or is another one than the driver's.
    """

    def __init__(self, config: GenerateConfig, fingerprint: Row, output: Path) -> None:
        generator = open_generator(
            config.generator,
            model=config.model,
            device=config.device,
            dtype=config.dtype,
            options=config.generator_options,
        )
        if (here := generator.fingerprint()) != fingerprint:
            text = f"the generator here is {here}, the driver's is {fingerprint}"
            raise MissingDependencyError(text, code="CLUSTER_VERSIONS", hint="the same model on every node")
        self.maker = Maker(generator, config, output)

    def names(self, items: Sequence[Item]) -> list[str]:
        return [clip.id for clip, decisive in items if decisive is not None]

    def handle(self, items: Sequence[Item], bulks: Sequence[Any]) -> list[Entry | ItemError | None]:
        """The entries; None for a clip that is only a neighbour of the others."""
        todo = {clip.id: decisive for clip, decisive in items if decisive is not None}
        rows: dict[str, Entry | ItemError] = {}
        for clip, made in self.maker.make([clip for clip, _ in items], todo, Steps(None, len(items), 1, "")):
            rows[clip.id] = made
            if not isinstance(made, ItemError):
                self.journal.append([made])
        return [rows.get(clip.id) for clip, _ in items]
