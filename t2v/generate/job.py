"""The making of the clips that are not there yet: batches through the generator, each clip saved as it comes.

In: planned clips, an open run folder, a generator. Out: clips and rows in the folder, counts in the summary. A batch
that fails is made again one by one, so that only the clip at fault becomes a row in `failures.jsonl`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from cineloop.errors import ItemError
from cineloop.journal import Entry
from cineloop.log import Progress, logger, printable
from t2v.generate.cluster import made_on
from t2v.generate.folder import ClipFolder
from t2v.generate.making import Made, Maker, Steps
from t2v.generate.prompts import Clip
from t2v.generate.settings import GenerateConfig
from t2v.generate.summary import Row, Summary
from t2v.generators import GeneratorLike

Emit = Callable[[Row], None]
_NAMED = 10  # so many failures and warnings are logged one by one


class Job:
    """The making of the clips that are not there yet."""

    def __init__(
        self, folder: ClipFolder, generator: GeneratorLike, config: GenerateConfig, emit: Emit, summary: Summary
    ) -> None:
        self.folder, self.generator, self.config, self.emit, self.summary = folder, generator, config, emit, summary
        # Loads the model: its errors come before anything is written. Those of a cluster load on its workers.
        self.maker = Maker(generator, config, folder.path) if config.cluster.engine == "none" else None

    def work(
        self, clips: Sequence[Clip], todo: Mapping[str, Row], stop: Callable[[], bool], show_progress: bool
    ) -> None:
        """Make the clips whose ids `todo` names, with what decides over each; `stop` is asked between batches."""
        batches = self.folder.batches(clips, todo, self.config.batch_size or self.generator.batch_size)
        steps = (self.maker.settings.get("steps") or 1) if self.maker is not None else 1
        with Progress(sum(map(len, batches)) * steps, "steps", enabled=show_progress) as bar:
            if self.maker is not None:
                self._warn([clip.request.prompt for clip in clips if clip.id in todo])
                every = self._made_here(self.maker, batches, todo, stop, bar, steps)
            else:
                every = made_on(self.config, self.folder, self.generator.fingerprint(), batches, todo, stop)
            for clip, made in every:
                if self.maker is None:
                    bar.advance(1, f"{self.summary.made} of {len(todo)} clips")
                self._take(clip, made)
        self.summary.interrupted = self.summary.made + len(self.summary.failures) < len(todo)

    def _made_here(
        self, maker: Maker, batches: Sequence[Sequence[Clip]], todo: Mapping[str, Row], stop: Callable[[], bool],
        bar: Progress, steps: int,
    ) -> Iterator[Made]:  # fmt: skip
        for batch in batches:
            if stop():
                return
            note = f"{self.summary.made} of {len(todo)} clips"
            yield from maker.make(batch, todo, Steps(bar, len(batch), steps, note))

    def _take(self, clip: Clip, made: Entry | ItemError) -> None:
        if isinstance(made, ItemError):
            self._fail(clip, made)
            return
        self.folder.add(made)
        self.summary.made += 1
        self.summary.seconds += made["row"]["seconds"]
        self.emit(made["row"])

    def _warn(self, prompts: Sequence[str]) -> None:
        """Log the generator's warnings about prompts."""
        found = [(prompt, each) for prompt in dict.fromkeys(prompts) for each in self.generator.warnings_for(prompt)]
        for prompt, warning in found[:_NAMED]:
            logger.warning("%s: %s", printable(prompt, 60), printable(str(warning)))
        if len(found) > _NAMED:
            logger.warning("and %d more warnings like these; all are in the manifest", len(found) - _NAMED)

    def _fail(self, clip: Clip, problem: ItemError) -> None:
        if len(self.summary.failures) < _NAMED:
            logger.warning("failed: %s: %s", printable(clip.request.prompt, 60), printable(str(problem)))
        elif len(self.summary.failures) == _NAMED:
            logger.warning("and more; all are in failures.jsonl")
        logger.debug("%s", clip.id, exc_info=problem)
        row = {"id": clip.id, "prompt": clip.request.prompt, "seed": clip.request.seed, "error": problem.record()}
        self.folder.add_failure(row)
        self.summary.failures.append(row)
        self.emit(row)
