"""Folder of videos → captions: the job behind `v2t caption`.

In: paths, an output folder, a `CaptionConfig`. Out: captions in the folder, one record for every clip, and a
`CaptionSummary`. Read `run` from top to bottom: find the clips (`cineloop.discovery`), open the output folder and find
what is done (`v2t.caption.outputs`, `make_plan`), do the rest (`v2t.caption.job`), write the run-wide files. With
`config.shard` that is done for one part of the folder (`v2t.caption.shards`).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from cineloop import config as layers
from cineloop import plugin
from cineloop.clip import Clip
from cineloop.cluster import journals
from cineloop.discovery import choose, discover
from cineloop.errors import CineloopError, NothingMatchedError, Notice, UsageError
from cineloop.files import content_key, write_atomic
from cineloop.interrupt import Stopping
from cineloop.log import logger, printable, stopwatch
from cineloop.run_folder import other_settings
from cineloop.store import StoredFolder, is_store
from cineloop.training.runtime import find_device, run_metadata
from v2t import styles
from v2t.backends import COST, VideoLM, effects, open_backend
from v2t.caption.cluster import fold, without_suspects
from v2t.caption.job import CaptionJob
from v2t.caption.ledger import run_entry
from v2t.caption.outputs import CaptionFolder
from v2t.caption.record import PromptSettings
from v2t.caption.settings import CaptionConfig
from v2t.caption.shards import Shard, holder
from v2t.caption.stored import formats_for, reading, writing
from v2t.caption.summary import CaptionSummary
from v2t.data.notes import Note
from v2t.long.segments import SegmentSpec
from v2t.writers import Record


class RunSettings(Protocol):
    """Everything that a run's records depend on besides the clips, and the short hash of it."""

    @property
    def settings(self) -> dict[str, Any]: ...

    @property
    def settings_key(self) -> str: ...


class RedoSettings(Protocol):
    """What of a folder is done again."""

    @property
    def overwrite(self) -> bool: ...

    @property
    def overwrite_edited(self) -> bool: ...

    @property
    def retry_failed(self) -> bool: ...


def run(
    paths: Sequence[str],
    output: Path | str | None,
    config: CaptionConfig,
    *,
    captioner: VideoLM | None = None,
    emit: Callable[[Record], None] = lambda row: None,
    show_progress: bool = False,
) -> CaptionSummary:
    """Caption everything that `paths` name.

    Args:
        paths: folders, files, globs, lists, manifests (see `cineloop.discovery.discover`).
        output: folder for captions and journal, or the address of one on a store; None stores nothing, records only
            go to `emit`.
        captioner: an instance to use instead of the one that `config.model` names.
        emit: called with each record once it is saved (with plan rows on a dry run).

    Raises:
        UsageError, NothingMatchedError, PolicyError: nothing was done.
        MissingDependencyError: no model, no disk space, STORE; what was captioned before is saved.
    """
    started = time.perf_counter()
    if is_store(output):
        config = replace(config, format=formats_for(config.format, default=CaptionConfig.format))
    elif output is None:
        if config.shard is not None:
            raise UsageError("--shard needs a folder that the shards share", hint="give it by -o")
        config = replace(config, format=())
    clips = _select(paths, config)
    if config.cluster.engine != "none" and (captioner is not None or output is None):
        raise UsageError("a run on a cluster needs an output folder and a captioner by name", hint="give -o")
    captioner = captioner or open_backend(
        config.model, captioner=config.captioner, device=config.device, dtype=config.dtype, options=config.options
    )
    if captioner.device != "auto":
        find_device(captioner.device)  # before anything is written
    question = ask(captioner, config)
    name = f"{captioner.name}@{captioner.revision}"
    summary = CaptionSummary(model=name, dry_run=config.dry_run, is_kept=output is not None)
    with ExitStack() as stack:
        stop = stack.enter_context(Stopping())  # before the store, which is written to the last when its block ends
        store = None
        if is_store(output):
            way = reading(str(output)) if config.dry_run else writing(str(output), config.format, config.shard)
            store = stack.enter_context(way)
        place = store.folder if store else Path(output or stack.enter_context(TemporaryDirectory(prefix="v2t-")))
        folder = stack.enter_context(_open_folder(place, config, clips, store))
        mine = folder.shard.clips if folder.shard else clips
        plan = make_plan(mine, folder, question, config)
        summary.count_plan(plan.values())
        todo = without_suspects([clip for clip in mine if plan[clip.id] in ("caption", "retry", "again")], folder)
        if config.dry_run:
            for clip_id, action in plan.items():
                emit({"id": clip_id, "action": action})
            summary.planned = len(todo)
        else:
            if todo:
                note_run(folder, question, config, len(clips), len(mine))
                about = captioner.name + (f" ({captioner.about})" if captioner.about else "")
                logger.info("captioning %d of %d clips with %s", len(todo), len(mine), about)
                job = CaptionJob(folder, question, config, summary, emit)
                try:
                    job.work(todo, captioner, stop, show_progress)
                except CineloopError as error:  # the run's files still record what was done
                    if error.code not in ("DISK_FULL", "STORE"):
                        folder.close()
                    raise
            with stopwatch(summary.times, "write"):
                folder.close(is_complete=not stop.asked)
        summary.interrupted = stop.asked
    summary.seconds = time.perf_counter() - started
    return summary


def _select(paths: Sequence[str], config: CaptionConfig) -> list[Clip]:
    """The clips of the run, of all shards."""
    clips = discover(
        paths,
        lists=config.lists,
        root=config.root,
        include=config.include,
        exclude=config.exclude,
        allow_remote=config.allow_remote,
        holds=holder(config.shard) if config.shard else lambda clip_id: True,
    )
    clips = choose(clips, limit=config.limit, sample=config.sample, seed=config.seed)
    if config.cluster.engine != "none":  # its workers have working folders of their own
        clips = [clip if clip.is_remote else replace(clip, file=os.path.abspath(clip.file)) for clip in clips]
    return clips


@contextmanager
def _open_folder(
    place: Path, config: CaptionConfig, clips: list[Clip], store: StoredFolder | None
) -> Iterator[CaptionFolder]:
    """The output folder, for its clips or for those of a shard; what the workers of a cluster had answered whose run
    died is in it."""
    shard = Shard(place, config.shard, clips) if config.shard else None
    is_whole = shard is None and not config.dry_run
    begun = fold(place, config.format, store) if is_whole else []
    with CaptionFolder(place, config.format, writable=not config.dry_run, shard=shard, store=store) as folder:
        if begun:
            folder.append([{"kind": "begun", "ids": begun}])
        if is_whole:
            journals.remove(folder.state)
        folder.register(clips)
        yield folder


def note_run(folder: CaptionFolder, question: RunSettings, config: Any, num_listed: int, num_clips: int) -> None:
    """Write what is needed to repeat the run."""
    folder.ledger.name_settings(question.settings_key, question.settings)
    about = {**run_metadata("decord"), "settings": question.settings, "seed": getattr(config, "seed", None)}
    values = layers.dump(config).encode("utf-8", "surrogateescape")
    write_atomic(folder.state / "config.yaml", values, durable=False)
    write_atomic(folder.state / "run.json", json.dumps(about, indent=2).encode() + b"\n", durable=False)
    folder.append([run_entry(listed=num_listed, clips=num_clips)])
    if folder.store:
        folder.store.push()


def read_records(output: Path | str) -> list[Record]:
    """The newest record of every clip in a folder of captions, or in one on a store, by id; those that a person changed
    with their words.

    Raises:
        UsageError: the folder holds shards that were not joined yet. MissingDependencyError: STORE.
    """
    if is_store(output):
        with reading(str(output)) as copy:
            return read_records(copy.folder)
    with CaptionFolder(Path(output), (), writable=False) as folder:
        return [folder.ledger.record(clip_id) for clip_id in sorted(folder.ledger.known)]


def notes_on(output: Path, video: Path) -> list[Note]:
    """A captioning run's notes on one video, found by its content: its captions' segments in order of time.

    A caption without segments is one note from the start of its clip to the end.

    Raises:
        NothingMatchedError: the folder holds no caption of that video.
        UsageError: the folder holds shards that were not joined yet.
    """
    content, notes = content_key(video), []
    with CaptionFolder(output, (), writable=False) as folder:
        known = folder.ledger.known
        for clip_id in [i for i in known if known[i].status == "ok" and known[i].source.get("content") == content]:
            record = folder.ledger.record(clip_id)
            start_s = record.get("start_s") or 0.0
            whole = {"start_s": start_s, "end_s": start_s + record["duration_s"], "caption": record["caption"]}
            for part in record["segments"] or [whole]:
                if part["caption"]:
                    notes.append(Note(start_s=part["start_s"], end_s=part["end_s"], text=part["caption"]))
    if not notes:
        raise NothingMatchedError(
            f"{printable(str(output))} holds no captions of {printable(str(video))}",
            hint=f"v2t caption {printable(str(video))} -o {printable(str(output))} --parts scene",
        )
    return sorted(set(notes), key=lambda note: (note.start_s, note.end_s, note.text))


def ask(captioner: VideoLM, config: CaptionConfig) -> PromptSettings:
    """The prompt and settings of the run: the model's defaults with the config's changes."""
    style = styles.load(config.style)
    warnings = untrained_warnings(captioner, style, config.prompt)
    changes: dict[str, Any] = {"sampler": config.sampler, "num_frames": config.frames, "fps": config.fps}
    if config.sampler is None and config.fps is not None:
        changes["sampler"] = "fps"
    elif config.sampler is None and config.frames is not None and captioner.spec.sampler == "fps":
        changes["sampler"] = "uniform"  # a number of frames has no meaning for a rate
    declared = effects(type(captioner))
    return PromptSettings(
        model=captioner.name,
        revision=captioner.revision,
        frame_size=captioner.frame_size,
        style="custom" if config.prompt else style.name,
        prompt=config.prompt or style.prompt,
        max_new_tokens=config.max_new_tokens or style.max_new_tokens,
        spec=replace(captioner.spec, **{k: v for k, v in changes.items() if v is not None}),
        segments=None if config.prompt else style.segments,
        fields=None if config.prompt else style.fields,
        parts=SegmentSpec.parse(config.parts),
        sums_up=config.summary == "model" or (config.summary == "auto" and captioner.abilities.can_summarise),
        wording=config.wording,
        dialect=None if config.prompt else config.wording.read_by(style.dialect),
        ask_again=config.ask_again,
        sampled=(config.temperature, config.seed) if config.temperature or config.num > 1 else None,
        num=config.num,
        warnings=warnings,
        options=tuple(sorted((k, v) for k, v in config.options.items() if declared.get(k) is not COST)),
    )


def untrained_warnings(captioner: VideoLM, style: styles.Style, prompt: str | None) -> tuple[Notice, ...]:
    """Warnings about prompts that the model was not trained on, where it declares its styles.

    Raises:
        UsageError: UNTRAINED_STYLE, a style whose form of answer it was not trained on.
    """
    known = captioner.abilities.styles
    if known is None or (prompt is None and style.prompt in {styles.load(name).prompt for name in known}):
        return ()
    trained = f"{captioner.name} was trained on {', '.join(known)}"
    if prompt is None and style.name in plugin.choices("v2t.styles", "PROMPT"):
        raise UsageError(
            f"style {style.name!r} needs a model that follows instructions; {trained}",
            code="UNTRAINED_STYLE",
            hint=f"--style {known[0]}, or another --model",
        )
    return (Notice("UNTRAINED_PROMPT", f"{trained}; its answer to another prompt may be unrelated to the video"),)


def make_plan(
    clips: Sequence[Clip], folder: CaptionFolder, question: RunSettings, config: RedoSettings
) -> dict[str, str]:
    """The action for each clip, by id: caption, retry or again; done, kept or failed for the others.

    Raises:
        UsageError: captions made with other settings exist and `overwrite` is off.
    """
    redo = {"new": "caption", "changed": "again"}
    if config.retry_failed or config.overwrite:
        redo["failed"] = "retry"
    if config.overwrite:
        redo |= {"done": "again", "settings": "again"}
    if config.overwrite_edited:
        redo["by_hand"] = "again"
    actions = {"done": "done", "failed": "failed", "by_hand": "kept", "settings": "conflict"} | redo
    plan = {}
    for clip in clips:
        state = folder.status(clip, question.settings_key)
        if state == "done" and config.retry_failed and folder.ledger.known[clip.id].has_failed_parts:
            state = "failed"
        plan[clip.id] = actions[state]
    folder.append([])  # new dates of the same videos
    conflicts = [clip_id for clip_id, action in plan.items() if action == "conflict"]
    if conflicts:
        old = folder.ledger.settings.get(folder.ledger.known[conflicts[0]].settings, {})
        hint = "give another -o, or --overwrite to caption them again (edited captions stay)"
        raise other_settings(f"{len(conflicts)} captions in {folder.path} were", old, question.settings, hint=hint)
    return plan
