"""Folder of videos → captions: the job behind `v2t caption`.

In: paths, an output folder, a `CaptionConfig`. Out: captions in the folder, one record for every clip, a `Summary`.
Read `run` from top to bottom: find the clips (`v2t.inputs`), open the output folder and ask it what is done
(`v2t.outputs`, `v2t.plan`), do the rest (`v2t.job`), write what is written once a run.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path

from v2t import captioners
from v2t.base import config as layers
from v2t.base import plugin
from v2t.base.errors import CineloopError, UsageError
from v2t.base.files import write_atomic
from v2t.base.log import logger, printable, stopwatch
from v2t.base.runtime import PACKAGES, source_commit
from v2t.captioners import CaptionerLike
from v2t.inputs import choose, discover
from v2t.job import Job
from v2t.ledger import Record
from v2t.outputs import STATE_FOLDER, CaptionFolder
from v2t.plan import ask, make_plan
from v2t.record import Question
from v2t.stopping import Stopping
from v2t.summary import Summary
from v2t.video.decode import DECODERS
from v2t.video.worker import Limits


@dataclass(frozen=True, kw_only=True)
class CaptionConfig:
    """All that a captioning run can be told.

    Args:
        model: "starter", a folder, a hub id, or an address.
        captioner: who runs it, a file of `v2t/captioners`; "auto" goes by the model.
        style: a file of `v2t/styles`: the prompt and the length of an answer.
        prompt: own words instead of the style's.
        max_new_tokens: longest answer in tokens instead of the style's, >= 1.
        sampler, frames, fps: which frames to look at; None leaves it to the model. `fps` alone means sampler "fps".
        format: files of `v2t/writers`.
        batch_size: clips the model sees at once, >= 1.
        device, dtype: "auto" or what torch calls them.
        workers: decoder processes; None takes half the cores.
        decoders: which decoders to try, in order; a single one switches the fallbacks off.
        limits: what one file may cost (seconds, memory, pixels, length).
        root, lists, include, exclude: see `v2t.inputs.discover`.
        limit, sample: only the first so many clips; only so many at random (by `seed`).
        overwrite: caption again what was captioned with other settings or already. Never touches an edited caption.
        overwrite_edited: caption again even what a person wrote or changed.
        retry_failed: try again what failed in an earlier run.
        dry_run: say what would be done; touch nothing.
    """

    model: str = "starter"
    captioner: str = "auto"
    style: str = "short"
    prompt: str | None = None
    max_new_tokens: int | None = None
    sampler: str | None = None
    frames: int | None = None
    fps: float | None = None
    format: tuple[str, ...] = ("txt", "jsonl")
    batch_size: int = 16
    device: str = "auto"
    dtype: str = "auto"
    workers: int | None = None
    decoders: tuple[str, ...] = DECODERS
    limits: Limits = field(default_factory=Limits)
    root: str | None = None
    lists: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    limit: int | None = None
    sample: int | None = None
    seed: int = 0
    overwrite: bool = False
    overwrite_edited: bool = False
    retry_failed: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        for name in ("batch_size", "workers", "max_new_tokens", "limit", "sample", "frames"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}")
        if self.prompt is not None and not self.prompt.strip():
            raise UsageError("prompt must say something")


def run(
    paths: Sequence[str],
    output: Path | None,
    config: CaptionConfig,
    *,
    captioner: CaptionerLike | None = None,
    emit: Callable[[Record], None] = lambda row: None,
    show_progress: bool = False,
) -> Summary:
    """Caption everything that `paths` name.

    Args:
        paths: folders, files, globs, lists, manifests (see `v2t.inputs.discover`).
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
    clips = discover(paths, lists=config.lists, root=config.root, include=config.include, exclude=config.exclude)
    clips = choose(clips, limit=config.limit, sample=config.sample, seed=config.seed)
    captioner = captioner or open_captioner(config)
    question = ask(captioner, config)
    summary = Summary(found=len(clips), model=f"{captioner.name}@{captioner.revision}", dry_run=config.dry_run)
    with ExitStack() as stack:
        if output is None:
            output = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="v2t-")))
            config = replace(config, format=())
        folder = stack.enter_context(CaptionFolder(output, config.format, writable=not config.dry_run))
        folder.sidecar_paths(clips)
        plan = make_plan(clips, folder, question, config)
        summary.done_before, summary.kept = plan.count("done"), plan.count("kept")
        summary.failed_before = plan.count("failed")
        if config.dry_run:
            for clip_id, action in plan.actions.items():
                emit({"id": clip_id, "action": action})
            summary.planned = len(plan.todo)
            return summary
        stop = stack.enter_context(Stopping())
        if plan.todo:
            folder.ledger.name_settings(question.settings_key, question.settings)
            _write_papers(output / STATE_FOLDER, config, question)
            logger.info("captioning %d of %d clips with %s", len(plan.todo), len(clips), _introduction(captioner))
            job = Job(folder, captioner, question, config, summary, emit, stop)
            try:
                job.work(plan.todo, show_progress)
            except CineloopError as error:
                if error.code != "DISK_FULL":
                    folder.write_sets()
                raise
        with stopwatch(summary.times, "write"):
            folder.write_sets()
        summary.interrupted = stop.asked
    summary.seconds = time.perf_counter() - started
    return summary


def open_captioner(config: CaptionConfig) -> CaptionerLike:
    """The captioner that the config names, not loaded yet.

    Raises:
        UsageError: no such captioner. MissingDependencyError: no such model.
    """
    name = captioners.choose(config.model) if config.captioner == "auto" else config.captioner
    return plugin.load("v2t.captioners", name, "Captioner").Captioner(
        config.model, device=config.device, dtype=config.dtype
    )


def _introduction(captioner: CaptionerLike) -> str:
    about = getattr(captioner, "about", "")
    return f"{captioner.name} ({about})" if about else captioner.name


def _write_papers(state: Path, config: CaptionConfig, question: Question) -> None:
    """`config.yaml` and `run.json`: what is needed to repeat the run."""
    versions = {"python": sys.version.split()[0]}
    for name in (*PACKAGES, "decord"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    papers = {
        "command": [printable(word) for word in (Path(sys.argv[0]).name, *sys.argv[1:])],
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "settings": question.settings,
        "seed": config.seed,
        "source_commit": source_commit(),
        "versions": versions,
    }
    write_atomic(state / "config.yaml", layers.dump(config).encode("utf-8", "surrogateescape"), durable=False)
    write_atomic(state / "run.json", json.dumps(papers, indent=2).encode() + b"\n", durable=False)
