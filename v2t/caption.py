"""Folder of videos → captions: the job behind `v2t caption`.

In: paths, an output folder, a `CaptionConfig`. Out: captions in the folder, one record for every clip, a `Summary`.
Read `run` from top to bottom: find clips, ask the output folder what is done, decode ahead of the model, caption in
batches of one shape, save each batch. A clip that fails becomes a record with a code, and the run goes on.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from v2t import captioners, record
from v2t.ahead import Ahead, Batch, Pool
from v2t.base import config as layers
from v2t.base import plugin
from v2t.base.errors import CineloopError, ItemError, MissingDependencyError, UsageError
from v2t.base.files import write_atomic
from v2t.base.log import Progress, logger, printable, stopwatch
from v2t.base.runtime import PACKAGES, source_commit
from v2t.captioners import CaptionerLike, CaptionOutput
from v2t.inputs import Clip, choose, discover
from v2t.outputs import STATE_FOLDER, CaptionFolder, Record
from v2t.record import Question
from v2t.stopping import Stopping
from v2t.summary import Summary
from v2t.video.decode import DECODERS
from v2t.video.worker import DecoderPool, Limits

_MODEL_ERRORS_IN_A_ROW = 16  # with nothing captioned in between, the model is broken and not the clips
_SETS_EVERY_S = 15.0


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


@dataclass
class Plan:
    """What a run has to do: clips by the state the output folder gave them."""

    todo: list[Clip] = field(default_factory=list)
    actions: dict[str, str] = field(default_factory=dict)  # clip id -> caption | retry | again | done | kept | failed
    conflicts: list[str] = field(default_factory=list)

    def count(self, action: str) -> int:
        """How many clips have this action."""
        return sum(a == action for a in self.actions.values())


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
    clips = discover(
        paths, lists=config.lists, root=config.root, include=config.include, exclude=config.exclude
    )  # fmt: skip
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
            folder.name_settings(question.settings_key, question.settings)
            _write_papers(output / STATE_FOLDER, config, question)
            job = _Job(folder, captioner, question, config, summary, emit, stop)
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


def ask(captioner: CaptionerLike, config: CaptionConfig) -> Question:
    """What the run asks of every clip: the model's defaults with what the config changes."""
    style = plugin.load("v2t.styles", config.style, "PROMPT")
    changes: dict[str, Any] = {"sampler": config.sampler, "num_frames": config.frames, "fps": config.fps}
    if config.fps is not None and config.sampler is None:
        changes["sampler"] = "fps"
    return Question.to(
        captioner,
        style="custom" if config.prompt else config.style,
        prompt=config.prompt or style.PROMPT,
        max_new_tokens=config.max_new_tokens or style.MAX_NEW_TOKENS,
        spec=replace(captioner.spec, **{k: v for k, v in changes.items() if v is not None}),
        segments=None if config.prompt else getattr(style, "segments", None),
    )


def make_plan(clips: Sequence[Clip], folder: CaptionFolder, question: Question, config: CaptionConfig) -> Plan:
    """Which clips to caption and why the others not.

    Raises:
        UsageError: captions made with other settings are there and `overwrite` was not asked for.
    """
    plan = Plan()
    redo = {"new": "caption", "changed": "again"}
    if config.retry_failed or config.overwrite:
        redo["failed"] = "retry"
    if config.overwrite:
        redo |= {"done": "again", "settings": "again"}
    if config.overwrite_edited:
        redo["by_hand"] = "again"
    rest = {"done": "done", "failed": "failed", "by_hand": "kept", "settings": "conflict"}
    for clip in clips:
        state = folder.state(clip, question.settings_key)
        plan.actions[clip.id] = redo.get(state) or rest[state]
        if state in redo:
            plan.todo.append(clip)
        elif state == "settings":
            plan.conflicts.append(clip.id)
    if plan.conflicts:
        old = folder.settings.get(folder.known[plan.conflicts[0]].settings, {})
        raise UsageError(
            f"{len(plan.conflicts)} captions in {printable(str(folder.folder))} were made with other settings: "
            + "; ".join(layers.changes(old, question.settings)),
            code="OTHER_SETTINGS",
            hint="give another -o, or --overwrite to caption them again (edited captions stay)",
        )
    return plan


@dataclass
class _Job:
    """The working part of a run: everything between the plan and the summary."""

    folder: CaptionFolder
    captioner: CaptionerLike
    question: Question
    config: CaptionConfig
    summary: Summary
    emit: Callable[[Record], None]
    stop: Stopping
    _rows: list[tuple[Clip, Record]] = field(default_factory=list)
    _model_errors: int = 0
    _sets_at: float = field(default_factory=time.monotonic)
    _sets_every_s: float = _SETS_EVERY_S

    def work(self, todo: list[Clip], show_progress: bool) -> None:
        num_workers = self.config.workers or max(1, (os.cpu_count() or 2) // 2)
        with ExitStack() as stack:
            pool: Pool = stack.enter_context(
                DecoderPool(num_workers, self.config.limits, decoders=self.config.decoders)
            )
            progress = stack.enter_context(Progress(len(todo), "captioning", enabled=show_progress))
            ahead = Ahead(
                pool, self.question.spec, self.captioner.frame_size, self.config.batch_size, num_workers, self.stop
            )
            # The weights load in a thread while the first clips decode in their processes.
            loading = stack.enter_context(ThreadPoolExecutor(1)).submit(self.captioner.load)
            for batch in ahead.batches(todo):
                self._caption(batch, loading)
                if batch.items or len(self._rows) >= self.config.batch_size:
                    progress.advance(len(self._rows), self._speed())
                    self._save()
            progress.advance(len(self._rows), self._speed())
            self._save()
            self.summary.times["decode"] = ahead.wait_s

    def _caption(self, batch: Batch, loading: Future[None]) -> None:
        if batch.failed is not None:
            clip, problem = batch.failed
            self._fail(clip, problem)
            return
        with stopwatch(self.summary.times, "load"):
            loading.result()
        start = time.perf_counter()
        outputs = self._answers(batch)
        seconds = time.perf_counter() - start
        self.summary.times["model"] = self.summary.times.get("model", 0.0) + seconds
        for (clip, frames), output in zip(batch.items, outputs, strict=True):
            try:
                if isinstance(output, ItemError):
                    raise output
                row = record.captioned(clip, frames, output, self.question, seconds / len(outputs))
            except ItemError as problem:
                self._fail(clip, problem)
                continue
            self._rows.append((clip, row))
            self.summary.add(row)

    def _answers(self, batch: Batch) -> list[CaptionOutput | ItemError]:
        """One answer or error for each clip. When a batch fails its halves are tried, down to the clip at fault."""
        try:
            answers: list[CaptionOutput | ItemError] = list(
                self.captioner.caption(
                    [frames for _, frames in batch.items],
                    [self.question.prompt] * len(batch.items),
                    max_new_tokens=self.question.max_new_tokens,
                    seed=self.config.seed,
                )
            )
            if len(answers) != len(batch.items):
                raise ValueError(f"{len(answers)} captions for {len(batch.items)} clips")
            self._model_errors = 0
            return answers
        except CineloopError as error:
            if not isinstance(error, ItemError):
                raise
            problem = error
        except Exception as error:  # a model may fail in any way on one clip, and that must not end the run
            problem = self._model_error(error, alone=len(batch.items) == 1)
        if len(batch.items) == 1:
            return [problem]
        middle = len(batch.items) // 2
        halves = (Batch(items=batch.items[:middle]), Batch(items=batch.items[middle:]))
        return [answer for half in halves for answer in self._answers(half)]

    def _model_error(self, error: Exception, alone: bool) -> ItemError:
        self._model_errors += alone
        logger.debug("the model failed", exc_info=error)
        reason = f"{type(error).__name__}: {printable(str(error), 300)}"
        if self._model_errors >= _MODEL_ERRORS_IN_A_ROW:
            raise MissingDependencyError(
                f"the model fails on every clip: {reason}",
                code="MODEL_BROKEN",
                hint="try --device cpu or another model",
            ) from error
        is_memory = isinstance(error, MemoryError) or "out of memory" in str(error).lower()
        code, hint = ("OUT_OF_MEMORY", "fewer --frames") if is_memory else ("MODEL_ERROR", "run again with -v")
        return ItemError(f"the model failed: {reason}", code=code, hint=hint)

    def _fail(self, clip: Clip, problem: ItemError) -> None:
        row = record.failed(clip, problem, self.question)
        self._rows.append((clip, row))
        self.summary.add(row)

    def _save(self) -> None:
        rows, self._rows = self._rows, []
        if not rows:
            return
        with stopwatch(self.summary.times, "write"):
            for clip_id in self.folder.save(rows, self.question.settings_key):
                logger.warning("%s: a file of that name was written meanwhile; left as it is", printable(clip_id))
            # Now and then the file a person looks at; seldom enough to cost nothing in a folder of a million.
            if time.monotonic() - self._sets_at > self._sets_every_s:
                start = time.monotonic()
                self.folder.write_sets()
                self._sets_at = time.monotonic()
                self._sets_every_s = max(_SETS_EVERY_S, 20 * (self._sets_at - start))
        for _, row in rows:
            self.emit(row)

    def _speed(self) -> str:
        return f"{self.summary.num_captioned / max(self.summary.since_start_s, 1e-6):.1f} videos/s"


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
