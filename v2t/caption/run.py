"""Folder of videos → captions: the job behind `v2t caption`.

In: paths, an output folder, a `CaptionConfig`. Out: captions in the folder, one record for every clip, a `Summary`.
Read `run` from top to bottom: find the clips (`cineloop.discovery`), open the output folder and ask it what is done
(`v2t.caption.outputs`, `v2t.caption.plan`), do the rest (`v2t.caption.job`), write what is written once a run. With
`config.shard` that is done for one part of the folder (`v2t.caption.shards`).
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from cineloop import config as layers
from cineloop.clip import Clip
from cineloop.discovery import choose, discover
from cineloop.errors import CineloopError, NothingMatchedError, UsageError
from cineloop.files import content_key, write_atomic
from cineloop.interrupt import Stopping
from cineloop.log import logger, printable, stopwatch
from cineloop.training.runtime import run_metadata
from v2t.backends import VideoLM, open_backend
from v2t.caption.job import Job
from v2t.caption.ledger import Record
from v2t.caption.outputs import CaptionFolder
from v2t.caption.plan import ask, make_plan
from v2t.caption.record import Question
from v2t.caption.settings import CaptionConfig
from v2t.caption.shards import Shard, are_done
from v2t.caption.summary import Summary
from v2t.data.notes import Note


def run(
    paths: Sequence[str],
    output: Path | None,
    config: CaptionConfig,
    *,
    captioner: VideoLM | None = None,
    emit: Callable[[Record], None] = lambda row: None,
    show_progress: bool = False,
) -> Summary:
    """Caption everything that `paths` name.

    Args:
        paths: folders, files, globs, lists, manifests (see `cineloop.discovery.discover`).
        output: folder for captions and journal; None keeps nothing, records only go to `emit`.
        config: the settings.
        captioner: an instance to use instead of the one that `config.model` names.
        emit: called with each record once it is saved (with plan rows on a dry run).
        show_progress: draw progress on stderr.

    Raises:
        UsageError, NothingMatchedError, PolicyError: nothing was done.
        MissingDependencyError: no model, no disk space; what was captioned before is saved.
    """
    started = time.perf_counter()
    clips = discover(
        paths,
        lists=config.lists,
        root=config.root,
        include=config.include,
        exclude=config.exclude,
        allow_remote=config.allow_remote,
    )
    clips = choose(clips, limit=config.limit, sample=config.sample, seed=config.seed)
    captioner = captioner or open_backend(
        config.model, captioner=config.captioner, device=config.device, dtype=config.dtype, options=config.options
    )
    question = ask(captioner, config)
    summary = Summary(
        model=f"{captioner.name}@{captioner.revision}", dry_run=config.dry_run, is_kept=output is not None
    )
    with ExitStack() as stack:
        if output is None:
            if config.shard is not None:
                raise UsageError("--shard needs a folder that the shards share", hint="give it by -o")
            output = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="v2t-")))
            config = replace(config, format=())
        stop = stack.enter_context(Stopping())
        _caption(output, config, clips, captioner, question, summary, emit, stop, show_progress)
        summary.interrupted = stop.asked
    summary.seconds = time.perf_counter() - started
    return summary


def read_records(output: Path) -> list[Record]:
    """The newest record of every clip in a folder of captions, by id; those that a person changed with their words.

    Raises:
        UsageError: the folder holds shards that were not joined yet.
    """
    with CaptionFolder(output, (), writable=False) as folder:
        return [folder.ledger.record(clip_id) for clip_id in sorted(folder.ledger.known)]


def notes_on(output: Path, video: Path) -> list[Note]:
    """What a captioning run says of one video, found by its content: its captions' segments in order of time.

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


def _caption(
    output: Path,
    config: CaptionConfig,
    clips: list[Clip],
    captioner: VideoLM,
    question: Question,
    summary: Summary,
    emit: Callable[[Record], None],
    stop: Stopping,
    show_progress: bool,
) -> None:
    """Caption what is not done of the whole folder, or of one shard."""
    shard = Shard(output, config.shard, clips) if config.shard else None
    mine = shard.clips if shard else clips
    with CaptionFolder(output, config.format, writable=not config.dry_run, shard=shard) as folder:
        folder.sidecar_paths(clips)
        plan = make_plan(mine, folder, question, config)
        summary.found = len(mine)
        summary.done_before = plan.count("done")
        summary.kept = plan.count("kept")
        summary.failed_before = plan.count("failed")
        if config.dry_run:
            for clip_id, action in plan.actions.items():
                emit({"id": clip_id, "action": action})
            summary.planned = len(plan.todo)
            return
        if plan.todo:
            folder.ledger.name_settings(question.settings_key, question.settings)
            _write_run_metadata(folder.state_folder, config, question)
            about = f" ({captioner.about})" if captioner.about else ""
            logger.info("captioning %d of %d clips with %s%s", len(plan.todo), len(mine), captioner.name, about)
            try:
                Job(folder, captioner, question, config, summary, emit, stop).work(plan.todo, show_progress)
            except CineloopError as error:  # the files of the run still say what was done
                if error.code != "DISK_FULL":
                    folder.write_sets()
                raise
        with stopwatch(summary.times, "write"):
            folder.write_sets()
        if shard and not stop.asked:
            shard.finish()
            if are_done(output, shard.of):
                logger.info("all %d shards are done; v2t merge %s joins them", shard.of, printable(str(output)))


def _write_run_metadata(state: Path, config: CaptionConfig, question: Question) -> None:
    """`config.yaml` and `run.json`: what is needed to repeat the run."""
    about = {**run_metadata("decord"), "settings": question.settings, "seed": config.seed}
    write_atomic(state / "config.yaml", layers.dump(config).encode("utf-8", "surrogateescape"), durable=False)
    write_atomic(state / "run.json", json.dumps(about, indent=2).encode() + b"\n", durable=False)
