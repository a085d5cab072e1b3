"""`t2v generate`: plan, skip what is finished, generate the rest in batches, save each clip as it comes.

In: prompts and a `GenerateConfig`. Out: the run folder (see `t2v.generate.folder`), a contact sheet, a gallery, and a
`GenerateSummary`. A prompt that fails becomes a row in `failures.jsonl`; of a batch only the one at fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from cineloop import config as layers
from cineloop.errors import CineloopError, ItemError
from cineloop.files import write_atomic
from cineloop.interrupt import Stopping
from cineloop.log import Progress, logger, plural, printable
from cineloop.run_folder import other_settings
from cineloop.training import runtime
from t2v.generate.cluster import clips_from
from t2v.generate.folder import ClipFolder
from t2v.generate.gallery import write_gallery
from t2v.generate.making import Made, Maker, Steps, cache_key_parts, key_of
from t2v.generate.prompts import PlannedClip, plan
from t2v.generate.settings import GenerateConfig
from t2v.generate.sheet import write_sheet
from t2v.generate.summary import GenerateSummary, Row
from t2v.generators import GeneratorLike, open_generator
from t2v.generators.pictures import SOUND_DROPPED

Emit = Callable[[Row], None]
_NAMED = 10  # so many failures and warnings are logged one by one


def run(
    prompts: Sequence[str],
    files: Sequence[str],
    out: Path,
    config: GenerateConfig,
    *,
    emit: Emit = lambda row: None,
    show_progress: bool = False,
) -> GenerateSummary:
    """Generate clips.

    Args:
        prompts, files: see `t2v.generate.prompts.plan`.
        out: the run folder, made when absent.
        config: everything else.
        emit: gets the row of each clip as it is finished; with `dry_run` rows with an `action` (make, skip,
            replace; refuse where the clip was made otherwise and `overwrite` is not given).
        show_progress: progress on stderr.

    Raises:
        UsageError: OTHER_SETTINGS, clips of the folder were made otherwise and `overwrite` is not given; bad prompts.
        NothingMatchedError: no prompts. MissingDependencyError: no such model, no GPU, disk full.
    """
    clips = plan(prompts, files, config)
    generator = open_generator(
        config.generator, model=config.model, device=config.device, dtype=config.dtype, options=config.generator_options
    )
    summary = GenerateSummary(asked=len(clips), folder=out)
    with ClipFolder(out, writable=not config.dry_run) as folder:
        todo = _todo(folder, clips, generator, config, emit, summary)
        if config.dry_run:
            return summary
        with Stopping() as stop:
            # Loads the model: its errors come before anything is written. Those of a cluster load on its workers.
            maker = Maker(generator, config, out) if todo and config.cluster.engine == "none" else None
            folder.plan(clips)
            _write_run_metadata(out, generator, config)
            if maker is not None:
                _log_warnings(generator, [clip.request.prompt for clip in clips if clip.id in todo])
            sound_dropped = False
            batches = folder.batches(clips, todo, config.batch_size or generator.batch_size)
            for clip, made in _clips(batches, todo, maker, generator, config, folder, stop, show_progress):
                if isinstance(made, ItemError):
                    row = _failure(clip, made, len(summary.failures))
                    folder.add_failure(row)
                    summary.failures.append(row)
                else:
                    row = made["row"]
                    folder.add(made)
                    if not sound_dropped and SOUND_DROPPED.record() in row.get("warnings", ()):
                        sound_dropped = True  # every clip's row says so; a run of thousands says it once
                        logger.warning("%s", SOUND_DROPPED)
                    summary.made += 1
                    summary.seconds += row["seconds"]
                emit(row)
            summary.interrupted = summary.made + len(summary.failures) < len(todo)
        folder.write_tables()
        rows = folder.rows()
        write_gallery(rows, folder.failures(), out / "index.html", runtime.command_line())
        wanted = {clip.id for clip in clips}
        try:
            write_sheet([row for row in rows if row["id"] in wanted], out, out / "contact_sheet.png")
        except (OSError, CineloopError) as error:  # the clips are made, and nothing reads the sheet
            logger.warning("the contact sheet was not written: %s", printable(str(error)))
    return summary


def _todo(
    folder: ClipFolder,
    clips: Sequence[PlannedClip],
    generator: GeneratorLike,
    config: GenerateConfig,
    emit: Emit,
    summary: GenerateSummary,
) -> dict[str, Row]:
    """What decides over each clip that is to be made (see `cache_key_parts`), by id."""
    todo, conflicts = {}, []
    for clip in clips:
        decisive = cache_key_parts(clip, generator, config)
        key = key_of(decisive)
        if folder.is_finished(clip, key) and not config.overwrite:
            action = "skip"
            summary.skipped += 1
        else:
            before = folder.other_settings(clip, key)
            if before is not None and not config.overwrite:
                conflicts.append((before, decisive))
            action = "make" if before is None else "replace" if config.overwrite else "refuse"
            todo[clip.id] = decisive
        if config.dry_run:
            emit({"action": action, "id": clip.id, "prompt": clip.request.prompt, "seed": clip.request.seed})
    if conflicts and not config.dry_run:
        raise other_settings(f"{plural(len(conflicts), 'clip')} of {folder.path} were", *conflicts[0])
    return todo


def _write_run_metadata(out: Path, generator: GeneratorLike, config: GenerateConfig) -> None:
    """`config.yaml` and `run.json`: what is needed to repeat the run."""
    metadata = {
        "verb": "generate",
        **generator.fingerprint(),
        "seed": config.seed,
        **runtime.run_metadata("diffusers", "opencv-python-headless"),
    }
    runtime.write_json(out / "run.json", metadata)
    write_atomic(out / "config.yaml", layers.dump(config).encode())


def _clips(
    batches: Sequence[Sequence[PlannedClip]],
    todo: Mapping[str, Row],
    maker: Maker | None,
    generator: GeneratorLike,
    config: GenerateConfig,
    folder: ClipFolder,
    stop: Callable[[], bool],
    show_progress: bool,
) -> Iterator[Made]:
    """The clips that `todo` names, by the generator of this process, or without a maker by the workers of a cluster;
    `stop` is asked between batches."""
    if not todo:
        return
    steps, num_done = (maker.settings.get("steps") or 1) if maker is not None else 1, 0
    with Progress(sum(map(len, batches)) * steps, "steps", enabled=show_progress) as bar:
        if maker is None:
            for num_done, each in enumerate(clips_from(config, folder, generator.fingerprint(), batches, todo, stop)):
                bar.advance(1, f"{num_done} of {len(todo)} clips")
                yield each
            return
        for batch in batches:
            if stop():
                return
            steps_of_batch = Steps(bar, len(batch), steps, f"{num_done} of {len(todo)} clips")
            for each in maker.make(batch, todo, steps_of_batch):
                num_done += 1
                yield each


def _log_warnings(generator: GeneratorLike, prompts: Sequence[str]) -> None:
    every = [(prompt, each) for prompt in dict.fromkeys(prompts) for each in generator.warnings_for(prompt)]
    for prompt, warning in every[:_NAMED]:
        logger.warning("%s: %s", printable(prompt, 60), printable(str(warning)))
    if len(every) > _NAMED:
        logger.warning("and %d more warnings like these; all are in the manifest", len(every) - _NAMED)


def _failure(clip: PlannedClip, problem: ItemError, num_before: int) -> Row:
    """The row of a clip that failed; the first ones are logged."""
    if num_before < _NAMED:
        logger.warning("failed: %s: %s", printable(clip.request.prompt, 60), printable(str(problem)))
    elif num_before == _NAMED:
        logger.warning("and more; all are in failures.jsonl")
    logger.debug("%s", clip.id, exc_info=problem)
    return {"id": clip.id, "prompt": clip.request.prompt, "seed": clip.request.seed, "error": problem.record()}
